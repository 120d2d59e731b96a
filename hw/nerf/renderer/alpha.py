# amaranth: UnusedElaboratable=no
"""From a sample's codes to its alpha: products of all pairs, their sum, and the table of alpha."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In

from oleaster.hw.emit import place
from oleaster.hw.nerf.curve import CurveTable
from oleaster.hw.nerf.density import DensityUnit, ScaleLayout
from oleaster.hw.nerf.features import FeatureUnit, product_bits
from oleaster.hw.nerf.pipe import Path, Pipe, delayed
from oleaster.hw.nerf.renderer.taps import TapsWord
from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.targets import PAIRS

__all__ = ["AlphaUnit", "feed", "pair_features"]


def pair_features(config: RendererConfig, components: int) -> list[Path]:
    """A feature unit for each pair of plane and line."""
    fixed = config.fixed
    widths = config.plane_bits, config.line_bits, fixed.weight_bits, fixed.guard_bits
    return [Path(FeatureUnit(components, *widths, tag_bits=1)) for _ in range(PAIRS)]


def feed(m: Module, features: list[Path], codes: Any, weight: Any) -> None:
    """The codes of each pair, and the weights along its axes."""
    for pair, unit in enumerate(features):
        axes = (*PLANE_AXES[pair], LINE_AXES[pair])
        m.d.comb += [
            unit.i.codes.eq(codes[pair]),
            *(unit.i.weight[i].eq(weight[axis]) for i, axis in enumerate(axes)),
        ]


class AlphaUnit(Pipe):
    """Feature units, density unit and curve table, one behind the other; a sample every cycle.

    `FixedField.density_sums` and `FixedField.alpha` are the reference.

    Parameters
    ----------
    config: RendererConfig
    tag_bits: int
        Of a tag that is handed through.

    Members
    -------
    i: stream of TapsWord, In
        The codes' tag; weights along x, y and z.
    o: stream of (alpha: transmittance_bits + 1, end, tag), Out
    scale: 3 of ScaleLayout, In
    lowest, shift, write_enable, write_address, write_data: In
        As in CurveTable. What is constant must be stable while samples are on their way.
    """

    def __init__(self, config: RendererConfig, tag_bits: int) -> None:
        self.config = config
        self.tag_bits = tag_bits
        fixed = config.fixed
        components = config.density_components
        products = product_bits(config.plane_bits, config.line_bits, fixed.guard_bits)
        self._features = pair_features(config, components)
        self._density = Path(DensityUnit(components, products, config.alpha_sum_bits, tag_bits=1))
        self._curve = Path(
            CurveTable(
                config.alpha_sum_bits,
                fixed.transmittance_bits + 1,
                fixed.alpha_address_bits,
                config.alpha_largest_shift,
            )
        )
        stages = self._features[0], self._density, self._curve
        curve = self._curve.signature.members
        names = ("lowest", "shift", "write_enable", "write_address", "write_data")
        super().__init__(
            TapsWord(config, components, tag_bits),
            data.StructLayout({"alpha": fixed.transmittance_bits + 1, "end": 1, "tag": tag_bits}),
            # One for the codes, which come out of a choice of widths.
            latency=1 + sum(each.pipe.latency for each in stages),
            members={
                "scale": In(data.ArrayLayout(ScaleLayout(), PAIRS)),
                **{name: curve[name] for name in names},
            },
        )

    @property
    def module_name(self) -> str:
        return f"alpha_unit_{self.config.name}_t{self.tag_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {**self.config.parameters, "tag_bits": self.tag_bits}

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        word_1 = delayed(m, word, 1, "word")
        features, density, curve = self._features, self._density, self._curve
        for pair, unit in enumerate(features):
            place(m, f"features_{pair}", unit, platform)
        feed(m, features, word_1.codes, word_1.weight)
        place(m, "density", density, platform, scale=self.scale)
        place(
            m,
            "curve",
            curve,
            platform,
            lowest=self.lowest,
            shift=self.shift,
            write_enable=self.write_enable,
            write_address=self.write_address,
            write_data=self.write_data,
        )
        answer = Signal(self.o.payload.shape())
        m.d.comb += [
            *(density.i.product[i].eq(unit.o.product) for i, unit in enumerate(features)),
            curve.i.eq(density.o.sum),
            answer.alpha.eq(curve.o),
            answer.end.eq(delayed(m, word_1.end, self.latency - 1, "end")),
            answer.tag.eq(delayed(m, word_1.tag, self.latency - 1, "tag")),
        ]
        return answer
