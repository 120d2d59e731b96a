"""How a GEMM is cut into blocks that fit half a buffer: every way that is worth timing.

One operand is *kept*: a block of it stays in its buffer while the other is *streamed* past it, tile
by tile. The next block has come meanwhile, a piece of it with every step. If one block is all of
the operand, both are read once. If not even a tile's whole K fits, nothing is kept. All ours.
`passes` has what differs in a weight-stationary array.

`Schedules` holds candidates as arrays, so that `real` times them all at once. A larger buffer only
adds candidates, and slots to those there are: it is never slower.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oleaster.sim.performance.design import ArrayDesign, DesignFault
from oleaster.sim.systolic import gemm_cycles
from oleaster.sim.tiling import Tiling

__all__ = ["Blocking", "Gemm", "Numbers", "Schedules", "Side", "Whole", "output_stationary"]

Numbers = NDArray[Any] | float
Whole = NDArray[np.int64]


class Blocking(NamedTuple):
    """One way to cut an output-stationary GEMM.

    kept: what stays. tiles: of so many tiles is a block of it. chunk_k: elements of K that the
    rows of the first tile must have before the array begins.
    """

    kept: Literal["activations", "weights", "nothing"]
    tiles: int
    chunk_k: int


@dataclass(frozen=True)
class Side:
    """An operand: a matrix of `rows` rows (M or N) of K elements.

    lanes: that an element takes. tile: its rows in a tile. bits: of an element in memory.
    buffer_bytes: both halves. burst: bytes.
    """

    name: Literal["activations", "weights"]
    rows: int
    k: int
    lanes: int
    tile: int
    bits: float
    buffer_bytes: int
    burst: int

    @property
    def tiles(self) -> int:
        return -(-self.rows // self.tile)

    @property
    def height(self) -> int:
        """Rows of the largest tile."""
        return min(self.rows, self.tile)

    @property
    def row_bytes(self) -> int:
        """In the buffer."""
        return math.ceil(self.k * self.bits / 8)

    def moved(self, elements: int) -> int:
        """Bytes that DRAM moves for the first so many elements of a row."""
        return -(-math.ceil(elements * self.bits / 8) // self.burst) * self.burst

    def require(self, design: str, rows: int, elements: int) -> None:
        """Raises DesignFault if half of the buffer cannot hold so much of so many rows."""
        needed, half = rows * self.held(elements), self.buffer_bytes // 2
        if needed > half:
            raise DesignFault(
                f"{design}: {rows} rows of a tile of {self.name}, {self.held(elements)} bytes "
                f"each, need {needed:,} bytes; half of the buffer for {self.name} has {half:,}"
            )

    def held(self, elements: int) -> int:
        """Bytes of a row in the buffer when its first bursts with so many elements are there."""
        return min(self.row_bytes, self.moved(elements))

    def turns(self, nbytes: Any) -> tuple[Any, Any]:
        """To stream pieces of so many bytes: (how many both halves hold, loads for each)."""
        half = self.buffer_bytes // 2
        return 2 * np.maximum(half // nbytes, 1), -(-nbytes // half)


@dataclass(frozen=True)
class Gemm:
    """C = A B^T on a design; a: the activations, b: the weights."""

    design: ArrayDesign
    a: Side
    b: Side
    is_fusing: bool

    @property
    def store_bytes(self) -> int:
        """That DRAM moves for all of C, row by row."""
        burst = self.design.dram_burst_bytes
        return (
            self.a.rows * -(-math.ceil(self.b.rows * self.design.output_bits / 8) // burst) * burst
        )

    @property
    def chunk_k(self) -> int:
        """Elements of the denser operand in a burst."""
        bits = min(self.a.bits, self.b.bits)
        return min(self.a.k, max(1, int(8 * self.design.dram_burst_bytes / bits)))


class Schedules(NamedTuple):
    """Candidates: arrays, or numbers that are the same for all. Loads and stores are bytes.

    The array begins when `first` are there. The *head* is the step with the first block: its first
    tile takes `tile` cycles, of which `first_end` are left when its last chunk comes; `tile_load`
    is then missing for this tile, `more_load` for the others, `next_load` for the next step. The
    last step loads nothing; it too has `first_end` cycles of its first tile left when the last
    chunk of that has come. In between are all others, the *rest*, for which the streamed operand's
    buffer is filled again `refills` times, and holds `slots` such pieces.

    fill_drain: cycles. tail_store: of the last tile, whose `tail_rows` rows leave the array one in
    `tail_interval` cycles. activation_loads, weight_loads: how often DRAM reads all of them;
    activation_uses, weight_uses: how often they pass the array's border.
    """

    tile: Numbers
    head_compute: Numbers
    rest_compute: Numbers
    last_compute: Numbers
    fill_drain: Numbers
    first: Numbers
    tile_load: Numbers
    first_end: Numbers
    more_load: Numbers
    next_load: Numbers
    rest_load: Numbers
    refills: Numbers
    slots: Numbers
    more_store: Numbers
    rest_store: Numbers
    last_store: Numbers
    tail_store: Numbers
    tail_rows: Numbers
    tail_interval: int
    activation_loads: Numbers
    weight_loads: Numbers
    activation_uses: Numbers
    weight_uses: Numbers

    @property
    def compute(self) -> Numbers:
        return self.head_compute + self.rest_compute + self.last_compute

    def pick(self, index: int) -> "Schedules":
        """One of them, numbers only."""
        return Schedules._make(c[index] if isinstance(c, np.ndarray) else c for c in self)


def output_stationary(gemm: Gemm, blocking: Blocking | None) -> Iterator[Schedules]:
    """Those of the array that keeps its sums, or the one of `blocking`.

    Raises DesignFault for buffers that hold no tile of outputs, or no burst for each row of a tile.
    """
    design, a, b = gemm.design, gemm.a, gemm.b
    needed = math.ceil(a.height * b.height * design.output_bits / 8)
    if needed > design.output_buffer_bytes // 2:
        raise DesignFault(
            f"{design.name}: a tile of {a.height} x {b.height} outputs needs {needed:,} bytes; "
            f"half of the buffer for outputs has {design.output_buffer_bytes // 2:,}"
        )
    if blocking is not None:
        sides = (b, a) if blocking.kept == "weights" else (a, b)
        tiles = np.array([blocking.tiles])
        yield _stream(gemm, *sides, tiles, blocking.chunk_k, blocking.kept == "nothing")
        return
    chunk = gemm.chunk_k
    for side in (a, b):
        side.require(design.name, side.height, chunk)
    keeps_nothing = True
    for kept, streamed in ((a, b), (b, a)):
        tiles = _block_sizes(kept.tiles)
        rows = np.minimum(tiles * kept.tile, kept.rows)
        fits = rows * kept.row_bytes <= kept.buffer_bytes // 2
        if streamed.height * streamed.row_bytes > streamed.buffer_bytes // 2:
            fits &= tiles == 1  # each tile streamed is used once, and may come in chunks
        if fits.any():
            keeps_nothing = False
            yield _stream(gemm, kept, streamed, tiles[fits], chunk, False)
    if keeps_nothing:  # else it is never better
        yield _stream(gemm, a, b, np.ones(1, np.int64), chunk, True)


def _block_sizes(count: int) -> Whole:
    """Sizes of even blocks: each number of blocks once."""
    return np.unique(-(-count // np.arange(1, count + 1)))


def _stream(
    gemm: Gemm,
    kept: Side,
    streamed: Side,
    tiles: Whole,
    chunk_k: int,
    keeps_nothing: bool,
) -> Schedules:
    """A step is a tile of `streamed` with all `tiles` of a block of `kept`."""
    a, b, design = gemm.a, gemm.b, gemm.design
    tiling = Tiling(a.rows, a.k, b.rows, design.rows, design.cols, a.lanes, b.lanes, gemm.is_fusing)
    tile = max(2 * tiling.words, design.rows)
    blocks = -(-kept.tiles // tiles)
    steps = blocks * streamed.tiles
    several = steps > 1
    final = np.where(several, kept.tiles - (blocks - 1) * tiles, 0)

    of_kept, of_streamed = kept.moved(a.k), streamed.moved(a.k)
    kept_loads = np.full(len(tiles), streamed.tiles if keeps_nothing else 1)
    loads = kept_loads * kept.rows * of_kept + blocks * streamed.rows * of_streamed
    first = kept.height * kept.moved(chunk_k) + streamed.height * streamed.moved(chunk_k)
    one = kept.height * of_kept + streamed.height * of_streamed
    more = np.minimum(tiles * kept.tile, kept.rows) * of_kept - kept.height * of_kept
    next_load = (loads - one - more) / np.maximum(steps - 1, 1)
    slots, refills = streamed.turns(streamed.height * streamed.row_bytes)
    if keeps_nothing:
        fewer, more_refills = kept.turns(kept.height * kept.row_bytes)
        slots, refills = np.minimum(slots, fewer), np.maximum(refills, more_refills)
    store = gemm.store_bytes / tiling.tiles
    rest = np.where(several, tiling.tiles - tiles - final, 0)
    loads_of = {kept.name: kept_loads, streamed.name: blocks}
    return Schedules(
        tile=tile,
        head_compute=tiles * tile,
        rest_compute=rest * tile,
        last_compute=final * tile,
        fill_drain=gemm_cycles(tiling) - tiling.tiles * tile,
        first=first,
        tile_load=one - first,
        first_end=tile * min(1.0, chunk_k / a.k),
        more_load=more,
        next_load=np.where(several, next_load, 0),
        rest_load=np.where(several, next_load * (steps - 2), 0),
        refills=refills * np.maximum(steps - 2, 0),
        slots=slots,
        more_store=(tiles - 1) * store,
        rest_store=rest * store,
        last_store=final * store,
        tail_store=store,
        tail_rows=a.rows - (a.tiles - 1) * a.tile,
        tail_interval=a.lanes,
        activation_loads=loads_of["activations"],
        weight_loads=loads_of["weights"],
        activation_uses=tiling.tiles_b,
        weight_uses=tiling.tiles_a,
    )
