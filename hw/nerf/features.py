"""From a sample's coordinates to cells and weights, and from their codes to products."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In

from oleaster.hw.nerf.pipe import Pipe, delayed
from oleaster.hw.nerf.rounding import rounded

__all__ = ["CodesLayout", "FeatureUnit", "SampleAddress", "product_bits"]


def product_bits(plane_bits: int, line_bits: int, guard_bits: int) -> int:
    """Width of a product: codes of b bits are within +-(2^(b - 1) - 1), and so is what is between.

    Plane and line have guard_bits behind the point, and so has their product.
    """
    return plane_bits + line_bits - 1 + guard_bits


class CodesLayout(data.StructLayout):
    """A component's codes around a sample, signed.

    plane: 4, at (u, v), (u + 1, v), (u, v + 1), (u + 1, v + 1); line: 2, at w and w + 1.
    """

    def __init__(self, plane_bits: int, line_bits: int) -> None:
        super().__init__(
            {
                "plane": data.ArrayLayout(signed(plane_bits), 4),
                "line": data.ArrayLayout(signed(line_bits), 2),
            }
        )


class SampleAddress(Pipe):
    """Coordinates on the field's lattice to cells, and to weights of the points behind them.

    `FixedField.cells` is the reference. A coordinate on the last face is a whole cell beyond the
    last cell, so a weight can be 1 itself.

    Parameters
    ----------
    cell_bits, position_bits: int
        Of a coordinate before and behind its point.
    weight_bits: int
        Fraction of a weight, at most position_bits.
    tag_bits: int
        Of a tag that is handed through.

    Members
    -------
    last: 3 of cell_bits, In
        The lattice's last points, at least 1; stable while words are on their way.
    i: stream of (at: 3 of cell_bits + position_bits, tag), In
        at: unsigned, not beyond the last points.
    o: stream of (cell: 3 of cell_bits, weight: 3 of weight_bits + 1, tag), Out
    """

    def __init__(self, cell_bits: int, position_bits: int, weight_bits: int, tag_bits: int) -> None:
        if weight_bits > position_bits:
            raise ValueError(
                f"weight_bits is {weight_bits}; it must be at most position_bits, {position_bits}"
            )
        self.cell_bits = cell_bits
        self.position_bits = position_bits
        self.weight_bits = weight_bits
        self.tag_bits = tag_bits
        super().__init__(
            data.StructLayout(
                {"at": data.ArrayLayout(cell_bits + position_bits, 3), "tag": tag_bits}
            ),
            data.StructLayout(
                {
                    "cell": data.ArrayLayout(cell_bits, 3),
                    "weight": data.ArrayLayout(weight_bits + 1, 3),
                    "tag": tag_bits,
                }
            ),
            latency=1,
            members={"last": In(data.ArrayLayout(cell_bits, 3))},
        )

    @property
    def module_name(self) -> str:
        return (
            f"sample_address_{self.cell_bits}_{self.position_bits}_{self.weight_bits}"
            f"_t{self.tag_bits}"
        )

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "cell_bits": self.cell_bits,
            "position_bits": self.position_bits,
            "weight_bits": self.weight_bits,
            "tag_bits": self.tag_bits,
        }

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        answer = Signal(self.o.payload.shape(), reset_less=True)
        m.d.sync += answer.tag.eq(word.tag)
        for axis in range(3):
            cell = word.at[axis][self.position_bits :]
            weight = word.at[axis][self.position_bits - self.weight_bits : self.position_bits]
            face = Signal(name=f"on_face_{axis}")
            m.d.comb += face.eq(cell == self.last[axis])
            m.d.sync += [
                answer.cell[axis].eq(cell - face),
                # On the face nothing follows the point.
                answer.weight[axis].eq(Mux(face, 1 << self.weight_bits, weight)),
            ]
        return answer


class FeatureUnit(Pipe):
    """A plane and its line at a sample, interpolated and multiplied, for some components at once.

    `FixedField.products` is the reference. Twelve components of colour are three words of four.

    Parameters
    ----------
    components: int
        Of a word.
    plane_bits, line_bits: int
        Of a code; within +-(2^(bits - 1) - 1).
    weight_bits: int
        Fraction of a weight.
    guard_bits: int
        That an interpolated value, and a product, keep below the unit of their codes.
    tag_bits: int
        Of a tag that is handed through.

    Members
    -------
    i: stream of (codes: `components` of CodesLayout, weight: 3 of weight_bits + 1, tag), In
        weight: along u, v and w, at most 2^weight_bits.
    o: stream of (product: `components` of signed product_bits, tag), Out
    """

    def __init__(
        self,
        components: int,
        plane_bits: int,
        line_bits: int,
        weight_bits: int,
        guard_bits: int,
        tag_bits: int,
    ) -> None:
        self.components = components
        self.plane_bits = plane_bits
        self.line_bits = line_bits
        self.weight_bits = weight_bits
        self.guard_bits = guard_bits
        self.tag_bits = tag_bits
        codes = CodesLayout(plane_bits, line_bits)
        product = signed(product_bits(plane_bits, line_bits, guard_bits))
        super().__init__(
            data.StructLayout(
                {
                    "codes": data.ArrayLayout(codes, components),
                    "weight": data.ArrayLayout(weight_bits + 1, 3),
                    "tag": tag_bits,
                }
            ),
            data.StructLayout({"product": data.ArrayLayout(product, components), "tag": tag_bits}),
            latency=8,
        )

    @property
    def module_name(self) -> str:
        return (
            f"feature_unit_{self.components}x{self.plane_bits}_{self.line_bits}"
            f"_w{self.weight_bits}_g{self.guard_bits}_t{self.tag_bits}"
        )

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "components": self.components,
            "plane_bits": self.plane_bits,
            "line_bits": self.line_bits,
            "weight_bits": self.weight_bits,
            "guard_bits": self.guard_bits,
            "tag_bits": self.tag_bits,
        }

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        answer = Signal(self.o.payload.shape(), reset_less=True)
        m.d.sync += answer.tag.eq(delayed(m, word.tag, 7, "tag"))
        u = delayed(m, word.weight[0], 1, "u")
        v = delayed(m, word.weight[1], 4, "v")
        w = delayed(m, word.weight[2], 1, "w")
        for i in range(self.components):
            codes = word.codes[i]
            edges = []
            for row, name in enumerate((f"bottom_{i}", f"top_{i}")):
                edge = Signal(
                    signed(self.plane_bits + self.weight_bits), name=name, reset_less=True
                )
                low, high = codes.plane[2 * row], codes.plane[2 * row + 1]
                m.d.sync += edge.eq(self._between(m, low, high, u, name))
                edges.append(edge)
            plane = Signal(
                signed(self.plane_bits + self.guard_bits), name=f"plane_{i}", reset_less=True
            )
            line = Signal(
                signed(self.line_bits + self.guard_bits), name=f"line_{i}", reset_less=True
            )
            both = Signal(
                signed(len(plane) + len(line) - 1), name=f"plane_times_line_{i}", reset_less=True
            )
            area = self._between(m, edges[0], edges[1], v, f"plane_{i}")
            length = self._between(m, codes.line[0], codes.line[1], w, f"line_{i}")
            m.d.sync += [
                plane.eq(rounded(area, 2 * self.weight_bits - self.guard_bits)),
                line.eq(rounded(length, self.weight_bits - self.guard_bits)),
                # The line is interpolated once, the plane twice.
                both.eq(plane * delayed(m, line, 3, f"line_{i}")),
                answer.product[i].eq(rounded(both, self.guard_bits)),
            ]
        return answer

    def _between(self, m: Module, low: Any, high: Any, weight: Any, name: str) -> Any:
        """low + (high - low) weight, weight_bits further down, two cycles later.

        weight: of one cycle later.
        """
        rise = Signal(signed(len(low) + 1), name=f"{name}_rise", reset_less=True)
        share = Signal(signed(len(rise) + len(weight)), name=f"{name}_share", reset_less=True)
        m.d.sync += [rise.eq(high - low), share.eq(rise * weight)]
        return delayed(m, low, 2, f"{name}_low").shift_left(self.weight_bits) + share
