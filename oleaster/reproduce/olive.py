"""OliVe's evaluation (ISCA 2023, section 5), computed anew: everything the page shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oleaster.config import load_design
from oleaster.reproduce.claims import OLIVE, WORKLOADS, ClaimResult, evaluate
from oleaster.reproduce.pairs import pair_shares
from oleaster.reproduce.public_simulator import SimulatorTable, rebuild
from oleaster.reproduce.published import Pairs
from oleaster.reproduce.reasons import reasons
from oleaster.sim.networks.library import load_network
from oleaster.sim.performance.simulate import LayerResult, Memory, simulate

if TYPE_CHECKING:
    from oleaster.models.encoder import Encoder
    from oleaster.reproduce.area import AreaShare

__all__ = ["OliveEvaluation", "evaluate_olive"]

MEMORIES: tuple[Memory, ...] = ("ideal", "real")


@dataclass(frozen=True)
class OliveEvaluation:
    """claims, real: with ideal memory, and on the accelerator with real memory.

    areas: shares of our own circuits. pairs: of the models that were given. olive: its totals on
    BERT-base by memory.
    """

    simulator: SimulatorTable
    claims: list[ClaimResult]
    real: list[ClaimResult]
    areas: list[AreaShare]
    pairs: list[Pairs]
    olive: dict[Memory, LayerResult]

    def reasons(self, result: ClaimResult) -> list[str]:
        """Why a result of `claims` or `real` is off."""
        ideal = next(other for other in self.claims if other.claim == result.claim)
        return reasons(result, ideal)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: docs/cli.md has the keys."""
        return {
            "public_simulator": {
                "worst_difference": self.simulator.worst,
                "ratios": [vars(ratio) for ratio in self.simulator.ratios],
                "means": {
                    name: {"ours": ours._asdict(), "published": theirs._asdict()}
                    for name, (ours, theirs) in self.simulator.means.items()
                },
            },
            "claims": [
                {
                    **result.claim._asdict(),
                    "memory": result.memory,
                    "our_speed": result.speed,
                    "our_energy": result.energy,
                    "speeds": result.speeds,
                    "energies": result.energies,
                    "reasons": self.reasons(result),
                }
                for result in self.claims + self.real
            ],
            "areas": [vars(area) for area in self.areas],
            "pairs": [pairs._asdict() for pairs in self.pairs],
        }


def evaluate_olive(encoders: dict[str, Encoder], say: Callable[[str], None]) -> OliveEvaluation:
    """Half a minute. encoders: trained models whose weights are counted, by name.

    Raises SynthesisError without Yosys.
    """
    from oleaster.reproduce.area import measure  # imports Amaranth, which is slow

    say("the public simulator: 8 networks on 5 designs")
    simulator = rebuild()
    say("OliVe and its rivals: 5 networks, both memories")
    claims = evaluate("ideal")
    real = evaluate("real")
    say("area: Yosys on decoders and PE")
    areas = measure()
    say("pairs of weights")
    pairs = [
        pair_shares(name, [weight for weight, _ in encoder.linears.values()])
        for name, encoder in encoders.items()
    ]
    name, batch, sequence = WORKLOADS[0]
    network = load_network(name, batch=batch, sequence=sequence, attention=False)
    design = load_design(OLIVE["accelerator"])
    olive = {memory: simulate(network, design, memory=memory).total for memory in MEMORIES}
    return OliveEvaluation(simulator, claims, real, areas, pairs, olive)
