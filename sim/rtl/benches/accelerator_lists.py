"""Random lists of descriptors, right and wrong, and what must come of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import (
    ADDRESS_BITS,
    CHANNEL_BYTES,
    DESCRIPTOR_BYTES,
    FIELDS,
    FORMAT_CODES,
    MAX_SIZE,
    Descriptor,
    pack_fields,
    row_bytes,
    unpack_fields,
)
from oleaster.models.accelerator.execute import execute
from oleaster.models.accelerator.registers import Cause
from oleaster.models.accelerator.requantize import OUTPUT_FORMATS, channel_table
from oleaster.models.formats import get_format

__all__ = ["Expected", "RandomList", "random_list", "wrong_lists"]

PAGE = 4096


@dataclass(frozen=True)
class Expected:
    """memory: uint8 (bytes,) afterwards. writes: how often each byte is written."""

    memory: np.ndarray
    writes: np.ndarray
    overflow: bool
    illegal: bool


@dataclass(frozen=True)
class RandomList:
    """memory: uint8 (bytes,), whole pages, with all that the list reads. placed: its descriptors,
    each with its address, in order."""

    memory: np.ndarray
    placed: list[tuple[int, Descriptor]]

    @property
    def address(self) -> int:
        """Of the first descriptor."""
        return self.placed[0][0]

    def expect(
        self, config: AcceleratorConfig, ran: Sequence[tuple[int, Descriptor]] | None = None
    ) -> Expected:
        """What comes of the descriptors in `ran`, of all of them if it is None."""
        memory = self.memory.copy()
        writes = np.zeros(memory.size, np.uint8)
        overflow = illegal = False
        for _, descriptor in self.placed if ran is None else ran:
            done = execute(descriptor, memory, config)
            overflow |= done.overflow
            illegal |= done.illegal
            size = row_bytes(descriptor.c_format, descriptor.n)
            for row in range(descriptor.m):
                start = descriptor.c_address + row * descriptor.c_stride
                writes[start : start + size] += 1
        return Expected(memory, writes, overflow, illegal)

    def poke(self, index: int, name: str, value: int) -> None:
        """Write any bits into a field of a descriptor in memory."""
        address = self.placed[index][0]
        where = slice(address, address + DESCRIPTOR_BYTES)
        values = {**unpack_fields(FIELDS, self.memory[where].tobytes()), name: value}
        self.memory[where] = np.frombuffer(pack_fields(FIELDS, values), np.uint8)


class _Layout:
    """Hands out memory from bottom to top, with random distances between."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.top = DESCRIPTOR_BYTES

    def place(self, size: int, align: int = 1) -> int:
        gap = int(self.rng.integers(0, 3 * 64))
        address = -(-(self.top + gap) // align) * align
        self.top = address + size
        return address


def random_list(
    rng: np.random.Generator,
    config: AcceleratorConfig,
    count: int | None = None,
    *,
    largest: int = 3,
    deepest: int = 3,
) -> RandomList:
    """`count` descriptors, 1 to 4 if it is None, of any formats and shapes.

    Sides are of up to `largest` tiles, K of up to `deepest` chunks of a scratchpad; 1 and 2 are
    as frequent. Half of the operands are bytes without sense. A descriptor may read the result of
    the one before. What is not read or written is random as well.
    """
    layout = _Layout(rng)
    count = int(rng.integers(1, 5)) if count is None else count
    placed: list[tuple[int, Descriptor]] = []
    for _ in range(count):
        descriptor = _random_descriptor(rng, config, layout, largest, deepest)
        if placed and rng.random() < 0.3:
            descriptor = _follow(placed[-1][1], descriptor, config)
        placed.append((layout.place(DESCRIPTOR_BYTES, DESCRIPTOR_BYTES), descriptor))
    memory = rng.integers(0, 256, (layout.top // PAGE + 2) * PAGE).astype(np.uint8)
    following = [address for address, _ in placed[1:]] + [0]
    for index, (address, descriptor) in enumerate(placed):
        _fill(rng, descriptor, memory)
        linked = replace(descriptor, next_address=following[index])
        memory[address : address + DESCRIPTOR_BYTES] = np.frombuffer(linked.pack(), np.uint8)
        placed[index] = address, linked
    return RandomList(memory, placed)


def wrong_lists(
    rng: np.random.Generator, config: AcceleratorConfig
) -> Iterator[tuple[str, RandomList, int, Cause]]:
    """Short lists that stop, each in its own way: (what is wrong, the list, its address, cause)."""

    def short() -> tuple[RandomList, int]:
        made = random_list(rng, config, int(rng.integers(1, 4)), largest=1, deepest=1)
        return made, int(rng.integers(len(made.placed)))

    beyond = 1 << config.address_bits
    anywhere: list[tuple[str, int, Cause]] = [
        *((field.name, 1, Cause.RESERVED) for field in FIELDS if field.name.startswith("reserved")),
        *((f"{side}_format", 255, Cause.FORMAT) for side in "abc"),
        *((f"{side}_format", FORMAT_CODES["int32"], Cause.FORMAT) for side in "ab"),
        ("c_format", FORMAT_CODES["fp4-e2m1"], Cause.FORMAT),
        *((side, size, Cause.SIZE) for side in "mkn" for size in (0, MAX_SIZE + 1, (1 << 32) - 1)),
        ("next_address", 0xFE0, Cause.ALIGNMENT),
    ]
    if config.address_bits < ADDRESS_BITS:
        anywhere += [
            (field.name, beyond, Cause.RESERVED)
            for field in FIELDS
            if field.name.endswith("address")
        ]
    for name, value, cause in anywhere:
        made, index = short()
        made.poke(index, name, value)
        yield f"{name} is {value:#x}", made, made.address, cause
    # Those that are wrong for some descriptors only.
    left = {"c_stride below a row", "c_address", "c_stride", "channels_address"}
    while left:
        made, index = short()
        of = made.placed[index][1]
        if of.c_format != "int32":
            kind, name, value = "channels_address", "channels_address", of.channels_address + 4
        elif of.m > 1 and "c_stride below a row" in left:
            kind, name, value = "c_stride below a row", "c_stride", 4 * of.n - 4
        else:
            kind = name = str(rng.choice(["c_address", "c_stride"]))
            value = getattr(of, name) + 1 + 4 * of.n
        if kind in left:
            left.remove(kind)
            made.poke(index, name, value)
            cause = Cause.SIZE if kind == "c_stride below a row" else Cause.ALIGNMENT
            yield f"{kind} is {value:#x}", made, made.address, cause
    made, _ = short()
    yield "no first descriptor", made, 0, Cause.ALIGNMENT
    yield "an odd first address", made, made.address + 32, Cause.ALIGNMENT
    for count in range(1, 6):
        for target in range(count):
            made = random_list(rng, config, count, largest=1, deepest=1)
            made.poke(count - 1, "next_address", made.placed[target][0])
            yield f"{count} descriptors, back to {target}", made, made.address, Cause.LOOP


def _random_descriptor(
    rng: np.random.Generator,
    config: AcceleratorConfig,
    layout: _Layout,
    largest: int,
    deepest: int,
) -> Descriptor:
    a, b = (str(rng.choice(names)) for names in (config.formats_a, config.formats_b))
    c = str(rng.choice(OUTPUT_FORMATS))
    chunk = config.scratchpad_beats // 2 * config.beat_bytes * 2
    m = _size(rng, largest * config.tile_rows(a))
    n = _size(rng, largest * config.tile_cols(b))
    k = _size(rng, deepest * chunk // (2 if "8" in a + b else 1))
    c_stride = row_bytes(c, n) + (0 if rng.random() < 0.3 else int(rng.integers(0, 80)))
    align = 4 if c == "int32" else 1
    c_stride = -(-c_stride // align) * align
    place: dict[str, int] = {}
    for side, name, rows in (("a", a, m), ("b", b, n)):
        size = row_bytes(name, k)
        kind = rng.random()
        if kind < 0.3:  # rows begin where beats do
            stride = -(-size // config.beat_bytes) * config.beat_bytes
        elif kind < 0.4:  # rows overlap, or are the same
            stride = int(rng.integers(0, size))
        else:
            stride = size + int(rng.integers(0, 80))
        place[f"{side}_stride"] = stride
        aligned = config.beat_bytes if rng.random() < 0.5 else 1
        place[f"{side}_address"] = layout.place((rows - 1) * stride + size, aligned)
    return Descriptor(
        c_address=layout.place((m - 1) * c_stride + row_bytes(c, n), align),
        m=m,
        k=k,
        n=n,
        c_stride=c_stride if m > 1 or rng.random() < 0.5 else 0,
        a_format=a,
        b_format=b,
        c_format=c,
        channels_address=layout.place(CHANNEL_BYTES * n, config.beat_bytes) if c != "int32" else 0,
        relu=bool(rng.random() < 0.3),
        **place,
    )


def _size(rng: np.random.Generator, limit: int) -> int:
    return int(rng.choice([1, 2, *rng.integers(1, limit + 1, 4)]))


def _follow(before: Descriptor, descriptor: Descriptor, config: AcceleratorConfig) -> Descriptor:
    """Let its A, or B, be the C of the one before if the formats allow it."""
    if before.c_format not in config.formats_a:
        return descriptor
    # C's columns are K; A keeps the rows that it has at most.
    return replace(
        descriptor,
        a_format=before.c_format,
        a_address=before.c_address,
        a_stride=before.c_stride,
        m=min(descriptor.m, before.m),
        k=min(descriptor.k, before.n),
    )


def _fill(rng: np.random.Generator, descriptor: Descriptor, memory: np.ndarray) -> None:
    """Legal codes in some operands, and channel words that spread results over the format."""
    for side in "ab":
        fmt = get_format(getattr(descriptor, f"{side}_format"))
        if fmt.outlier is None or rng.random() < 0.5:
            continue
        rows = descriptor.m if side == "a" else descriptor.n
        values = rng.standard_t(1.5, (rows, descriptor.k + descriptor.k % 2)) * fmt.max_normal / 2
        if rng.random() < 0.3:  # sums may wrap
            values[:, ::2] = rng.choice([-1, 1, 1, 1], rows)[:, None] * fmt.max_magnitude
        values[:, descriptor.k :] = 0
        codes = fmt.encode(np.clip(values, -fmt.max_magnitude, fmt.max_magnitude))
        address, stride = (getattr(descriptor, f"{side}_{of}") for of in ("address", "stride"))
        for row, packed in enumerate(fmt.pack(codes)):
            start = address + row * stride
            memory[start : start + packed.size] = packed
    if descriptor.c_format != "int32":
        n = descriptor.n
        table = channel_table(
            rng.integers(-(1 << 31), 1 << 31, n) >> rng.integers(0, 32, n),
            rng.integers(0, 1 << 16, n),
            rng.integers(0, 64, n) if rng.random() < 0.2 else rng.integers(14, 32, n),
        )
        memory[descriptor.channels_address :][: table.size] = table.reshape(-1)
