"""The renderer's side of the memory bus (ours)."""

from __future__ import annotations

from oleaster.models.nerf.renderer.targets import ITEM_BITS

__all__ = ["ALIGNMENT", "BURST_BEATS", "OUTSTANDING"]

BURST_BEATS = 16
"""Of the longest burst."""

OUTSTANDING = 4
"""Bursts in flight, reads and writes each."""

ALIGNMENT = BURST_BEATS * ITEM_BITS[0] // 8
"""Bytes: items and frame buffers begin at a multiple, so that no burst crosses 4 kB."""
