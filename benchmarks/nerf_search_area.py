# amaranth: UnusedElaboratable=no
"""What the search units cost: cells after Yosys' generic synthesis.

Prints the dual-purpose tree beside an adder tree and a search of their own, of the same latency and
rate: the search narrows the coordinates to half with a comparison in each stage, the cheapest one
that we know; and that search beside the three adders that the renderer's density unit has for the
products of a pair of four components. All without the queue that every `Pipe` ends with. Then the
units with queue.
Transistors are Yosys' own estimate, an area without a library. The first call takes a minute.
"""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit
from oleaster.hw.nerf.bitmap_search import BitmapSearch
from oleaster.hw.nerf.pipe import Path, delayed, total
from oleaster.hw.nerf.search_tree import SearchTree
from oleaster.models.nerf.layout import index_bits
from oleaster.synth.synthesis import Synthesis, synthesise

LEAVES, VALUE_BITS, CHUNK = 64, 8, 64
KEYS = ("cells", "flops", "transistors", "memory_bits")


class AdderTree(SearchTree):
    """The sums alone: a level in each stage, and the last stage of the search."""

    @property
    def module_name(self) -> str:
        return "adder_tree"

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        values = [word.values[i] for i in range(self.leaves)]
        while len(values) > 1:
            half = len(values) // 2
            sums = [a + b for a, b in zip(values[:half], values[half:], strict=True)]
            values = [delayed(m, each, 1, f"sum_{half}_{i}") for i, each in enumerate(sums)]
        answer = Signal(self.o.payload.shape())
        m.d.comb += answer.sum.eq(delayed(m, values[0], 1, "sum"))
        return answer


class Search(SearchTree):
    """The searches alone: coordinates of no more than their bits, one comparison in each stage."""

    @property
    def module_name(self) -> str:
        return "search"

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        width = index_bits(self.chunk)
        values = [word.values[i][:width] for i in range(self.leaves)]
        query, some = word.query, word.count != 0
        place = Mux(some, word.count - 1, 0)[: index_bits(self.leaves)]
        whole = next_hit = 0
        for level in range(1, index_bits(self.leaves) + 1):
            half = len(values) // 2
            stored, upper = Signal(name=f"stored_{level}"), Signal(name=f"upper_{level}")
            difference = Signal(width + 1, name=f"difference_{level}")
            m.d.comb += [
                difference.eq(values[half] + ~query),
                stored.eq(some & (whole | place[-1])),
                upper.eq(stored & ~difference[width]),
            ]
            equal = difference[width] & ~difference[:width].any()
            next_hit = delayed(m, next_hit | (stored & equal), 1, f"next_hit_{level}")
            whole = delayed(m, whole | (stored & ~upper), 1, f"whole_{level}")
            place = delayed(m, Cat(upper, place[:-1]), 1, f"place_{level}")
            query = delayed(m, query, 1, f"query_{level}")
            some = delayed(m, some, 1, f"some_{level}")
            kept = [Mux(upper, b, a) for a, b in zip(values[:half], values[half:], strict=True)]
            values = [delayed(m, each, 1, f"kept_{level}_{i}") for i, each in enumerate(kept)]
        difference, hit = Signal(width + 1), Signal()
        answer = Signal(self.o.payload.shape())
        equal = difference[width] & ~difference[:width].any()
        m.d.comb += [
            difference.eq(values[0] + ~query),
            hit.eq(some & difference[:width].all()),
            answer.hit.eq(delayed(m, hit, 1, "hit")),
            answer.next_hit.eq(delayed(m, next_hit | (some & equal), 1, "next_hit")),
            answer.rank.eq(delayed(m, place + (some & ~difference[width] & ~hit), 1, "rank")),
        ]
        return answer


class ThreeAdders(Unit):
    """What the renderer's density unit has to add four products, with the register behind."""

    parameters: dict[str, Any] = {}  # noqa: RUF012
    module_name = "three_adders"

    def __init__(self) -> None:
        values = data.ArrayLayout(signed(VALUE_BITS), 4)
        super().__init__({"values": In(values), "sum": Out(signed(VALUE_BITS + 2))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.sum.eq(total([self.values[i] for i in range(4)]))
        return m


def flat(unit: Unit) -> Synthesis:
    return synthesise(unit, flatten=True)


def main() -> None:
    shape = (LEAVES, VALUE_BITS, CHUNK)
    print(f"{LEAVES} leaves of {VALUE_BITS} bits, chunks of {CHUNK}")
    print(f"{'':38} " + " ".join(f"{key:>12}" for key in KEYS))

    def row(name: str, *areas: Synthesis) -> dict[str, int]:
        sums = {key: sum(getattr(each, key) for each in areas) for key in KEYS}
        print(f"{name:38} " + " ".join(f"{sums[key]:12,}" for key in KEYS), flush=True)
        return sums

    both = row("dual-purpose tree", flat(Path(SearchTree(*shape))))
    adders, search = flat(Path(AdderTree(*shape))), flat(Path(Search(*shape)))
    row("adder tree", adders)
    row("search", search)
    apart = row("adder tree and search", adders, search)
    for key in KEYS[:-1]:
        print(f"saved {key}: {100 - 100 * both[key] / apart[key]:.1f} %")
    row("search and three adders", search, flat(ThreeAdders()))
    row("search-tree, whole", flat(SearchTree(*shape)))
    row("bitmap-search, whole", flat(BitmapSearch(CHUNK)))


if __name__ == "__main__":
    main()
