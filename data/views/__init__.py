"""Weak and strong views of every kind of sample."""
