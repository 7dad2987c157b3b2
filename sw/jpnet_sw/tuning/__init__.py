"""Search of densities and winner rates together, for the fewest cycles within a tolerance."""
