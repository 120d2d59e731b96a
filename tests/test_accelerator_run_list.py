"""Lists of descriptors: their order, their ends, their loops."""

from dataclasses import replace

import numpy as np
import pytest
from descriptor_cases import CONFIG, GOOD

from oleaster.models.accelerator.descriptor import DESCRIPTOR_BYTES
from oleaster.models.accelerator.execute import check, check_address, run_list
from oleaster.models.accelerator.registers import Cause
from oleaster.models.accelerator.requantize import channel_table


def chain(nexts, size=1 << 14):
    """Memory with the good descriptor at 64 (i + 1), each followed by the address given."""
    memory = np.zeros(size, np.uint8)
    for i, following in enumerate(nexts):
        data = replace(GOOD, next_address=following).pack()
        memory[64 * (i + 1) : 64 * (i + 2)] = np.frombuffer(data, np.uint8)
    return memory


def test_a_list_runs_in_order_and_reads_what_it_wrote():
    """int4 ones: the sums become the operands of the second descriptor."""
    memory = np.zeros(4096, np.uint8)
    memory[1024:1028] = 0x11
    words = channel_table([0, 0], [1, 2], [0, 0])
    memory[2048:2064] = words.ravel()
    formats = {"a_format": "int4", "b_format": "int4"}
    first = replace(
        GOOD, m=2, k=4, n=2, a_address=1024, b_address=1024, a_stride=2, b_stride=2,
        c_address=3000, c_stride=1, c_format="int4", channels_address=2048, next_address=512,
        **formats,
    )  # fmt: skip
    second = replace(
        GOOD, m=2, k=2, n=1, a_address=3000, b_address=3000, a_stride=1, c_address=3004,
        c_stride=4, **formats,
    )  # fmt: skip
    for address, descriptor in ((128, first), (512, second)):
        memory[address : address + 64] = np.frombuffer(descriptor.pack(), np.uint8)
    outcome = run_list(memory, 128, CONFIG)
    assert outcome.cause == Cause.NONE
    assert outcome.completed == 2
    assert outcome.descriptor_address == 512
    assert outcome.ran == ((128, first), (512, second))
    assert memory[3000:3002].tolist() == [0x74, 0x74]  # 4 and 8, which is clamped
    assert memory[3004:3012].view("<i4").tolist() == [65, 65]


def test_flags_of_any_descriptor_stay():
    memory = chain([128, 0])
    memory[0x1000:0x1300] = 0x88
    clean = replace(GOOD, a_address=0x2000, b_address=0x2000)
    memory[128:192] = np.frombuffer(clean.pack(), np.uint8)
    assert run_list(memory, 64, CONFIG).illegal
    memory[0x1000:0x1300] = 0
    assert not run_list(memory, 64, CONFIG).illegal


@pytest.mark.parametrize(
    ("following", "cause"),
    [
        (130, Cause.ALIGNMENT),
        (1 << 14, Cause.READ_RESPONSE),
        (64, Cause.LOOP),
        (192, Cause.FORMAT),  # zeros
    ],
)
def test_the_offender_is_the_next_descriptor(following, cause):
    memory = chain([following])
    if cause == Cause.FORMAT:
        assert check(bytes(DESCRIPTOR_BYTES), CONFIG) == cause
    outcome = run_list(memory, 64, CONFIG)
    assert (outcome.cause, outcome.descriptor_address) == (cause, following)
    assert outcome.completed == 1


def test_a_next_address_that_the_bus_lacks_is_its_own_descriptors_fault():
    outcome = run_list(chain([1 << 36]), 64, CONFIG)
    assert (outcome.cause, outcome.descriptor_address) == (Cause.RESERVED, 64)
    assert outcome.completed == 0


@pytest.mark.parametrize("address", [0, 63, 1 << 36])
def test_a_list_that_begins_nowhere(address):
    outcome = run_list(chain([0]), address, CONFIG)
    assert outcome.cause == check_address(address, CONFIG)
    assert outcome.completed == 0
    assert outcome.descriptor_address == address


@pytest.mark.parametrize("tail", range(9))
@pytest.mark.parametrize("loop", range(1, 9))
def test_every_loop_is_found_after_all_of_it_ran(tail, loop):
    count = tail + loop
    nexts = [64 * (i + 2) for i in range(count - 1)] + [64 * (tail + 1)]
    outcome = run_list(chain(nexts), 64, CONFIG)
    assert outcome.cause == Cause.LOOP
    # Brent: the remembered place moves after 1, 2, 4 ... hops, and is in the loop at last.
    remembered = hops = 0
    while remembered < tail or 1 << hops < loop:
        remembered += 1 << hops
        hops += 1
    assert outcome.completed == remembered + loop
    place = remembered if remembered < tail else tail + (remembered - tail) % loop
    assert outcome.descriptor_address == 64 * (place + 1)
    assert {address for address, _ in outcome.ran} == {64 * (i + 1) for i in range(count)}


@pytest.mark.parametrize("count", [1, 2, 3, 17, 60])
def test_a_list_without_a_loop_comes_to_its_end(count):
    nexts = [64 * (i + 2) for i in range(count - 1)] + [0]
    outcome = run_list(chain(nexts), 64, CONFIG)
    assert outcome.cause == Cause.NONE
    assert outcome.completed == count
