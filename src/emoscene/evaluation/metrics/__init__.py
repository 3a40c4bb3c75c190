"""What is measured: pure functions in NumPy of what encoders read. One file, one metric, tested against a reference."""
