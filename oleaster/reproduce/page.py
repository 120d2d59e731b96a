"""The page of an evaluation: Markdown with its figures beside it."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from oleaster import __version__
from oleaster.io import write_bytes
from oleaster.plots import bar_groups, save_figure
from oleaster.reproduce.area import published_shares
from oleaster.reproduce.claims import CLOSE, WORKLOADS, ClaimResult, off_by
from oleaster.reproduce.olive import OliveEvaluation
from oleaster.reproduce.public_simulator import BATCH, RIVALS
from oleaster.reproduce.published import published
from oleaster.reproduce.tables import table
from oleaster.sim.performance.simulate import LayerResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_page"]

_SUFFIXES = (".png", ".svg")


def write_page(evaluation: OliveEvaluation, folder: Path) -> list[Path]:
    """Write olive.md and its figures into a folder; returns their paths, the page first.

    The page is written last, so that it never shows figures that are not there. Raises FileError.
    """
    figures = []
    for name, figure in _figures(evaluation).items():
        for suffix in _SUFFIXES:
            path = folder / f"{name}{suffix}"
            save_figure(figure, path)
            figures.append(path)
    page = folder / "olive.md"
    write_bytes(page, markdown(evaluation).encode())
    return [page, *figures]


def _figures(evaluation: OliveEvaluation) -> "dict[str, Figure]":
    claims = evaluation.claims
    accelerator = [result for result in claims if result.claim.platform == "accelerator"]
    gpu = [result for result in claims if result.claim.platform == "gpu"]
    figures: dict[str, Figure] = {}
    for what in ("speed", "energy"):
        label = "times faster" if what == "speed" else "times less energy"
        figures[f"olive-{what}-accelerator"] = bar_groups(
            {
                f"over {result.claim.rival}": {
                    "published": getattr(result.claim, what),
                    "ours, ideal memory": getattr(result, what),
                    "ours, real memory": getattr(real, what),
                }
                for result, real in zip(accelerator, evaluation.real, strict=True)
            },
            ylabel=label,
            title=f"OliVe's accelerator: {what}",
        )
        figures[f"olive-{what}-gpu"] = bar_groups(
            {
                f"over {result.claim.rival}": {
                    "published": getattr(result.claim, what),
                    "ours": getattr(result, what),
                }
                for result in gpu
            },
            ylabel=label,
            title=f"OliVe on a GPU: {what}",
        )
    ratios = evaluation.simulator.ratios
    figures["public-simulator"] = bar_groups(
        {
            rival: {
                "published": _mean(r.published for r in ratios if r.rival == rival),
                "ours": _mean(r.ours for r in ratios if r.rival == rival),
            }
            for rival in RIVALS
            if rival != "AdaFloat"
        },
        ylabel="cycles, AdaptivFloat = 1",
        title="The public simulator, mean of eight networks",
    )
    return figures


def markdown(evaluation: OliveEvaluation) -> str:
    """The page."""
    parts = [
        _head(),
        _claims(evaluation),
        _public_simulator(evaluation),
        _memories(evaluation),
        _area(evaluation),
        _pairs(evaluation),
    ]
    return "\n\n".join(parts) + "\n"


def _head() -> str:
    networks = ", ".join(f"{name} ({batch} x {tokens})" for name, batch, tokens in WORKLOADS)
    return f"""# OliVe's evaluation, computed anew

Made by `oleaster reproduce olive`, version {__version__}. Published figures are those of OliVe
(ISCA 2023) and of the public simulator of ANT (MICRO 2022), which OliVe was evaluated with. Nothing
was tuned to meet them. A figure that is off by more than {100 * CLOSE:.0f} % has its reason below.

What is not published, and what we assumed:

- Batch and sequence of each network: {networks}.
- Only linear layers run; OliVe quantises no product of the attention. ANT runs int8 throughout,
  since its 4-bit types lose too much on transformers; on the GPU it is then the same as int8.
- OliVe's clock, buffers and DRAM are those of ANT's public simulator, and so are all constants of
  energy (table `ant-28nm`); a decoder's energy is a PE's, by area. The GPU's constants
  (`turing-12nm`) are our estimates from board power and peak rate.
- Values of OLAccel and GOBO take the bits that their codes and lists of outliers took when measured
  on MPNet-base (docs/accuracy.md).
- The GPU is a roofline over tensor cores, L2 cache and DRAM; the authors ran GPGPU-Sim."""


def _claims(evaluation: OliveEvaluation) -> str:
    lines = ["## Speed and energy against each rival", ""]
    for what in ("speed", "energy"):
        for platform in ("accelerator", "gpu"):
            lines.append(f"![{what}, {platform}](olive-{what}-{platform}.png)")
    header = ("platform", "rival", "memory", "speed", "published", "off", "energy", "published")
    rows = [_claim_row(result) for result in evaluation.claims + evaluation.real]
    lines += ["", table((*header, "off"), rows, left=3), "", "Reasons:", ""]
    for result in evaluation.claims + evaluation.real:
        for reason in evaluation.reasons(result):
            claim = result.claim
            lines.append(f"- {claim.platform}, {claim.rival}, {_memory(result)}: {reason}")
    lines += ["", "By network, speed / energy:", ""]
    names = [name for name, _, _ in WORKLOADS]
    by_network = [
        (
            result.claim.platform,
            result.claim.rival,
            _memory(result),
            *(f"{result.speeds[name]:.2f} / {result.energies[name]:.2f}" for name in names),
        )
        for result in evaluation.claims + evaluation.real
    ]
    lines.append(table(("platform", "rival", "memory", *names), by_network, left=3))
    return "\n".join(lines)


def _claim_row(result: ClaimResult) -> tuple[str, ...]:
    claim = result.claim
    return (
        claim.platform,
        claim.rival,
        _memory(result),
        f"{result.speed:.2f}",
        f"{claim.speed:.1f}",
        f"{100 * off_by(result.speed, claim.speed):+.0f} %",
        f"{result.energy:.2f}",
        f"{claim.energy:.1f}",
        f"{100 * off_by(result.energy, claim.energy):+.0f} %",
    )


def _memory(result: ClaimResult) -> str:
    return "roofline" if result.claim.platform == "gpu" else result.memory


def _public_simulator(evaluation: OliveEvaluation) -> str:
    simulator = evaluation.simulator
    networks = list(dict.fromkeys(ratio.network for ratio in simulator.ratios))
    rows = []
    for rival in RIVALS:
        found = [ratio for ratio in simulator.ratios if ratio.rival == rival]
        if found:
            rows.append((rival, *(f"{r.ours:.3f} / {r.published:.2f}" for r in found)))
    means = [
        (
            rival,
            *(f"{a:.3f} / {b:.2f}" for a, b in zip(ours, theirs, strict=True)),
        )
        for rival, (ours, theirs) in simulator.means.items()
    ]
    return f"""## The public simulator, from its formulas

Cycles of {len(networks)} networks, batch {BATCH}, relative to AdaptivFloat's, ours / published. The
largest difference is {simulator.worst:.4f}; published figures have two digits.

![cycles](public-simulator.png)

{table(("design", *networks), rows, left=1)}

Means: cycles, and energy by component as a share of AdaptivFloat's:

{table(("design", "cycles", "static", "DRAM", "buffers", "core"), means, left=1)}"""


def _memories(evaluation: OliveEvaluation) -> str:
    name, batch, sequence = WORKLOADS[0]
    columns: list[tuple[str, str]] = [
        ("cycles", "cycles"),
        ("compute_cycles", "compute"),
        ("fill_drain_cycles", "fill, drain"),
        ("stall_first_load_cycles", "first load"),
        ("stall_load_cycles", "load"),
        ("stall_store_cycles", "store"),
    ]
    rows = [
        (
            memory,
            *(f"{getattr(total, column):,}" for column, _ in columns),
            f"{total.utilization_pct:.1f} %",
            *(f"{share:.0f} %" for share in _energy_shares(total)),
            f"{total.energy_pj / 1e6:,.0f}",
        )
        for memory, total in evaluation.olive.items()
    ]
    header = ("memory", *(title for _, title in columns), "utilisation", "static", "DRAM")
    return f"""## Both memories

OliVe's array on {name}, batch {batch}, {sequence} tokens: cycles, then energy. *ideal* is the
published method; *real* has fill, drain, latency and one DRAM port for all.

{table((*header, "buffers", "core", "decoders", "energy, uJ"), rows, left=1)}"""


def _energy_shares(total: LayerResult) -> list[float]:
    parts = ("static", "dram", "buffer", "core", "decode")
    return [100 * getattr(total, f"energy_{part}_pj") / total.energy_pj for part in parts]


def _area(evaluation: OliveEvaluation) -> str:
    rows = [
        (
            theirs.unit,
            f"{theirs.count:,}",
            f"{theirs.area:.2f}",
            f"{theirs.share:.2f} %",
            f"{row.share:.1f} %",
            f"{ours.area:,.0f}",
            f"{ours.share:.2f} %",
        )
        for theirs, row, ours in zip(
            published_shares(), published().areas, evaluation.areas, strict=True
        )
    ]
    header = (
        "unit",
        "number",
        "published um^2",
        "share",
        "printed",
        "our transistors",
        "our share",
    )
    decoder, _, pe = published_shares()
    our_decoder, _, our_pe = evaluation.areas
    fitting = our_decoder.area * pe.area / decoder.area
    weigh = "less" if our_decoder.area / our_pe.area < decoder.area / pe.area else "more"
    return f"""## Area of decoders and PEs

Published for 22 nm; ours is Yosys' estimate of CMOS transistors after generic synthesis of our own
Verilog, with the published numbers of units; docs/synthesis.md has more of
it, in a library's cells, too.

{table(header, rows, left=1)}

Our decoders weigh {weigh}: one is {our_decoder.area / our_pe.area:.2f} of our PE, the published one
{decoder.area / pe.area:.2f} of its PE. Beside our decoder, a PE of the published
ratio would have {fitting:,.0f} transistors. Ours has {our_pe.flops} flip-flops alone, for two
32-bit sums with overflow flags (one drains while the other grows) and for the operands it passes
on. What the published PE and decoder hold is not published."""


def _pairs(evaluation: OliveEvaluation) -> str:
    rows = [
        (kind, p.model, *(f"{value:.2f}" for value in p[1:]))
        for kind, found in (("published", published().pairs), ("ours", evaluation.pairs))
        for p in found
    ]
    header = ("", "model", "normal-normal", "outlier-normal", "outlier-outlier")
    return f"""## Pairs with outliers

Per cent of pairs of weights along K, outliers beyond 3 sigma of their matrix. The published models
are not in the packages used here; ours are other trained transformers.

{table(header, rows, left=2)}"""


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
