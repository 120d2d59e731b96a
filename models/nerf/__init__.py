"""Radiance fields in TensoRF's vector-matrix form: inference, rendering, sparse encoding."""
