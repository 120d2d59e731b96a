"""Cycles, traffic and energy of whole networks, in closed form."""
