"""Drawings of the accelerator for the documentation, made from source."""
