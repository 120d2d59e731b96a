"""Cycle-level models: which value at which cycle."""
