"""The NeRF hardware's arithmetic in integers: what its circuits must equal bit for bit (ours)."""
