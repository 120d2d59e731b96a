"""Radiance fields that come with us: `NAME.npz`, read by `oleaster.models.nerf.scene`."""
