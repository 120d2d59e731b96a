"""Cycle model of the accelerator."""
