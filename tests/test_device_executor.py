"""Lists of GEMMs as descriptors: their memory, their patience, their costs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from oleaster.device_executor import DeviceExecutor
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import CHANNEL_BYTES
from oleaster.models.accelerator.gemm_list import Gemm, Matrix, ModelExecutor, words_for
from oleaster.models.accelerator.registers import Cause
from oleaster.models.quantize import quantize
from oleaster.sim.accelerator.device import CycleDevice
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.driver import AcceleratorError, DeviceTimeout, Driver

CONFIG = AcceleratorConfig(
    rows=4, cols=4, data_bits=64, scratchpad_beats=8, outstanding=2, burst_beats=8
)
WEIGHT = Matrix.constant(quantize(np.random.default_rng(5).normal(size=(6, 10)), "int8"))


def executor_on(
    timing: MemoryTiming, workspace: int = 4096, device_timing: MemoryTiming | None = None
) -> DeviceExecutor:
    device = CycleDevice(CONFIG, device_timing or timing, 1 << 15)
    return DeviceExecutor(Driver(device), [WEIGHT], timing, workspace)


def text(tokens: int, names: tuple[str, str] = ("layer.0.first", "layer.0.second")) -> Any:
    """GEMMs in two steps, as an encoder has them; what they read, what is read of them."""
    x, middle, sums = Matrix("int8", tokens, 10), Matrix("ovp8", tokens, 6), Matrix("int32", 6, 6)
    words = words_for(np.full(6, 1.0), 0.0, 40.0)
    packed = np.random.default_rng(tokens).integers(-9, 9, (tokens, 10)).astype(np.int8)
    gemms = [
        Gemm(names[0], x.part(), WEIGHT.part(), middle.part(), words),
        Gemm(names[1], WEIGHT.part(), WEIGHT.part(), sums.part()),
    ]
    return gemms, {x: packed.view(np.uint8)}, [middle, sums]


def check(executor: DeviceExecutor, *of: Any, name: str = "layer.0.list") -> None:
    """It leaves what numpy leaves."""
    executor.start()
    found = executor.run(name, *of)
    for one, expected in zip(found, ModelExecutor().run(name, *of), strict=True):
        assert expected.any()
        np.testing.assert_array_equal(one, expected)


def test_texts_that_grow_take_no_more_than_the_longest() -> None:
    longest = 150
    # x, the middle, the sums and the channel words, each in whole steps of 64 bytes.
    sizes = (longest * 10, longest * 6, 6 * 6 * 4, 6 * CHANNEL_BYTES)
    needed = sum(-(-size // 64) * 64 for size in sizes)
    executor = executor_on(MemoryTiming(3), needed)
    for tokens in (*range(1, longest, 7), longest, 2, longest):
        check(executor, *text(tokens))
    executor.start()
    with pytest.raises(ValueError, match=f"into the workspace of {needed} bytes; give it a larger"):
        executor.run("layer.0.list", *text(longest + 10))
    check(executor, *text(longest))


def test_lists_of_one_text_keep_their_matrices_apart() -> None:
    executor, numpy = executor_on(MemoryTiming(3)), ModelExecutor()
    lists = [text(tokens) for tokens in (5, 3, 9)]
    executor.start()
    for gemms, inputs, outputs in lists:
        for one in (executor, numpy):
            one.run("layer.0.list", gemms, inputs, outputs)
    every = [matrix for _, _, outputs in lists for matrix in outputs]
    again = executor.run("layer.0.list", lists[0][0], {}, every)
    for found, expected in zip(again, numpy.run("layer.0.list", [], {}, every), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "timing",
    [
        MemoryTiming(10_000),
        MemoryTiming(1_000_000),
        MemoryTiming.with_bandwidth(9000, 0.001, 0.001),
    ],
)
def test_a_slow_bus_is_waited_for(timing: MemoryTiming) -> None:
    executor = executor_on(timing)
    check(executor, *text(60))
    assert executor.costs[0][0].cycles == executor.costs[0][0].model_cycles > timing.latency


def test_a_bus_much_slower_than_told_is_not() -> None:
    check(executor_on(MemoryTiming(200)), *text(60))
    executor = executor_on(MemoryTiming(200), device_timing=MemoryTiming(5000))
    executor.start()
    with pytest.raises(DeviceTimeout):
        executor.run("layer.0.list", *text(60))


def test_costs_of_gemms_by_any_name() -> None:
    for names, kinds in (
        (("layer.0.first", "layer.0.second"), ["first", "second"]),
        (("layer.12.attention.output", "layer.12.output"), ["attention.output", "output"]),
        (("product", "product"), ["product"]),
        (("", "one.two"), ["", "two"]),
    ):
        executor = executor_on(MemoryTiming(3))
        check(executor, *text(9, names), name="any")
        ((cost,),) = executor.costs
        assert [gemm.kind for gemm in cost.gemms] == kinds
        assert sum(gemm.cycles for gemm in cost.gemms) == cost.cycles
        assert sum(gemm.count for gemm in cost.gemms) == 2
    assert replace(cost, name="layer.12.output").layer == 12


def test_what_is_not_built_in_is_told_by_the_device() -> None:
    executor = executor_on(MemoryTiming(3))
    a, sums = Matrix("fp4-e2m1", 3, 5), Matrix("int32", 3, 6)
    executor.start()
    with pytest.raises(AcceleratorError) as error:
        executor.run(
            "list", [Gemm("g", a.part(), Matrix("int8", 6, 5).part(), sums.part())], {}, []
        )
    assert error.value.cause == Cause.FORMAT


def test_constants_are_those_that_were_given() -> None:
    executor = executor_on(MemoryTiming(3))
    stranger = Matrix.constant(quantize(np.ones((2, 4)), "int8"))
    gemm = Gemm("g", stranger.part(), stranger.part(), Matrix("int32", 2, 2).part())
    executor.start()
    with pytest.raises(ValueError, match="not among those that were uploaded"):
        executor.run("list", [gemm], {}, [])
