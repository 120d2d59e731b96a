"""What one would run without an accelerator: recorded runs of benchmarks/nerf_pytorch.py."""

import json
from functools import cache
from importlib import resources
from typing import NamedTuple

__all__ = ["Baseline", "baselines"]


class Baseline(NamedTuple):
    """A machine, and by scene frames of 800 x 800 a second.

    torch: PyTorch's version. side: pixels a side that were measured. psnr_db: the least of all
    scenes, against our float renderer.
    """

    machine: str
    torch: str
    side: int
    frames: int
    psnr_db: float
    fps: dict[str, float]

    @property
    def mean_fps(self) -> float:
        """Frames over time, one of each scene."""
        return len(self.fps) / sum(1 / each for each in self.fps.values())


@cache
def baselines() -> list[Baseline]:
    """All of rtnerf_pytorch.json; the GPU first."""
    text = (resources.files("oleaster.reproduce") / "rtnerf_pytorch.json").read_text("utf-8")
    return [
        Baseline(
            run["machine"],
            run["torch"],
            run["width"],
            run["frames"],
            min(row["psnr_db"] for row in run["scenes"]),
            {row["scene"]: row["fps_800x800"] for row in run["scenes"]},
        )
        for run in json.loads(text)
    ]
