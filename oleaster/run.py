"""A model on the accelerator: lists of GEMMs as descriptors, on the cycle model or on the RTL."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from oleaster.designs import PAGE, open_device
from oleaster.device_executor import DeviceExecutor, ListCost
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.gemm_list import ModelExecutor
from oleaster.models.encoder import Array
from oleaster.models.integer_encoder import IntegerEncoder
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.driver import Driver

__all__ = ["ENGINES", "EncoderRun", "run_encoder"]

ENGINES = ("model", "cycle", "rtl")

_WORKSPACE = 32 << 20
"""Bytes for the matrices and channel words of a text: three times what the longest takes in MPNet.
"""

_LISTS = 1 << 20
"""Bytes for descriptors, and for gaps between weights."""

Progress = Callable[[int, int], None] | None


@dataclass(frozen=True)
class EncoderRun:
    """Texts on an engine.

    embeddings: (texts, hidden), unit norm. cosines: to the float model's, of as many layers.
    identical: the embeddings are the numpy model's bit for bit. overflows: names of lists, or of
    the numpy model's GEMMs, in which a sum wrapped. lists: the costs for each text; empty for
    engine "model". wall_s: of the engine, without quantising and building.
    """

    engine: str
    embeddings: Array
    cosines: list[float]
    identical: bool
    overflows: list[str]
    lists: list[list[ListCost]]
    wall_s: float

    @property
    def passed(self) -> bool:
        """Embeddings, and the cycles of every list, are those of the models.

        The cycles can differ on engine "rtl" only: "cycle" counts by the cycle model itself.
        """
        every = [cost for costs in self.lists for cost in costs]
        return self.identical and all(cost.cycles == cost.model_cycles for cost in every)


def run_encoder(
    model: IntegerEncoder,
    texts: Sequence[str],
    *,
    engine: str = "cycle",
    config: AcceleratorConfig | None = None,
    timing: MemoryTiming | None = None,
    progress: Progress = None,
) -> EncoderRun:
    """Embed texts on an engine, and hold the result against numpy's and the float model's.

    Args:
        model: the quantised encoder.
        texts: one or more.
        engine: "model" (numpy), "cycle" (the driver on the cycle model) or "rtl" (the same driver
            on the generated Verilog in Verilator).
        config: of the accelerator; `AcceleratorConfig()` if None. Not read by "model".
        timing: of its memory; `MemoryTiming()` if None.
        progress: called with (lists run, lists in all).

    Raises ValueError for an unknown engine, no text, or a format that the accelerator is not built
    for; what the driver and the device raise.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; it must be one of {', '.join(ENGINES)}")
    if not texts:
        raise ValueError("there is no text to embed")
    config = config or AcceleratorConfig()
    timing = timing or MemoryTiming()
    numpy = ModelExecutor()
    started = time.perf_counter()
    expected = model.embed(texts, numpy, progress=progress if engine == "model" else None)
    wall_s = time.perf_counter() - started
    embeddings, overflows = expected, numpy.overflows
    costs: list[list[ListCost]] = []
    if engine != "model":
        _require_formats(model, config)
        size = sum(matrix.nbytes for matrix in model.constants) + _WORKSPACE + _LISTS
        with open_device(engine, config, timing, -(-size // PAGE) * PAGE) as device:
            executor = DeviceExecutor(Driver(device), model.constants, timing, _WORKSPACE)
            started = time.perf_counter()
            embeddings = model.embed(texts, executor, progress=progress)
            wall_s = time.perf_counter() - started
        costs = executor.costs
        overflows = [cost.name for lists in costs for cost in lists if cost.overflow]
    exact = model.embed_float(texts)
    return EncoderRun(
        engine=engine,
        embeddings=embeddings,
        cosines=(embeddings.astype(float) * exact).sum(axis=1).tolist(),
        identical=embeddings.tobytes() == expected.tobytes(),
        overflows=overflows,
        lists=costs,
        wall_s=wall_s,
    )


def _require_formats(model: IntegerEncoder, config: AcceleratorConfig) -> None:
    """Both formats on both sides: the values' weights are rows of A, all other weights of B."""
    for name in (model.weights, model.activations):
        for side, formats in (("A", config.formats_a), ("B", config.formats_b)):
            if name not in formats:
                known = ", ".join(formats)
                raise ValueError(f"the accelerator's {side} reads {known}, not {name}")
