"""The high-density sparse search unit: where a bitmap chunk keeps an element and the next one."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import data

from oleaster.hw.nerf.pipe import Pipe, delayed, total

__all__ = ["BitmapSearch"]

_FIELD = 8  # bits whose ones are counted in one stage


class BitmapSearch(Pipe):
    """Rank and presence of elements i and i + 1 of a chunk, a query every cycle.

    RT-NeRF's abstract names a "high-density sparse search unit"; that it serves bitmaps, by
    a masked population count, is our reading. `models/nerf/search.py` is the reference.

    Parameters
    ----------
    chunk: int
        Elements of a chunk, a power of two from 16 to 128.

    Members
    -------
    i: stream of (map: chunk bits, index: log2(chunk) bits), In
    o: stream of (hit, next_hit, rank: log2(chunk) bits), Out
        hit: bit `index` is set; next_hit: the bit above it, 0 for the last; rank: ones below
        `index`. Element i + 1 is in place rank + hit.
    """

    def __init__(self, chunk: int) -> None:
        if chunk not in (16, 32, 64, 128):
            raise ValueError(f"chunk is {chunk}; it must be 16, 32, 64 or 128")
        self.chunk = chunk
        index = range(chunk)
        super().__init__(
            data.StructLayout({"map": chunk, "index": index}),
            data.StructLayout({"hit": 1, "next_hit": 1, "rank": index}),
            latency=3,
        )

    @property
    def module_name(self) -> str:
        return f"bitmap_search_{self.chunk}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"chunk": self.chunk}

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        below = Signal(self.chunk, reset_less=True)
        pair = Signal(2, reset_less=True)
        m.d.sync += [
            below.eq(word.map & ((1 << word.index) - 1)),
            pair.eq(word.map >> word.index),
        ]
        fields = [below[at : at + _FIELD] for at in range(0, self.chunk, _FIELD)]
        counts = []
        for i, field in enumerate(fields):
            count = Signal(range(_FIELD + 1), name=f"ones_{i}", reset_less=True)
            m.d.sync += count.eq(total(field))
            counts.append(count)
        answer = Signal(self.o.payload.shape(), reset_less=True)
        found = delayed(m, pair, 1, "pair")
        m.d.sync += [
            answer.rank.eq(total(counts)),
            answer.hit.eq(found[0]),
            answer.next_hit.eq(found[1]),
        ]
        return answer
