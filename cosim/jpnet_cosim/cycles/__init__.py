"""Cycle model: what a schedule takes, without a simulation."""
