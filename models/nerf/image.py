"""Images and short films as bytes of PNG or GIF. Needs pillow (the extra `nerf`)."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.field import Array, FieldError

__all__ = ["FILM_KINDS", "decode_image", "encode_film", "encode_png", "shrink"]

FILM_KINDS = (".png", ".apng", ".gif")

_PALETTE_FRAMES = 16


def encode_png(image: NDArray[np.floating[Any]]) -> bytes:
    """(height, width, 3) values 0 .. 1 as a PNG of 8 bits, rounded to the nearest."""
    out = io.BytesIO()
    _picture(image).save(out, "PNG", optimize=True)
    return out.getvalue()


def decode_image(data: bytes) -> Array:
    """(height, width, 3) float32, 0 .. 1, of an image file; what is transparent becomes white.

    FieldError if it is damaged or not an image.
    """
    pillow = _pillow()
    try:
        with pillow.open(io.BytesIO(data)) as opened:
            rgba = np.asarray(opened.convert("RGBA"))
    except Exception as error:  # pillow raises many kinds for a damaged file
        raise FieldError(f"an image cannot be read: {error}") from error
    values: Array = rgba.astype(np.float32) / np.float32(255)
    alpha = values[..., 3:]
    return values[..., :3] * alpha + (1 - alpha)


def shrink(image: NDArray[np.floating[Any]], width: int, height: int) -> Array:
    """(height, width, 3) means over the pixels of a larger image, in 8 bits."""
    smaller = _picture(image).resize((width, height), _pillow().Resampling.BOX)
    found: Array = np.asarray(smaller).astype(np.float32) / np.float32(255)
    return found


def encode_film(frames: Iterable[Array], kind: str, *, frame_ms: int) -> bytes:
    """Images of one size, played for ever: an animated PNG, or a GIF of 256 colours.

    kind: one of FILM_KINDS, the end of a file's name. frame_ms: milliseconds for each.
    """
    if kind not in FILM_KINDS:
        raise FieldError(f"a film is one of {', '.join(FILM_KINDS)}, not {kind}")
    pictures = [_picture(frame) for frame in frames]
    if kind == ".gif":
        # One palette for all frames, or colours would flicker; a few frames are enough for it.
        some = pictures[:: -(-len(pictures) // _PALETTE_FRAMES)]
        palette = _pillow().fromarray(np.concatenate([np.asarray(each) for each in some]))
        palette = palette.quantize(256)
        pictures = [picture.quantize(palette=palette) for picture in pictures]
    out = io.BytesIO()
    pictures[0].save(
        out,
        "GIF" if kind == ".gif" else "PNG",
        save_all=True,
        append_images=pictures[1:],
        duration=frame_ms,
        loop=0,
    )
    return out.getvalue()


def _picture(image: NDArray[np.floating[Any]]) -> Any:
    codes = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return _pillow().fromarray(codes)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise FieldError("images need pillow: install oleaster[nerf]") from error
    return Image
