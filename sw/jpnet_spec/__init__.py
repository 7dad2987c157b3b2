"""What hardware and software agree on: numbers, layers, schedules, registers, parameters."""
