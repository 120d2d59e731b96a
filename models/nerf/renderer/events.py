"""What the renderer counts, cycle by cycle (ours)."""

from __future__ import annotations

__all__ = ["EVENTS"]

EVENTS = {
    "pixel_tested": "a pixel's ray was cut with a cube",
    "sample_tested": "a sample was tested",
    "sample_dropped": "one of them was not in its cube",
    "sample": "a sample's look-ups begin",
    "density_read": "a look-up of a density tensor begins; of the first pair",
    "color_sample": "a sample's colour look-ups begin",
    "color_read": "a look-up of a colour tensor begins; of the first pair",
    "color_waits": "a sample's products wait for the colour network",
}
"""Name -> what has happened in a cycle in which its bit is 1."""
