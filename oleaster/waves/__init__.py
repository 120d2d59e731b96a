"""Waveforms: read them, keep a view of what matters for GTKWave, draw a few cycles."""
