# amaranth: UnusedElaboratable=no
"""What inverses cannot be made of, in one sentence each."""

import pytest

from oleaster.hw.nerf.inverse import InverseRoot, Reciprocal


@pytest.mark.parametrize("width", [1, 53])
def test_widths_that_the_models_do_not_have_are_refused(width):
    with pytest.raises(ValueError, match=f"width is {width}; it must be 2 .. 52"):
        Reciprocal(width)
    with pytest.raises(ValueError, match=f"width is {width}; it must be 2 .. 52"):
        InverseRoot(width, 4)


@pytest.mark.parametrize("fraction", [-1, 41])
def test_roots_whose_exponents_would_be_negative_are_refused(fraction):
    with pytest.raises(ValueError, match=f"fraction is {fraction}; it must be 0 .. 40"):
        InverseRoot(30, fraction, inverse_bits=20)
