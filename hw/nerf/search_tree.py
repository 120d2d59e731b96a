"""The dual-purpose bi-direction adder & search tree: sums, and searches in sorted coordinates."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data

from oleaster.hw.nerf.pipe import Pipe
from oleaster.models.nerf.layout import index_bits

__all__ = ["SearchTree"]

_CHUNKS = (16, 32, 64, 128)
_LEAVES = (4, 8, 16, 32, 64, 128)


class SearchTree(Pipe):
    """The sum of `leaves` values, or where a coordinate is among them; a word every cycle.

    RT-NeRF's abstract names a "dual-purpose bi-direction adder & search tree" and gives no circuit:
    all below is our reading. `models/nerf/search.py` is the reference.

    A sum runs from the leaves to the root, a binary search from the root to the leaves. On one tree
    of registers words of both kinds would meet half-way, and a mix of them could not be free of
    bubbles. Here both run the same way: level by level the row of values is *folded*, its upper
    half on its lower, until one is left. A sum adds the halves. A search keeps the half where the
    coordinate must be, which the first value of the upper half decides, the pivot. The levels of a
    sum, taken as they come, are then those of a search from its root on, and registers hold either.

    A node is one adder. In a search the first node of a level adds pivot and inverted query, so
    that the carry says "above", and pass on both halves the others, the half that is dropped being
    masked to 0. So no node needs a comparator, a second row of registers or wires of its own.

    Parameters
    ----------
    leaves: int
        A power of two from 4 to 128.
    value_bits: int
        Of a value; more than log2(chunk), at most 32.
    chunk: int
        Elements of a chunk, a power of two from 16 to 128.

    Members
    -------
    i: stream of (search, query: log2(chunk) bits, count, values: leaves x value_bits signed), In
        search: 1 to search for `query` and `query + 1` among the first `count` values, at most all,
        which are rising coordinates below `chunk`; the others may be anything below `chunk`.
        0 to add all values.
    o: stream of (hit, next_hit, rank, sum: value_bits + log2(leaves), signed), Out
        hit, next_hit: `query` and `query + 1` are among the coordinates; rank: coordinates below
        `query`. The result that was not asked for is 0.
    """

    def __init__(self, leaves: int, value_bits: int, chunk: int) -> None:
        if leaves not in _LEAVES:
            raise ValueError(f"leaves is {leaves}; it must be one of {_LEAVES}")
        if chunk not in _CHUNKS:
            raise ValueError(f"chunk is {chunk}; it must be one of {_CHUNKS}")
        if not index_bits(chunk) < value_bits <= 32:
            raise ValueError(
                f"value_bits is {value_bits}; it must be {index_bits(chunk) + 1} to 32, for chunks"
                f" of {chunk}"
            )
        self.leaves = leaves
        self.value_bits = value_bits
        self.chunk = chunk
        levels = index_bits(leaves)
        super().__init__(
            data.StructLayout(
                {
                    "search": 1,
                    "query": range(chunk),
                    "count": range(leaves + 1),
                    "values": data.ArrayLayout(signed(value_bits), leaves),
                }
            ),
            data.StructLayout(
                {
                    "hit": 1,
                    "next_hit": 1,
                    "rank": range(leaves + 1),
                    "sum": signed(value_bits + levels),
                }
            ),
            latency=levels + 1,
        )

    @property
    def module_name(self) -> str:
        return f"search_tree_{self.leaves}x{self.value_bits}_{self.chunk}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"leaves": self.leaves, "value_bits": self.value_bits, "chunk": self.chunk}

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        levels, width = index_bits(self.leaves), index_bits(self.chunk)
        layout = data.StructLayout(
            {
                "search": 1,
                "query": width,
                # Levels done: whether the upper half was kept. The others: of the last stored
                # value's place in what is kept.
                "place": levels,
                "some": 1,  # at least one value is stored
                "whole": 1,  # all that is kept are stored values
                "next_hit": 1,
            }
        )
        state = Signal(layout, name="state_0")
        some = Signal()
        m.d.comb += [
            some.eq(word.search & (word.count != 0)),
            state.search.eq(word.search),
            state.query.eq(word.query),
            state.place.eq(Mux(some, word.count - 1, 0)),
            state.some.eq(some),
        ]
        values: list[Value] = [word.values[i] for i in range(self.leaves)]
        for level in range(1, levels + 1):
            state, values = self._level(m, level, state, values)
        difference = Signal(width + 1)
        hit = Signal()
        answer = Signal(self.o.payload.shape(), reset_less=True)
        m.d.comb += [
            difference.eq(values[0][:width] + ~state.query),
            hit.eq(state.some & difference[:width].all()),
        ]
        m.d.sync += [
            answer.hit.eq(hit),
            answer.next_hit.eq(
                state.next_hit | (state.some & difference[width] & ~difference[:width].any())
            ),
            # What is left is the last coordinate that is not above the query, if there is one.
            answer.rank.eq(state.place + (state.some & ~difference[width] & ~hit)),
            answer.sum.eq(values[0]),
        ]
        return answer

    def _level(self, m: Module, level: int, state: Any, values: list[Value]) -> tuple[Any, Any]:
        """Fold `values`, registers included."""
        width, half = index_bits(self.chunk), len(values) // 2
        bits = Shape.cast(values[0].shape()).width
        nodes = [
            Signal(signed(bits + 1), name=f"node_{level}_{i}", reset_less=True) for i in range(half)
        ]
        first, pivot = values[0], values[half]
        stored = Signal(name=f"stored_{level}")
        upper = Signal(name=f"upper_{level}")
        keep_upper = Signal(name=f"keep_upper_{level}")
        # pivot + ~query is pivot - query - 1, above by 2^width: the carry is "above the query".
        total = Signal(signed(bits + 1), name=f"total_{level}")
        low = Mux(state.search, ~state.query, first[:width])
        m.d.comb += [
            total.eq(Cat(low, first[width:]).as_signed() + pivot),
            stored.eq(state.some & (state.whole | state.place[-1])),
            upper.eq(stored & ~total[width]),
            keep_upper.eq(upper | ~state.search),
        ]
        kept = Mux(upper, pivot[:width], first[:width])
        m.d.sync += nodes[0].eq(
            Cat(
                Mux(state.search, kept, total[:width]),
                total[width] & ~state.search,
                # In a search no value has a bit above its coordinate's.
                total[width + 1 :],
            )
        )
        for node, lower, higher in zip(nodes[1:], values[1:half], values[half + 1 :], strict=True):
            m.d.sync += node.eq(
                Cat(lower[:width] & ~upper.replicate(width), lower[width:]).as_signed()
                + Cat(higher[:width] & keep_upper.replicate(width), higher[width:]).as_signed()
            )
        after = Signal(state.shape(), name=f"state_{level}", reset_less=True)
        equal = total[width] & ~total[:width].any()
        m.d.sync += [
            after.eq(state),
            after.place.eq(Cat(upper, state.place[:-1])),
            after.whole.eq(state.whole | (stored & ~upper)),
            # A pivot just above the query: no later one is lower but for the query itself.
            after.next_hit.eq(state.next_hit | (stored & equal)),
        ]
        return after, nodes
