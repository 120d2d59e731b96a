"""Circuits, described in Amaranth."""
