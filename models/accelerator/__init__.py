"""The accelerator as software sees it: descriptors, registers, and what a descriptor computes."""
