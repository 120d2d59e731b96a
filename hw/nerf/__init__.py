"""Circuits of the radiance-field renderer."""
