"""Images and short films as bytes of PNG, GIF or MP4.

Needs pillow (the extra `nerf`), for MP4 imageio-ffmpeg, too (the extra `video`).
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.field import Array, FieldError

__all__ = ["FILM_KINDS", "check_film_kind", "decode_image", "encode_film", "encode_png", "shrink"]

FILM_KINDS = (".png", ".apng", ".gif", ".mp4")

_PALETTE_FRAMES = 16
_MP4_QUALITY = 8  # of 10


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


def check_film_kind(kind: str) -> None:
    """FieldError if `encode_film` would refuse it: long work need not come first."""
    if kind not in FILM_KINDS:
        raise FieldError(f"a film is one of {', '.join(FILM_KINDS)}, not {kind}")
    if kind == ".mp4":
        _ffmpeg()


def encode_film(frames: Iterable[Array], kind: str, *, frame_ms: int) -> bytes:
    """Images of one size: an animated PNG, or a GIF of 256 colours, both played for ever; or H.264.

    kind: one of FILM_KINDS, the end of a file's name. frame_ms: milliseconds for each. An MP4 has
    even sides: odd ones get one more column or row, equal to their last.
    """
    check_film_kind(kind)
    if kind == ".mp4":
        return _encode_mp4(frames, frame_ms)
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


def _encode_mp4(frames: Iterable[Array], frame_ms: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path, writer = Path(folder) / "film.mp4", None
        for frame in frames:
            codes = np.asarray(_picture(frame))
            codes = np.pad(codes, [(0, each % 2) for each in codes.shape[:2]] + [(0, 0)], "edge")
            if writer is None:
                height, width, _ = codes.shape
                writer = _ffmpeg().write_frames(
                    str(path),
                    (width, height),
                    fps=1000 / frame_ms,
                    quality=_MP4_QUALITY,
                    macro_block_size=2,
                )
                writer.send(None)
            writer.send(codes.tobytes())
        if writer is None:
            raise FieldError("a film has at least one image")
        writer.close()
        return path.read_bytes()


def _picture(image: NDArray[np.floating[Any]]) -> Any:
    codes = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return _pillow().fromarray(codes)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise FieldError("images need pillow: install oleaster[nerf]") from error
    return Image


def _ffmpeg() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise FieldError("films in .mp4 need imageio-ffmpeg: install oleaster[video]") from error
    return imageio_ffmpeg
