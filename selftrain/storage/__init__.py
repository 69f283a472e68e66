"""What is written to disk: whole or not at all, and checked when it is read."""
