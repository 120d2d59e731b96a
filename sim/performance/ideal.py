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

import numpy as np

from oleaster.sim.networks.layer import Convolution
from oleaster.sim.performance.design import ArrayDesign, DesignFault, Operand
from oleaster.sim.performance.timing import Timing

__all__ = ["ideal_timing"]

# In pJ: what the authors' search breaks ties by; its DRAM costs are not those they report.
_DRAM_READ, _DRAM_WRITE = 1182.94 / 1024, 1477.97 / 1024  # a bit
_CORE = {4: 0.5599 / 4, 6: 0.2478, 8: 0.5599}  # a PE and busy cycle
_WEIGHT_READ, _WEIGHT_WRITE = 16.8924 / 512, 20.3422 / 512
_ACTIVATION_READ, _ACTIVATION_WRITE = 17.7688 / 512, 24.8866 / 512
_OUTPUT_READ, _OUTPUT_WRITE = 0.294945 / 32, 0.415925 / 32

# Loops: batch, width, height, input channels, output channels; and what indexes which operand.
_BATCH, _WIDTH, _HEIGHT, _IN, _OUT = range(5)
_INDEXES = {
    "activations": (_BATCH, _WIDTH, _HEIGHT, _IN),
    "weights": (_IN, _OUT),
    "outputs": (_BATCH, _WIDTH, _HEIGHT, _OUT),
}


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
    shape = _linear(m, k, n) if convolution is None else _convolution(convolution)
    return _timing(
        design.dataflow,
        design.rows,
        design.cols,
        design.pe_bits,
        design.weight_buffer_bytes * 4,
        design.activation_buffer_bytes * 4,
        design.output_buffer_bytes * 4,
        design.dram_bytes_per_cycle * 8,
        design.output_bits,
        design.decoders,
        weights.compute_bits,
        weights.stored_bits,
        activations.compute_bits,
        activations.stored_bits,
        design.name,
        *shape,
    )


def _linear(m: int, k: int, n: int) -> tuple[int, int, int, int, int, int]:
    return m, 1, 1, k, n, 1


def _convolution(c: Convolution) -> tuple[int, int, int, int, int, int]:
    kernel = c.kernel_height * c.kernel_width
    return c.batch, c.out_width, c.out_height, c.in_channels, c.out_channels, kernel


@cache
def _orders(is_linear: bool) -> np.ndarray:
    """(orders, loops), outermost first. Width and height are alike: one before the other."""
    if is_linear:
        return np.array(list(permutations((_BATCH, _IN, _OUT))))
    return np.array([p for p in permutations(range(5)) if p.index(_WIDTH) < p.index(_HEIGHT)])


def _ceil(a: np.ndarray | int, b: int | np.ndarray) -> np.ndarray:
    return -(-np.asarray(a) // b)


def _tiles(size: int) -> np.ndarray:
    """1, 2, 4 .. and the whole."""
    return np.minimum(1 << np.arange((size - 1).bit_length() + 1), size)


@lru_cache(4096)
def _timing(
    dataflow: str,
    rows: int,
    cols: int,
    pe_bits: int,
    weight_room: float,
    activation_room: float,
    output_room: float,
    bandwidth: float,
    output_bits: int,
    decoders: bool,
    weight_compute_bits: int,
    weight_bits: float,
    activation_compute_bits: int,
    activation_bits: float,
    name: str,
    batch: int,
    width: int,
    height: int,
    channels: int,
    outputs: int,
    kernel: int,
) -> Timing:
    high = rows // -(-activation_compute_bits // pe_bits)
    wide = cols // -(-weight_compute_bits // pe_bits)
    if not high or not wide:
        raise DesignFault(f"{name}: {rows} x {cols} PEs cannot hold an operand's lanes")
    spatial = _tiles(max(width, height))
    grid = np.meshgrid(_tiles(batch), spatial, _tiles(channels), _tiles(outputs), indexing="ij")
    b, side, ic, oc = (axis.ravel() for axis in grid)
    ow, oh = np.minimum(side, width), np.minimum(side, height)

    # The authors pad weights by the rows, which take activations, and activations by the columns.
    high_for_weights = rows // -(-weight_compute_bits // pe_bits)
    wide_for_activations = cols // -(-activation_compute_bits // pe_bits)
    depth = kernel * ic
    weight_tile = _ceil(depth, high_for_weights) * high_for_weights * oc * weight_bits
    activation_tile = (
        ow * oh * b * _ceil(depth, wide_for_activations) * wide_for_activations * activation_bits
    )
    fits = (weight_tile <= weight_room) & (activation_tile <= activation_room)
    if not fits.any():
        least_w, least_a = weight_tile.min() / 8, activation_tile.min() / 8
        raise DesignFault(
            f"{name}: no tile fits half of its buffers: weights need {least_w:,.0f} bytes of "
            f"{weight_room / 8:,.0f}, activations {least_a:,.0f} of {activation_room / 8:,.0f}"
        )
    b, ow, oh, ic, oc, depth = (axis[fits] for axis in (b, ow, oh, ic, oc, depth))
    sizes = ((batch, b), (width, ow), (height, oh), (channels, ic), (outputs, oc))
    counts = np.stack([_ceil(size, tile) for size, tile in sizes]).astype(np.float64)
    positions = (ow * oh * b).astype(np.float64)
    tiles = counts.prod(axis=0)

    orders = _orders(width == height == 1)
    loops = counts[orders].transpose(1, 0, 2)  # (loops, orders, tilings)
    load_w, first_w = _nest(weight_tile[fits], weight_room, loops, orders, "weights")
    load_a, first_a = _nest(activation_tile[fits], activation_room, loops, orders, "activations")
    output_tile = positions * oc * output_bits
    store, _ = _nest(output_tile, output_room, loops, orders, "outputs")
    last = np.where(_merged(output_tile, output_room, loops, orders), 0.0, output_tile)

    macs = tiles * positions * oc * depth
    if dataflow == "os":
        compute = tiles * _ceil(ow * oh * b, high) * _ceil(oc, wide) * depth
        read_w, read_a = macs * weight_bits, macs * activation_bits
        read_o = write_o = tiles * positions * oc * output_bits
    else:
        compute = tiles * positions * _ceil(oc, wide) * _ceil(depth, high)
        read_w, read_a = tiles * depth * oc * weight_bits, macs * activation_bits
        read_o = write_o = macs * output_bits

    first = np.ceil((first_w + first_a) / bandwidth)
    final = np.ceil(last / bandwidth)
    between = np.ceil((load_w + load_a + store - first_w - first_a - last) / bandwidth)
    stalls = np.maximum(0.0, between - compute)
    cycles = compute + stalls + first + final
    energy = (
        compute * rows * cols * _CORE[pe_bits]
        + load_w * (_DRAM_READ + _WEIGHT_WRITE)
        + load_a * (_DRAM_READ + _ACTIVATION_WRITE)
        + store * (_DRAM_WRITE + _OUTPUT_READ)
        + read_w * _WEIGHT_READ
        + read_a * _ACTIVATION_READ
        + read_o * _OUTPUT_READ
        + write_o * _OUTPUT_WRITE
    )
    fewest = np.flatnonzero(cycles == cycles.min())
    best = fewest[np.argmin(energy.ravel()[fewest])]
    tiling = best % len(b)

    def pick(values: np.ndarray) -> float:
        return float(values.ravel()[best])

    total_rows, total_depth = batch * width * height, kernel * channels
    return Timing(
        compute_cycles=int(compute[tiling]),
        fill_drain_cycles=0,
        stall_first_load_cycles=int(pick(first)),
        stall_load_cycles=int(pick(stalls)),
        stall_store_cycles=int(pick(final)),
        overhead_cycles=0,
        dram_activation_read_bits=pick(load_a),
        dram_weight_read_bits=pick(load_w),
        dram_output_write_bits=pick(store),
        sram_activation_write_bits=pick(load_a),
        sram_activation_read_bits=float(read_a[tiling]),
        sram_weight_write_bits=pick(load_w),
        sram_weight_read_bits=float(read_w[tiling]),
        sram_output_write_bits=float(write_o[tiling]),
        sram_output_read_bits=float(read_o[tiling]) + pick(store),
        decodes=_decodes(dataflow, total_rows, total_depth, outputs, high, wide) * decoders,
    )


def _nest(
    tile: np.ndarray, room: float, loops: np.ndarray, orders: np.ndarray, operand: str
) -> tuple[np.ndarray, np.ndarray]:
    """(traffic, the part of it that comes first), bits, both (orders, tilings)."""
    traffic = np.broadcast_to(tile, loops.shape[1:]).astype(np.float64)
    first = traffic.copy()
    kept = np.ones(loops.shape[1:], bool)
    for place in reversed(range(len(loops))):
        indexes = np.isin(orders[:, place], _INDEXES[operand])[:, None]
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
    inner = np.isin(orders, _INDEXES["outputs"])
    place = orders.shape[1] - 1 - np.argmax(inner[:, ::-1], axis=1)
    return tile * loops[place, np.arange(len(orders))] <= room


def _decodes(dataflow: str, m: int, k: int, n: int, high: int, wide: int) -> int:
    """Operand elements that pass the array's borders."""
    activations = m * k * -(-n // wide)
    return activations + n * k * (-(-m // high) if dataflow == "os" else 1)
