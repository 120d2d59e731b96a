"""What a descriptor does to memory, against plain Python."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from descriptor_cases import CONFIG, GOOD
from hypothesis import given, settings
from hypothesis import strategies as st

from oleaster.models.accelerator.descriptor import Descriptor, row_bytes
from oleaster.models.accelerator.execute import BusError, check, execute, run_list
from oleaster.models.accelerator.registers import Cause
from oleaster.models.accelerator.requantize import OUTPUT_FORMATS, channel_table
from oleaster.models.formats import get_format


def rounded(value):
    """Python rounds halves to even itself."""
    return round(Fraction(value))


def expected_rows(a, b, descriptor, words):
    """Rows of C as bytes from decoded values, one element at a time."""
    fmt_c = descriptor.c_format
    rows = []
    for x in a.tolist():
        sums = [sum(p * q for p, q in zip(x, y, strict=True)) for y in b.tolist()]
        if fmt_c == "int32":
            rows.append(b"".join(value.to_bytes(4, "little", signed=True) for value in sums))
            continue
        values = []
        for value, (bias, multiplier, shift) in zip(sums, words, strict=True):
            value = rounded(Fraction((value + bias) * multiplier, 1 << shift))
            value = max(-32767, min(32767, value))
            values.append(max(value, 0) if descriptor.relu else value)
        values += [0] * (len(values) % 2)
        fmt = get_format(fmt_c)
        rows.append(fmt.pack(fmt.encode(values)).tobytes())
    return rows


@st.composite
def cases(draw):
    m, k, n = (draw(st.integers(1, 9)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    memory = rng.integers(0, 256, 6000).astype(np.uint8)
    a_format = draw(st.sampled_from(CONFIG.formats_a))
    b_format = draw(st.sampled_from(CONFIG.formats_b))
    c_format = draw(st.sampled_from(OUTPUT_FORMATS))
    step = 4 if c_format == "int32" else 1
    spare = step * draw(st.integers(0, 9))
    descriptor = Descriptor(
        a_address=draw(st.integers(0, 900)),
        b_address=draw(st.integers(2000, 2900)),
        c_address=4000 // step * step + step * draw(st.integers(0, 20)),
        m=m,
        k=k,
        n=n,
        a_stride=draw(st.sampled_from([0, 5, 9, 16, 40])),
        b_stride=draw(st.sampled_from([0, 5, 9, 16, 40])),
        c_stride=row_bytes(c_format, n) + spare,
        a_format=a_format,
        b_format=b_format,
        c_format=c_format,
        channels_address=8 * draw(st.integers(700, 735)),
        relu=draw(st.booleans()),
    )
    operands = []
    for side, count, name in (("a", m, a_format), ("b", n, b_format)):
        fmt = get_format(name)
        # Ten products of 14000 or what ovp8 makes of it do not wrap.
        peak = draw(st.sampled_from([3, 20, min(14000, fmt.max_magnitude)]))
        values = rng.integers(-peak, peak, (count, k + k % 2), endpoint=True)
        if k % 2:
            values[:, -1] = 0
        codes = fmt.encode(values)
        stride, address = (
            getattr(descriptor, f"{side}_stride"),
            getattr(descriptor, f"{side}_address"),
        )
        packed = fmt.pack(codes)
        # Rows may lie over each other: what counts is what the memory then holds.
        for row in range(count):
            start = address + row * stride
            memory[start : start + packed.shape[1]] = packed[row]
        found = np.stack(
            [
                fmt.unpack(memory[address + row * stride :][: packed.shape[1]])
                for row in range(count)
            ]
        )
        operands.append(fmt.decode_pairs_lenient(found))
    words = [
        (int(rng.integers(-500, 500)), int(rng.integers(0, 1 << 16)), int(rng.integers(0, 24)))
        for _ in range(n)
    ]
    table = channel_table(*np.array(words).T)
    first = descriptor.channels_address
    memory[first : first + table.size] = table.ravel()
    return memory, descriptor, operands, words


@settings(max_examples=300, deadline=None)
@given(cases())
def test_c_is_what_plain_python_gives_and_nothing_else_changes(case):
    memory, descriptor, (a, b), words = case
    expected = memory.copy()
    for row, data in enumerate(expected_rows(a, b, descriptor, words)):
        start = descriptor.c_address + row * descriptor.c_stride
        expected[start : start + len(data)] = np.frombuffer(data, np.uint8)
    assert check(descriptor.pack(), CONFIG) == Cause.NONE
    done = execute(descriptor, memory, CONFIG)
    assert not done.overflow
    assert np.array_equal(memory, expected)


def one_product(a, b, a_format, b_format, k):
    """A memory with one row each of the codes given, and the descriptor of their product."""
    memory = np.zeros(4096, np.uint8)
    for codes, name, address in ((a, a_format, 0), (b, b_format, 1024)):
        packed = get_format(name).pack(np.array(codes, np.uint8))
        memory[address : address + packed.size] = packed
    descriptor = replace(
        GOOD,
        a_address=0,
        b_address=1024,
        c_address=2048,
        m=1,
        n=1,
        k=k,
        a_format=a_format,
        b_format=b_format,
    )
    return memory, descriptor


@pytest.mark.parametrize(
    ("name", "codes", "illegal"),
    [
        ("int4", [8, 8], True),
        ("flint4", [1, 1, 8, 8], True),
        ("ovp4-int", [8, 7, 7, 8], False),
        ("ovp4-flint", [8, 8], True),
        ("int8", [128, 128], True),
        ("ovp8", [1, 128, 128, 128], True),
        ("ovp8", [1, 128, 128, 1], False),
        ("ovp8", [1, 128, 128], False),  # the pad code is the victim
        ("fp4-e2m1", [8, 8], False),  # -0
    ],
)
@pytest.mark.parametrize("side", ["a", "b"])
def test_two_identifiers_are_told_and_count_as_zero(name, codes, illegal, side):
    k = len(codes)
    codes = codes + [1] * (k % 2)
    ones = [1] * len(codes)
    formats = (name, "int4") if side == "a" else ("int4", name)
    operands = (codes, ones) if side == "a" else (ones, codes)
    memory, descriptor = one_product(*operands, *formats, k)
    done = execute(descriptor, memory, CONFIG)
    assert done.illegal == illegal
    assert not done.overflow
    expected = get_format(name).decode_pairs_lenient(np.array(codes)).sum()
    assert memory[2048:2052].view("<i4")[0] == expected


def test_padding_of_edge_tiles_and_bytes_between_rows_raise_no_flag():
    memory = np.full(4096, 0x88, np.uint8)
    descriptor = replace(GOOD, m=1, n=1, k=2, a_address=0, b_address=64, c_address=128)
    memory[[0, 64]] = 0x11
    done = execute(descriptor, memory, CONFIG)
    assert not done.illegal
    assert memory[128:132].tolist() == [2, 0, 0, 0]
    # The nibble that pads an odd K is half of a pair, and counts.
    assert execute(replace(descriptor, k=3), memory, CONFIG).illegal


@pytest.mark.parametrize(("count", "overflow"), [(2, False), (3, True)])
def test_a_wrapped_sum_is_told(count, overflow):
    # ovp8's largest outlier is 2^15; its square is 2^30, so the second makes -2^31 or 2^31.
    code = int(get_format("ovp8").encode([-(1 << 15), 0])[0])
    other = int(get_format("ovp8").encode([1 << 15, 0])[0])
    k = 2 * count
    memory, descriptor = one_product([code, 128] * count, [other, 128] * count, "ovp8", "ovp8", k)
    done = execute(descriptor, memory, CONFIG)
    assert done.overflow == overflow
    assert memory[2048:2052].view("<i4")[0] == (-count * (1 << 30) + (1 << 31)) % (1 << 32) - (
        1 << 31
    )
    assert not done.illegal


def test_a_negative_stride_walks_backwards_on_a_bus_of_32_bits():
    config = replace(CONFIG, address_bits=32)
    memory = np.zeros(1024, np.uint8)
    memory[0:3] = [0x01, 0x02, 0x03]
    memory[64] = 0x01
    descriptor = replace(
        GOOD, a_address=2, b_address=64, c_address=128, m=3, k=2, n=1, a_stride=(1 << 32) - 1
    )
    execute(replace(descriptor, c_stride=4), memory, config)
    assert memory[128:140].view("<i4").tolist() == [3, 2, 1]
    with pytest.raises(BusError):
        execute(descriptor, memory, CONFIG)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"a_address": 2041, "m": 1, "k": 16}, Cause.READ_RESPONSE),
        ({"a_stride": 700}, Cause.NONE),
        ({"a_stride": 1100}, Cause.READ_RESPONSE),
        ({"b_stride": 900}, Cause.READ_RESPONSE),
        ({"c_stride": 700}, Cause.WRITE_RESPONSE),
        ({"c_format": "int8", "channels_address": 2024}, Cause.READ_RESPONSE),
        ({"c_format": "int8", "channels_address": 2016}, Cause.NONE),
        # The last byte of the last beat is there or not, whatever the row takes of it.
        ({"a_address": 2040, "m": 1, "k": 2, "size": 2044}, Cause.READ_RESPONSE),
        ({"a_address": 2040, "m": 1, "k": 2, "size": 2048}, Cause.NONE),
        ({"a_address": 1 << 35}, Cause.READ_RESPONSE),
    ],
)
def test_what_lies_beyond_the_memory_stops_the_list_and_writes_nothing(change, cause):
    change = dict(change)
    memory = np.zeros(change.pop("size", 2048), np.uint8)
    descriptor = replace(GOOD, **{"a_address": 256, "b_address": 512, "c_address": 1024, **change})
    memory[64:128] = np.frombuffer(descriptor.pack(), np.uint8)
    before = memory.copy()
    outcome = run_list(memory, 64, CONFIG)
    assert outcome.cause == cause
    assert outcome.descriptor_address == 64
    assert outcome.completed == (cause == Cause.NONE)
    if cause:
        assert np.array_equal(memory, before)
        with pytest.raises(BusError, match=r"row \d is (read|written) at .*, but the memory ends"):
            execute(descriptor, memory, CONFIG)
