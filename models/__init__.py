"""Numpy references: which value, with no notion of time."""
