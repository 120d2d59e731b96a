"""Cycle models of the radiance-field renderer."""
