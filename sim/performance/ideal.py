"""Ideal memory: the published methodology, as the authors' simulator counts.

The rules are those of the public simulator that ANT (MICRO 2022) and OliVe (ISCA 2023) were
evaluated with, itself from BitFusion (ISCA 2018), in our own words and vectorised:

- Output stationary: `ceil(M / tile_rows) * ceil(N / tile_cols) * K` cycles for a tile of the
  loop nest; weight stationary: `M * ceil(K / tile_rows) * ceil(N / tile_cols)`. No fill, no drain.
- Five loops of tiles (batch, output width and height, input and output channels) in every order,
  tile sizes powers of two; a linear layer has three, its rows being the batch. A tile of weights
  or of activations must fit half of its buffer, K padded to the array's sides.
- An operand's traffic grows with each loop, from the innermost out, that indexes it; with every
  loop once it no longer fits half of its buffer. Partial sums never go to DRAM.
- Loads of the first tiles and the store of the last one are stalls, and so are the cycles by which
  all other traffic exceeds the compute cycles.
- In the output-stationary array both operands leave their buffer once for each multiplication
  (no reuse between PEs), which only energy notices.

The tiling of fewest cycles is taken, then that of least energy, by constants of its own.
"""

from functools import cache, lru_cache
from itertools import permutations
from typing import NamedTuple

import numpy as np

from oleaster.sim.networks.layer import Convolution
from oleaster.sim.performance.design import ArrayDesign, DesignFault, Operand
from oleaster.sim.performance.timing import Timing

__all__ = ["ideal_timing"]

# In pJ: what the authors' search breaks ties by; its DRAM costs are not those they report.
_DRAM_READ, _DRAM_WRITE = 1182.94 / 1024, 1477.97 / 1024  # a bit
_CORE = 0.5599 / 64  # a busy cycle, by the square of a PE's bits; nearest to their 6-bit PE too
_WEIGHT_READ, _WEIGHT_WRITE = 16.8924 / 512, 20.3422 / 512
_ACTIVATION_READ, _ACTIVATION_WRITE = 17.7688 / 512, 24.8866 / 512
_OUTPUT_READ, _OUTPUT_WRITE = 0.294945 / 32, 0.415925 / 32

# Loops: batch, width, height, input channels, output channels; and what indexes which operand.
_BATCH, _WIDTH, _HEIGHT, _IN, _OUT = range(5)
_INDEXES = {
    "activations": np.array([True, True, True, True, False]),
    "weights": np.array([False, False, False, True, True]),
    "outputs": np.array([True, True, True, False, True]),
}


@lru_cache(1 << 14)
def ideal_timing(
    design: ArrayDesign,
    m: int,
    k: int,
    n: int,
    weights: Operand,
    activations: Operand,
    convolution: Convolution | None = None,
) -> Timing:
    """One GEMM, or the convolution behind it.

    Raises DesignFault if no tile fits the buffers.
    """
    shape = _Shape(m, 1, 1, k, n, 1)
    if convolution is not None:
        c = convolution
        kernel = c.kernel_height * c.kernel_width
        shape = _Shape(c.batch, c.out_width, c.out_height, c.in_channels, c.out_channels, kernel)
    tilings = _tilings(design, shape, weights, activations)
    orders = _orders(shape.width, shape.height)
    tilings = _within_reach(design, tilings)
    return _Costs(design, weights, activations, tilings, orders).best()


class _Shape(NamedTuple):
    batch: int
    width: int
    height: int
    channels: int
    outputs: int
    kernel: int


class _Tilings(NamedTuple):
    """Arrays over tilings: how often each loop runs (loops first), and what one tile holds.

    depth: along K. *_tile: bits. compute: cycles of all tiles.
    """

    counts: np.ndarray
    tiles: np.ndarray
    positions: np.ndarray
    outputs: np.ndarray
    depth: np.ndarray
    weight_tile: np.ndarray
    activation_tile: np.ndarray
    compute: np.ndarray

    def select(self, places: np.ndarray) -> "_Tilings":
        return _Tilings(*(axis[..., places] for axis in self))


def _tilings(
    design: ArrayDesign, shape: _Shape, weights: Operand, activations: Operand
) -> _Tilings:
    """Those that fit the buffers."""
    lanes_w, lanes_a = design.lanes(weights), design.lanes(activations)
    high, wide = design.rows // lanes_a, design.cols // lanes_w
    if not high or not wide:
        size = f"{design.rows} x {design.cols} PEs of {design.pe_bits} bits"
        raise DesignFault(f"{design.name}: {size} are too few for the lanes of one element")
    batch, width, height, channels, outputs, kernel = shape
    spatial = _tile_sizes(max(width, height))
    axes = (_tile_sizes(batch), spatial, _tile_sizes(channels), _tile_sizes(outputs))
    b, side, ic, oc = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    ow, oh = np.minimum(side, width), np.minimum(side, height)
    positions, depth = ow * oh * b, kernel * ic

    # The authors pad weights by the rows, which take activations, and activations by the columns.
    pad_w, pad_a = max(1, design.rows // lanes_w), max(1, design.cols // lanes_a)
    weight_tile = _ceil(depth, pad_w) * pad_w * oc * weights.stored_bits
    activation_tile = positions * _ceil(depth, pad_a) * pad_a * activations.stored_bits
    room_w, room_a = design.weight_buffer_bytes * 4, design.activation_buffer_bytes * 4
    fits = (weight_tile <= room_w) & (activation_tile <= room_a)
    if not fits.any():
        raise DesignFault(
            f"{design.name}: no tile fits half of its buffers; the smallest needs "
            f"{weight_tile.min() / 8:,.0f} bytes of {room_w / 8:,.0f} for weights and "
            f"{activation_tile.min() / 8:,.0f} of {room_a / 8:,.0f} for activations"
        )
    sizes = ((batch, b), (width, ow), (height, oh), (channels, ic), (outputs, oc))
    counts = np.stack([_ceil(size, tile) for size, tile in sizes]).astype(np.float64)
    tiles = counts.prod(axis=0)
    if design.dataflow == "os":
        compute = tiles * _ceil(positions, high) * _ceil(oc, wide) * depth
    else:
        compute = tiles * positions * _ceil(oc, wide) * _ceil(depth, high)
    found = _Tilings(counts, tiles, positions, oc, depth, weight_tile, activation_tile, compute)
    return found.select(np.flatnonzero(fits))


def _within_reach(design: ArrayDesign, tilings: _Tilings) -> _Tilings:
    """Without those that take longer in their best order than another one in its worst.

    At best a tiling loads its first tiles and computes; at worst nothing is ever used again and
    full buffers are loaded first.
    """
    bandwidth = design.dram_bytes_per_cycle * 8
    loads = tilings.weight_tile + tilings.activation_tile
    output_tile = tilings.positions * tilings.outputs * float(design.output_bits)
    best = tilings.compute + np.ceil(loads / bandwidth)
    traffic = (loads + output_tile) * tilings.tiles / bandwidth + 1
    room = (design.weight_buffer_bytes + design.activation_buffer_bytes) * 4
    worst = np.maximum(tilings.compute, traffic) + (room + output_tile) / bandwidth + 2
    return tilings.select(np.flatnonzero(best <= worst.min()))


class _Costs:
    """Cycles, traffic and the search's energy, arrays (orders, tilings) or (tilings,)."""

    def __init__(
        self,
        design: ArrayDesign,
        weights: Operand,
        activations: Operand,
        tilings: _Tilings,
        orders: np.ndarray,
    ) -> None:
        self.design, self.tilings = design, tilings
        self.weights, self.activations = weights, activations
        loops = tilings.counts[orders].transpose(1, 0, 2)  # (loops, orders, tilings)
        room_w, room_a = design.weight_buffer_bytes * 4, design.activation_buffer_bytes * 4
        room_o = design.output_buffer_bytes * 4
        output_tile = tilings.positions * tilings.outputs * float(design.output_bits)
        self.load_w, first_w = _nest(tilings.weight_tile, room_w, loops, orders, "weights")
        self.load_a, first_a = _nest(tilings.activation_tile, room_a, loops, orders, "activations")
        self.store, _ = _nest(output_tile, room_o, loops, orders, "outputs")
        last = np.where(_merged(output_tile, room_o, loops, orders), 0.0, output_tile)

        bandwidth = design.dram_bytes_per_cycle * 8
        between = self.load_w + self.load_a + self.store - first_w - first_a - last
        self.first = np.ceil((first_w + first_a) / bandwidth)
        self.final = np.ceil(last / bandwidth)
        self.stalls = np.maximum(0.0, np.ceil(between / bandwidth) - tilings.compute)
        self.cycles = tilings.compute + self.stalls + self.first + self.final

        macs = tilings.tiles * tilings.positions * tilings.outputs * tilings.depth
        self.read_a = macs * activations.stored_bits
        if design.dataflow == "os":
            self.read_w = macs * weights.stored_bits
            self.sums = tilings.tiles * output_tile  # read, and written
        else:
            self.read_w = tilings.tiles * tilings.depth * tilings.outputs * weights.stored_bits
            self.sums = macs * design.output_bits

    def best(self) -> Timing:
        """Of the fewest cycles the least energy, of those the first."""
        design, tilings = self.design, self.tilings
        energy = (
            tilings.compute * design.rows * design.cols * _CORE * design.pe_bits**2
            + self.load_w * (_DRAM_READ + _WEIGHT_WRITE)
            + self.load_a * (_DRAM_READ + _ACTIVATION_WRITE)
            + self.store * (_DRAM_WRITE + _OUTPUT_READ)
            + self.read_w * _WEIGHT_READ
            + self.read_a * _ACTIVATION_READ
            + self.sums * (_OUTPUT_READ + _OUTPUT_WRITE)
        )
        fewest = np.flatnonzero(self.cycles == self.cycles.min())
        best = fewest[np.argmin(energy.ravel()[fewest])]
        place = divmod(int(best), self.cycles.shape[1])

        def pick(values: np.ndarray) -> float:
            return float(values[place] if values.ndim == 2 else values[place[1]])

        positions, outputs = int(pick(tilings.positions)), int(pick(tilings.outputs))
        across = -(-outputs // (design.cols // design.lanes(self.weights)))
        down = -(-positions // (design.rows // design.lanes(self.activations)))
        decodes = positions * across + outputs * (down if design.dataflow == "os" else 1)
        decodes *= int(pick(tilings.depth)) * int(pick(tilings.tiles))
        return Timing(
            compute_cycles=int(pick(tilings.compute)),
            fill_drain_cycles=0,
            stall_first_load_cycles=int(pick(self.first)),
            stall_load_cycles=int(pick(self.stalls)),
            stall_store_cycles=int(pick(self.final)),
            overhead_cycles=0,
            dram_activation_read_bits=pick(self.load_a),
            dram_weight_read_bits=pick(self.load_w),
            dram_output_write_bits=pick(self.store),
            sram_activation_write_bits=pick(self.load_a),
            sram_activation_read_bits=pick(self.read_a),
            sram_weight_write_bits=pick(self.load_w),
            sram_weight_read_bits=pick(self.read_w),
            sram_output_write_bits=pick(self.sums),
            sram_output_read_bits=pick(self.sums) + pick(self.store),
            decodes=decodes if design.decoders else 0,
        )


@cache
def _orders(width: int, height: int) -> np.ndarray:
    """(orders, loops), outermost first, without those that are others with loops' names changed."""
    if width == height == 1:
        return np.array(list(permutations((_BATCH, _IN, _OUT))))
    every = permutations(range(5))
    return np.array([p for p in every if width != height or p.index(_WIDTH) < p.index(_HEIGHT)])


def _ceil(a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
    return -(-np.asarray(a) // b)


def _tile_sizes(size: int) -> np.ndarray:
    """1, 2, 4 .. and the whole."""
    return np.minimum(1 << np.arange((size - 1).bit_length() + 1), size)


def _nest(
    tile: np.ndarray, room: float, loops: np.ndarray, orders: np.ndarray, operand: str
) -> tuple[np.ndarray, np.ndarray]:
    """(traffic, the part of it that comes first), bits, both (orders, tilings)."""
    traffic = np.broadcast_to(tile, loops.shape[1:]).astype(np.float64)
    first = traffic.copy()
    kept = np.ones(loops.shape[1:], bool)
    for place in reversed(range(len(loops))):
        indexes = _INDEXES[operand][orders[:, place]][:, None]
        traffic = np.where(indexes | ~kept, traffic * loops[place], traffic)
        fits = traffic <= room
        first = np.where(kept & indexes & fits, traffic, first)
        kept &= ~indexes | fits
    return traffic, first


def _merged(tile: np.ndarray, room: float, loops: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """(orders, tilings): whether no store is counted as the last one.

    The authors drop it when the outputs of the innermost loop over them fit their buffer together;
    a linear layer's loops over width and height, which run once, may be that loop.
    """
    if len(loops) == 3:
        return np.broadcast_to(tile <= room, loops.shape[1:])
    inner = _INDEXES["outputs"][orders]
    place = orders.shape[1] - 1 - np.argmax(inner[:, ::-1], axis=1)
    return tile * loops[place, np.arange(len(orders))] <= room
