"""What descriptors do to memory, against plain Python; what is wrong with wrong ones."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import (
    DESCRIPTOR_BYTES,
    FIELDS,
    FORMAT_CODES,
    Descriptor,
    pack_fields,
    row_bytes,
    unpack_fields,
)
from oleaster.models.accelerator.execute import (
    BusError,
    check,
    check_address,
    execute,
    run_list,
)
from oleaster.models.accelerator.registers import Cause
from oleaster.models.accelerator.requantize import OUTPUT_FORMATS, channel_table
from oleaster.models.formats import get_format

CONFIG = AcceleratorConfig(
    rows=4,
    cols=8,
    data_bits=64,
    address_bits=36,
    scratchpad_beats=8,
    formats_a=("int4", "flint4", "ovp4-int", "ovp4-flint", "int8", "ovp8", "fp4-e2m1"),
)
GOOD = Descriptor(
    a_address=0x1000,
    b_address=0x1101,
    c_address=0x1204,
    m=3,
    k=5,
    n=4,
    a_stride=3,
    b_stride=7,
    c_stride=16,
    next_address=0,
)
CODES = GOOD.pack()


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
    assert check(descriptor.pack(), 64, CONFIG) == Cause.NONE
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


def changed(**values):
    """The good descriptor with fields changed, reserved ones and format numbers too."""
    return pack_fields(FIELDS, {**unpack_fields(FIELDS, CODES), **values})


WRONG = {
    Cause.RESERVED: [
        *({field.name: 1} for field in FIELDS if field.name.startswith("reserved")),
        *({field.name: 1 << field.bits - 1} for field in FIELDS if field.name == "reserved4"),
        *({field.name: 1 << 36} for field in FIELDS if field.name.endswith("address")),
    ],
    Cause.FORMAT: [
        {"a_format": 0},
        {"b_format": 0},
        {"a_format": 8},
        {"b_format": 255},
        {"b_format": FORMAT_CODES["fp4-e2m1"]},  # not built in
        {"c_format": FORMAT_CODES["fp4-e2m1"]},
        {"c_format": 8},
    ],
    Cause.SIZE: [
        *({size: 0} for size in "mkn"),
        *({size: 1 << 24} for size in "mk"),
        {"n": 1 << 24, "c_stride": (1 << 32) - 4},
        {"c_stride": 12},
        {"c_stride": 0},
    ],
    Cause.ALIGNMENT: [
        {"c_address": 0x1206},
        {"c_stride": 18},
        {"c_format": FORMAT_CODES["int8"], "channels_address": 0x1004},
    ],
}
SINGLE = [(cause, change) for cause, changes in WRONG.items() for change in changes]


@pytest.mark.parametrize(("cause", "change"), SINGLE)
def test_each_wrong_field_has_its_cause(cause, change):
    assert check(CODES, 64, CONFIG) == Cause.NONE
    assert check(changed(**change), 64, CONFIG) == cause


def test_of_two_causes_the_first_in_the_order_is_told():
    order = list(WRONG)
    pairs = 0
    for first, one in SINGLE:
        for second, two in SINGLE:
            # In another format the row of C may fit its stride.
            clash = set(one) & set(two) or {"c_stride", "c_format"} <= set(one) | set(two)
            if order.index(first) < order.index(second) and not clash:
                assert check(changed(**two, **one), 64, CONFIG) == first
                pairs += 1
    assert pairs > 200


@pytest.mark.parametrize(
    "change",
    [
        {"m": (1 << 24) - 1, "k": (1 << 24) - 1, "n": (1 << 24) - 1, "c_stride": (1 << 26)},
        {"m": 1, "c_stride": 0},  # there is no second row
        {"a_stride": 0, "b_stride": 0, "a_address": 0, "b_address": 1, "channels_address": 3},
        {"c_format": FORMAT_CODES["ovp4-int"], "c_address": 3, "c_stride": 3, "n": 5},
        {"relu": 1},
        {"c_format": FORMAT_CODES["int8"], "channels_address": 8},
        {"a_format": FORMAT_CODES["fp4-e2m1"]},
    ],
)
def test_what_looks_odd_but_is_right(change):
    assert check(changed(**change), 64, CONFIG) == Cause.NONE


@pytest.mark.parametrize("bits", [64, 128, 256, 512])
def test_the_channel_table_lies_on_the_buss_bytes(bits):
    config = AcceleratorConfig(rows=16, cols=32, data_bits=bits)
    for address in range(0, 128, 4):
        data = changed(c_format=FORMAT_CODES["ovp8"], channels_address=address)
        expected = Cause.ALIGNMENT if address % (bits // 8) else Cause.NONE
        assert check(data, 64, config) == expected


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        (0, Cause.ALIGNMENT),
        (64, Cause.NONE),
        (32, Cause.ALIGNMENT),
        (65, Cause.ALIGNMENT),
        ((1 << 36) - 64, Cause.NONE),
        (1 << 36, Cause.RESERVED),
        ((1 << 47) + 1, Cause.RESERVED),
    ],
)
def test_a_descriptors_own_address(address, cause):
    assert check_address(address, CONFIG) == cause
    assert check(CODES, address, CONFIG) == cause
    assert check(changed(m=0), address, CONFIG) == (cause or Cause.SIZE)


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
        assert check(bytes(DESCRIPTOR_BYTES), following, CONFIG) == cause
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
