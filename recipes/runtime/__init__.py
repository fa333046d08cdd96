"""The machine: processes, signals, memory, precision, randomness."""
