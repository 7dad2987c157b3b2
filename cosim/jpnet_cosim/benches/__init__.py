"""Benches that run inside the simulator, under cocotb."""
