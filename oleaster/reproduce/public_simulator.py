"""The public simulator's results, from its formulas on our networks and designs.

Cycles and energy on eight networks, relative to AdaptivFloat's. Its workloads differ from ours in
what this module puts right: ViT runs without its patch embedding but on BitFusion, and a kernel of
Inception counts as the square of its height.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from oleaster.config import load_design
from oleaster.reproduce.published import Means, Workload, published
from oleaster.sim.networks.layer import Layer, Network
from oleaster.sim.networks.library import load_network
from oleaster.sim.performance.design import ArrayDesign, Operand, Precision
from oleaster.sim.performance.simulate import LayerResult, simulate

__all__ = ["BATCH", "RIVALS", "Ratio", "SimulatorTable", "rebuild"]

BATCH = 64

RIVALS = {
    "ANT-OS": "ant-64x64-os",
    "ANT-WS": "ant-64x64-ws",
    "BitFusion": "bitfusion-64x64",
    "OLAccel": "olaccel-32x36",
    "AdaFloat": "adafloat-32x28",
}
"""Designs by the public simulator's names for them."""


@dataclass(frozen=True)
class Ratio:
    """Cycles of a network on a design, relative to AdaptivFloat's."""

    network: str
    rival: str
    ours: float
    published: float


@dataclass(frozen=True)
class SimulatorTable:
    """means: by rival, ours and the published ones."""

    ratios: list[Ratio]
    means: dict[str, tuple[Means, Means]]

    @property
    def worst(self) -> float:
        """The largest difference of a ratio."""
        return max(abs(ratio.ours - ratio.published) for ratio in self.ratios)


def rebuild() -> SimulatorTable:
    """Simulate every workload on every design."""
    ratios: list[Ratio] = []
    relative: dict[str, list[Means]] = {name: [] for name in RIVALS}
    for workload in published().workloads:
        totals = {name: _total(workload, name) for name in RIVALS}
        base = totals["AdaFloat"]
        for name, total in totals.items():
            cycles = total.cycles / base.cycles
            if name in workload.cycles:
                ratios.append(Ratio(workload.title, name, cycles, workload.cycles[name]))
            energy = (getattr(total, f"energy_{part}_pj") for part in Means._fields[1:])
            relative[name].append(Means(cycles, *(part / base.energy_pj for part in energy)))
    means = {name: (_mean(rows), published().means[name]) for name, rows in relative.items()}
    return SimulatorTable(ratios, means)


def _total(workload: Workload, rival: str) -> LayerResult:
    network = load_network(workload.network, batch=BATCH, attention=False)
    layers = [_square(layer) for layer in network.layers]
    if workload.network.startswith("vit") and rival != "BitFusion":
        layers = layers[1:]
    design = load_design(RIVALS[rival])
    assert isinstance(design, ArrayDesign)
    precisions = [
        Precision(layer.name, *_operands(_bits(workload, rival, index)))
        for index, layer in enumerate(layers)
    ]
    design = replace(design, precisions=tuple(precisions))
    return simulate(Network(network.name, network.description, tuple(layers)), design).total


def _bits(workload: Workload, rival: str, layer: int) -> int:
    if rival.startswith("ANT"):
        return 8 if layer in workload.ant_8bit else 4
    if rival == "BitFusion":
        return 4 if layer in workload.bitfusion_4bit else 8
    if rival == "OLAccel":
        return 8 if layer in workload.olaccel_8bit else 4
    return 8


def _operands(bits: int) -> tuple[Operand, Operand]:
    """As the public simulator has them: stored in as many bits as they are multiplied in."""
    operand = Operand(f"{bits} bits", bits, float(bits))
    return operand, operand


def _square(layer: Layer) -> Layer:
    if layer.convolution is None:
        return layer
    side = layer.convolution.kernel_height
    convolution = replace(layer.convolution, kernel_width=side)
    return replace(layer, k=side * side * convolution.in_channels, convolution=convolution)


def _mean(rows: Iterable[Means]) -> Means:
    """Arithmetic, as the public simulator's, which calls it a geometric mean."""
    columns = list(zip(*rows, strict=True))
    return Means(*(sum(column) / len(column) for column in columns))
