"""The rows of C's tiles, in the order in which they are written."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.accelerator.requantizer import FORMAT_SHAPE, has_format
from oleaster.hw.block import Block
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import MAX_SIZE, element_bits
from oleaster.models.accelerator.requantize import OUTPUT_FORMATS

__all__ = ["OutputRows", "RowWord", "bits_formats"]


def bits_formats(c_format: Value) -> list[tuple[int, Value]]:
    """Bits of an element, and whether C's format has so many."""
    sizes = sorted({element_bits(name) for name in OUTPUT_FORMATS})
    return [
        (bits, has_format(c_format, [n for n in OUTPUT_FORMATS if element_bits(n) == bits]))
        for bits in sizes
    ]


class RowWord(data.StructLayout):
    """One row of a tile of C.

    `address` of its first byte; `beats` that it touches; `steps` of `out_lanes` columns, less 1;
    `count`, columns in the last step; `row` in the tile; `last` row of the tile.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            {
                "address": config.address_bits,
                "beats": range(config.row_beats + 1),
                "steps": range(config.cols // config.out_lanes),
                "count": range(config.out_lanes + 1),
                "row": range(config.rows),
                "last": 1,
            }
        )


class OutputRows(Block[AcceleratorConfig]):
    """Walks C tile by tile, those of a strip of rows from left to right, and gives a row a cycle.

    Members
    -------
    start: In(1)
        Begin again with what the inputs below say, which must then stay. The first row comes two
        cycles later.
    c_format: In(FORMAT_SHAPE)
    wide_a, wide_b: In(1)
        Elements of that operand take two lanes: a tile has half the rows or columns.
    m, n: In(24)
    c_address: In(address_bits)
    c_stride: In(32)
        Bytes.
    rows: stream of RowWord, Out
    exhausted: Out(1)
        There is no row left, also before the first start.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            "output_rows",
            config,
            {
                "start": In(1),
                "c_format": In(FORMAT_SHAPE),
                "wide_a": In(1),
                "wide_b": In(1),
                "m": In(range(MAX_SIZE + 1)),
                "n": In(range(MAX_SIZE + 1)),
                "c_address": In(config.address_bits),
                "c_stride": In(32),
                "rows": Out(stream.Signature(RowWord(config))),
                "exhausted": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        tile_rows = Signal(range(c.rows + 1))
        tile_cols = Signal(range(c.cols + 1))
        for size, whole, wide, lane in (
            (tile_rows, c.rows, self.wide_a, c.lane_a),
            (tile_cols, c.cols, self.wide_b, c.lane_b),
        ):
            m.d.comb += size.eq(Mux(wide, whole // 2, whole) if lane.group == 2 else whole)

        # From the tile's first row and column on; `row` is within the tile.
        rows_left = Signal.like(self.m)
        cols_left = Signal.like(self.n)
        row = Signal(range(c.rows))
        address = Signal(c.address_bits)
        tile_address = Signal(c.address_bits)
        strip_address = Signal(c.address_bits)  # of the next strip
        in_first_tile = Signal()  # of its strip
        active = Signal()

        last_row = Signal()
        last_tile = Signal()
        next_row = Signal(c.address_bits)
        next_tile = Signal(c.address_bits)
        next_strip = Signal(c.address_bits)
        advance = Signal()
        m.d.comb += [
            last_row.eq((row == tile_rows - 1) | (row + 1 == rows_left)),
            last_tile.eq(cols_left <= tile_cols),
            next_row.eq(address + self.c_stride),
            next_tile.eq(tile_address + self._bytes(m, "tile", tile_cols)),
            # A strip's height is walked once, in its first tile, and needs no multiplier.
            next_strip.eq(Mux(in_first_tile, next_row, strip_address)),
            advance.eq(active & (~self.rows.valid | self.rows.ready)),
            self.exhausted.eq(~active & ~self.rows.valid),
        ]
        with m.If(self.rows.ready):
            m.d.sync += self.rows.valid.eq(0)
        with m.If(advance):
            self._give(m, row, last_row, address, Mux(last_tile, cols_left, tile_cols))
            m.d.sync += [row.eq(row + 1), address.eq(next_row)]
            with m.If(last_row):
                m.d.sync += [
                    row.eq(0),
                    strip_address.eq(next_strip),
                    in_first_tile.eq(last_tile),
                ]
                with m.If(last_tile):
                    m.d.sync += [
                        address.eq(next_strip),
                        tile_address.eq(next_strip),
                        rows_left.eq(rows_left - tile_rows),
                        cols_left.eq(self.n),
                        active.eq(rows_left > tile_rows),
                    ]
                with m.Else():
                    m.d.sync += [
                        address.eq(next_tile),
                        tile_address.eq(next_tile),
                        cols_left.eq(cols_left - tile_cols),
                    ]
        with m.If(self.start):
            m.d.sync += [
                rows_left.eq(self.m),
                cols_left.eq(self.n),
                row.eq(0),
                address.eq(self.c_address),
                tile_address.eq(self.c_address),
                in_first_tile.eq(1),
                active.eq(1),
                self.rows.valid.eq(0),
            ]
        return m

    def _give(self, m: Module, row: Value, last: Value, address: Value, cols: Value) -> None:
        c = self.config
        before = Signal(range(c.cols))  # columns before the last one
        offset = address[: _log2(c.beat_bytes)]
        end = Signal(range((c.row_beats + 1) * c.beat_bytes))
        word = self.rows.payload
        m.d.comb += [
            before.eq(cols - 1),
            end.eq(offset + self._bytes(m, "row", cols) + (c.beat_bytes - 1)),
        ]
        m.d.sync += [
            self.rows.valid.eq(1),
            word.address.eq(address),
            word.beats.eq(end >> _log2(c.beat_bytes)),
            word.steps.eq(before >> _log2(c.out_lanes)),
            word.count.eq(before[: _log2(c.out_lanes)] + 1),
            word.row.eq(row),
            word.last.eq(last),
        ]

    def _bytes(self, m: Module, name: str, columns: Value) -> Signal:
        """Bytes of so many columns of a row; codes come in pairs."""
        result = Signal(range(4 * self.config.cols + 1), name=f"{name}_bytes")
        pairs = (columns + 1) >> 1
        for bits, applies in bits_formats(self.c_format):
            with m.If(applies):
                if bits == 32:
                    m.d.comb += result.eq(columns << 2)
                else:
                    m.d.comb += result.eq(pairs << bits // 8)
        return result


def _log2(value: int) -> int:
    return value.bit_length() - 1
