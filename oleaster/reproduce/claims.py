"""OliVe against its rivals: speed and energy, ours beside the published figures."""

from dataclasses import dataclass
from statistics import geometric_mean

from oleaster.config import load_design
from oleaster.reproduce.published import Claim, published
from oleaster.sim.networks.layer import Network
from oleaster.sim.networks.library import load_network
from oleaster.sim.performance.simulate import LayerResult, Memory, simulate

__all__ = ["CLOSE", "OLIVE", "WORKLOADS", "ClaimResult", "evaluate", "off_by", "workloads"]

# (network, batch, sequence). Batches and sequences are not published for certain: our assumption.
WORKLOADS = (
    ("bert-base", 16, 128),
    ("bert-large", 16, 128),
    ("bart-base", 16, 128),
    ("gpt2-xl", 2, 1024),
    ("bloom-7b1", 2, 1024),
)
OLIVE = {"accelerator": "olive-64x64", "gpu": "gpu-olive"}

CLOSE = 0.1
"""A figure that is off by more needs a reason."""


@dataclass(frozen=True)
class ClaimResult:
    """totals: by network, the rival's and OliVe's."""

    claim: Claim
    memory: Memory
    totals: dict[str, tuple[LayerResult, LayerResult]]

    @property
    def speeds(self) -> dict[str, float]:
        """By network, how many times faster OliVe is."""
        return {name: rival.time_us / ours.time_us for name, (rival, ours) in self.totals.items()}

    @property
    def energies(self) -> dict[str, float]:
        """By network, how many times less energy OliVe takes."""
        return {
            name: rival.energy_pj / ours.energy_pj for name, (rival, ours) in self.totals.items()
        }

    @property
    def speed(self) -> float:
        """Geometric mean."""
        return geometric_mean(self.speeds.values())

    @property
    def energy(self) -> float:
        """Geometric mean."""
        return geometric_mean(self.energies.values())


def workloads() -> list[Network]:
    """Linear layers only: OliVe quantises no product of the attention."""
    return [
        load_network(name, batch=batch, sequence=sequence, attention=False)
        for name, batch, sequence in WORKLOADS
    ]


def evaluate(memory: Memory) -> list[ClaimResult]:
    """Every published claim on every workload; those on GPUs with "ideal" only.

    GPUs have one model for both memories.
    """
    totals: dict[tuple[str, str], LayerResult] = {}
    networks = workloads()
    claims = [x for x in published().claims if memory == "ideal" or x.platform != "gpu"]
    for name in {name for x in claims for name in (OLIVE[x.platform], x.design)}:
        design = load_design(name)
        for network in networks:
            totals[name, network.name] = simulate(network, design, memory=memory).total
    return [
        ClaimResult(
            claim,
            memory,
            {
                network.name: (
                    totals[claim.design, network.name],
                    totals[OLIVE[claim.platform], network.name],
                )
                for network in networks
            },
        )
        for claim in claims
    ]


def off_by(ours: float, theirs: float) -> float:
    """Relative difference of ours from the published figure."""
    return ours / theirs - 1
