"""What a run stands on: randomness, signals, several processes."""
