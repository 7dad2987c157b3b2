"""Simulation of the generated Verilog: builds, native runner, benches, scoreboard."""
