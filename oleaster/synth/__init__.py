"""Synthesis of units, and a model of area that is fitted to it."""
