# amaranth: UnusedElaboratable=no
"""Search tree and decoder without Verilator: what they refuse, and searches among sums."""

from itertools import combinations

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from oleaster.hw.library import build_unit
from oleaster.hw.nerf.flow import Flow
from oleaster.hw.nerf.pipe import Path
from oleaster.hw.nerf.search_tree import SearchTree
from oleaster.models.nerf.search import search_coordinates


@pytest.mark.parametrize(
    ("unit", "parameters", "message"),
    [
        ("search-tree", {"value_bits": 6}, "value_bits is 6; it must be 7 to 32, for chunks of 64"),
        ("search-tree", {"leaves": 12}, "leaves is 12; it must be 4 or 8 or"),
        ("hybrid-decoder", {"leaves": 48}, r"leaves is 48; it must be one of \(4, 8, 16"),
        ("hybrid-decoder", {"element_bits": 113}, "element_bits is 113; it must be at most 112"),
        ("hybrid-decoder", {"words": 1000}, "words is 1000; it must be a power of two, at least"),
    ],
)
def test_wrong_parameters(unit, parameters, message):
    with pytest.raises(ValueError, match=message):
        build_unit(unit, **parameters)


def test_a_value_is_not_there_before_its_stage():
    m = Module()
    flow = Flow(m)
    rank = flow.step("rank", Signal(4), 3)
    assert flow.at("rank", 3) is rank
    assert flow.at("rank", 5) is flow.at("rank", 5)
    with pytest.raises(ValueError, match="rank is there in stage 2, not yet in 1"):
        flow.at("rank", 1)
    with pytest.raises(ValueError, match="rank is there already, in stage 2"):
        flow.step("rank", rank, 7)


def test_every_subset_of_eight_among_sums():
    tree = Path(SearchTree(4, 6, 16))
    words = [
        (subset, query)
        for size in range(5)
        for subset in combinations(range(0, 16, 2), size)
        for query in range(16)
    ]

    async def testbench(ctx):
        latency = tree.pipe.latency
        for cycle in range(2 * len(words) + latency):
            subset, query = words[min(cycle // 2, len(words) - 1)]
            values = [*subset, *[15 - i for i in range(4 - len(subset))]]
            ctx.set(
                tree.i,
                {
                    "search": cycle % 2,
                    "query": query,
                    "count": len(subset),
                    "values": values if cycle % 2 else [-value for value in values],
                },
            )
            await ctx.tick()
            done = cycle + 1 - latency
            if not 0 <= done < 2 * len(words):
                continue
            subset, query = words[done // 2]
            got = ctx.get(tree.o)
            if done % 2:
                found = search_coordinates(subset, query)
                assert (got.hit, got.next_hit, got.rank) == found
            else:
                assert got.sum == -sum(subset) - sum(15 - i for i in range(4 - len(subset)))

    simulator = Simulator(tree)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
