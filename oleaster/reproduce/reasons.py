"""Why a figure of ours departs from the published one, with what our models say for it."""

from statistics import geometric_mean

from oleaster.config import load_design
from oleaster.reproduce.claims import CLOSE, OLIVE, ClaimResult, off_by
from oleaster.sim.performance.design import GpuDesign

__all__ = ["reasons"]


def reasons(result: ClaimResult, ideal: ClaimResult) -> list[str]:
    """A sentence or two for each of speed and energy that is off by more than `CLOSE`.

    ideal: the same claim with ideal memory.
    """
    claim, found = result.claim, []
    if abs(off_by(result.speed, claim.speed)) > CLOSE:
        found.append(_beyond_the_chip(result) if claim.platform == "gpu" else _unexplained("speed"))
    if abs(off_by(result.energy, claim.energy)) > CLOSE:
        if claim.platform == "gpu":
            found.append(_static_energy(result))
        elif result.memory == "real":
            found.append(_reuse(result, ideal))
        else:
            found.append(_unexplained("energy"))
    return found


def _beyond_the_chip(result: ClaimResult) -> str:
    """Rates and bits bound every model in which time is work over rate."""
    claim = result.claim
    rival, ours = load_design(claim.design), load_design(OLIVE[claim.platform])
    assert isinstance(rival, GpuDesign)
    assert isinstance(ours, GpuDesign)
    weights, activations = rival.precisions[-1].weights, rival.precisions[-1].activations
    our_weights, our_activations = ours.precisions[-1].weights, ours.precisions[-1].activations
    rate = ours.peak(our_weights, our_activations) / rival.peak(weights, activations)
    bits = max(
        weights.stored_bits / our_weights.stored_bits,
        activations.stored_bits / our_activations.stored_bits,
    )
    bound = max(rate, bits)
    return (
        f"Speed: on one chip, OliVe multiplies {rate:.3g} times as many operands a cycle, and its "
        f"operands have at most {bits:.3g} times fewer bits. Where time is work over rate, nothing "
        f"beyond {bound:.3g} can come out; the published {claim.speed} is "
        f"{claim.speed / bound:.2f} times that. The rest must lie in what the authors' GPU "
        "simulation had besides multiplications and bytes (instructions, kernels, occupancy), "
        "which is not published."
    )


def _static_energy(result: ClaimResult) -> str:
    """What our energies would give if the rival took the published time."""
    claim = result.claim
    stretch = claim.speed / result.speed
    energies = [
        (rival.energy_pj + rival.energy_static_pj * (stretch - 1)) / ours.energy_pj
        for rival, ours in result.totals.values()
    ]
    ratio = geometric_mean(energies)
    return (
        f"Energy: static energy grows with time. With the published speed in place of ours, our "
        f"energies would give {ratio:.2f} ({100 * off_by(ratio, claim.energy):+.0f} %); that much "
        "of the difference is the speed's, the rest is constants that are not published."
    )


def _reuse(result: ClaimResult, ideal: ClaimResult) -> str:
    """What would come out if buffers were read as often as with ideal memory."""
    swapped, shares = [], []
    for network, (rival, ours) in result.totals.items():
        once, often = (
            [total.energy_pj - total.energy_buffer_pj for total in (rival, ours)],
            [total.energy_buffer_pj for total in ideal.totals[network]],
        )
        swapped.append((once[0] + often[0]) / (once[1] + often[1]))
        before = ideal.totals[network][1]
        shares.append(
            (before.energy_buffer_pj / before.energy_pj, ours.energy_buffer_pj / ours.energy_pj)
        )
    was, now = (100 * sum(column) / len(column) for column in zip(*shares, strict=True))
    ratio = geometric_mean(swapped)
    return (
        "Energy: the published method reads both operands from their buffers for every "
        f"multiplication, ours once at the array's border: buffers take {now:.0f} % of OliVe's "
        f"energy instead of {was:.0f} %. With the published method's buffers, ours would give "
        f"{ratio:.2f} ({100 * off_by(ratio, result.claim.energy):+.0f} %)."
    )


def _unexplained(what: str) -> str:
    return f"{what.capitalize()}: off by more than {100 * CLOSE:.0f} %, and we know no reason."
