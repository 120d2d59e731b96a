"""A memory of words that is read many at a time, beginning at any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, named, place
from oleaster.hw.nerf.pipe import delayed
from oleaster.models.nerf.lookup import WINDOW_WORDS

__all__ = ["BANKS", "READ_CYCLES", "WORD_BITS", "BlobMemory"]

WORD_BITS = 32  # of a directory entry
BANKS = WINDOW_WORDS  # words of a row
READ_CYCLES = 3


class _Bank(Unit):
    """Every eighth word. A read port's data come one cycle after its address."""

    def __init__(self, rows: int, readers: int) -> None:
        self.rows = rows
        self.readers = readers
        super().__init__(
            {
                "write_enable": In(1),
                "write_address": In(range(rows)),
                "write_data": In(WORD_BITS),
                **{f"address_{i}": In(range(rows)) for i in range(readers)},
                **{f"data_{i}": Out(WORD_BITS) for i in range(readers)},
            }
        )

    @property
    def module_name(self) -> str:
        return f"blob_bank_{self.rows}_{self.readers}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"rows": self.rows, "readers": self.readers}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = Memory(shape=WORD_BITS, depth=self.rows, init=[])
        write = named(words.write_port(), "write")
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
        ]
        for i in range(self.readers):
            read = named(words.read_port(), f"read_{i}")
            m.d.comb += [
                read.en.eq(1),
                read.addr.eq(getattr(self, f"address_{i}")),
                getattr(self, f"data_{i}").eq(read.data),
            ]
        return m


class BlobMemory(Unit):
    """Rows of eight words of 32 bits are written; as many words from any one on are read.

    Word a is in bank a mod 8, so that eight consecutive ones are one row of each bank; behind the
    last word comes the first. An FPGA's tools copy the banks for readers beyond the first.

    Parameters
    ----------
    words: int
        A power of two, at least 16.
    windows: sequence of int
        For each reader how many words it takes, 1 to 8.

    Members
    -------
    write_enable, write_address, write_data: In
        A row.
    address_<i>: In
        Of reader i's first word; any, in every cycle.
    window_<i>: Out
        Its words, the first in the lowest bits, `READ_CYCLES` cycles later. A row that is written
        in the cycle of the address may be read as it was or as it is.
    """

    def __init__(self, words: int, windows: Sequence[int]) -> None:
        if words < 2 * BANKS or words & (words - 1):
            raise ValueError(f"words is {words}; it must be a power of two, at least {2 * BANKS}")
        if not all(1 <= window <= BANKS for window in windows):
            raise ValueError(f"windows of {tuple(windows)} words; each must be 1 to {BANKS}")
        self.words = words
        self.windows = tuple(windows)
        super().__init__(
            {
                "write_enable": In(1),
                "write_address": In(range(words // BANKS)),
                "write_data": In(BANKS * WORD_BITS),
                **{f"address_{i}": In(range(words)) for i in range(len(self.windows))},
                **{f"window_{i}": Out(size * WORD_BITS) for i, size in enumerate(self.windows)},
            }
        )

    @property
    def module_name(self) -> str:
        return "_".join(map(str, ("blob_memory", self.words, *self.windows)))

    @property
    def parameters(self) -> dict[str, Any]:
        return {"words": self.words, "windows": list(self.windows)}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = self.words // BANKS
        in_row = (BANKS - 1).bit_length()
        banks = []
        for b in range(BANKS):
            bank = _Bank(rows, len(self.windows))
            inputs: dict[str, Any] = {
                "write_enable": self.write_enable,
                "write_address": self.write_address,
                "write_data": self.write_data.word_select(b, WORD_BITS),
            }
            for i in range(len(self.windows)):
                address = getattr(self, f"address_{i}")
                row = Signal(range(rows), name=f"row_{i}_{b}")
                # Words before the first one in its row are of the row behind.
                behind = address[:in_row] > b if b < BANKS - 1 else 0
                m.d.comb += row.eq(address[in_row:] + behind)
                inputs[f"address_{i}"] = row
            banks.append(place(m, f"bank_{b}", bank, platform, **inputs))
        for i, size in enumerate(self.windows):
            first = delayed(
                m, getattr(self, f"address_{i}")[:in_row], READ_CYCLES - 1, f"first_{i}"
            )
            # Block memories are slow: a cycle for them alone, and one to turn their words.
            words = [
                delayed(m, getattr(bank, f"data_{i}"), 1, f"word_{i}_{b}")
                for b, bank in enumerate(banks)
            ]
            for level in range(in_row):
                step = 1 << level
                words = [
                    Mux(first[level], words[(b + step) % BANKS], words[b]) for b in range(BANKS)
                ]
            window = Signal(size * WORD_BITS, name=f"turned_{i}", reset_less=True)
            m.d.sync += window.eq(Cat(words[:size]))
            m.d.comb += getattr(self, f"window_{i}").eq(window)
        return m
