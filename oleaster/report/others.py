"""Sections of synthesis and of published evaluations."""

from __future__ import annotations

from typing import Any

from oleaster.drawing import si
from oleaster.report.bars import grouped
from oleaster.report.blocks import Block, Facts, Fold, Section, Table, digits
from oleaster.report.inputs import AreaRun, OliveRun, RtnerfRun

__all__ = ["area_section", "olive_section", "rtnerf_section"]

# The first that every result has is drawn.
_AREAS = ("area", "gate_equivalents", "transistors", "lut4", "luts", "cells")
_NAMED = ("unit", "module", "parameters", "target")


def area_section(run: AreaRun) -> Section:
    """A table of all units with every number of them, and bars of their areas."""
    results = [result.model_dump() for result in run.results]
    keys = [
        key
        for key in dict.fromkeys(key for result in results for key in result)
        if key not in _NAMED and any(_cell(result.get(key)) for result in results)
    ]
    rows = [
        (
            *(result["unit"], result["target"]),
            *(_cell(result.get(key)) for key in keys),
            _parameters(result["parameters"]),
        )
        for result in results
    ]
    numbers = (f">{key.replace('_', ' ')}" for key in keys)
    columns = ("unit", "target", *numbers, "parameters")
    count = len(results)
    section = Section(
        f"Area of {results[0]['unit'] if count == 1 else f'{count} units'}",
        "synthesis",
        f"Synthesised for {run.target}.",
    )
    drawn = next((key for key in _AREAS if all(_is_number(r.get(key)) for r in results)), None)
    if drawn is not None and count > 1:
        section.blocks.append(_area_bars(results, drawn))
    section.blocks.append(Table(columns, rows))
    for result in results:
        for key, value in result.items():
            if key != "parameters" and isinstance(value, dict) and value:
                facts = [(str(name), _cell(each) or str(each)) for name, each in value.items()]
                title = f"{result['unit']}: {key.replace('_', ' ')}"
                section.blocks.append(Fold(title, [Facts(facts)]))
    return section


def olive_section(run: OliveRun) -> Section:
    """OliVe's claims beside ours, in both settings of the memory."""
    section = Section(
        "OliVe's evaluation, computed anew",
        "published figures",
        "How many times faster OliVe is than its rivals, and how many times less energy it takes.",
    )
    for what, title in (("speed", "times faster"), ("energy", "times less energy")):
        bars: dict[str, dict[str, float | None]] = {}
        for claim in run.claims:
            series = bars.setdefault(f"over {claim.rival} ({claim.platform})", {})
            series["published"] = getattr(claim, what)
            series[f"ours, {claim.memory} memory"] = getattr(claim, f"our_{what}")
        section.blocks.append(grouped(title.capitalize(), bars, axis=title, unit="x"))
    rows = [
        (
            *(claim.platform, claim.rival, claim.memory),
            *map(_times, (claim.speed, claim.our_speed, claim.energy, claim.our_energy)),
        )
        for claim in run.claims
    ]
    columns = (">speed, published", ">ours", ">energy, published", ">ours")
    section.blocks.append(Table(("platform", "rival", "memory", *columns), rows))
    return section


def rtnerf_section(run: RtnerfRun) -> Section:
    """Our renderers' mean frame."""
    section = Section(
        "RT-NeRF's evaluation", "published figures", "Mean frame of eight scenes on our renderers."
    )
    rows = [(one.name, one.title, digits(one.fps), digits(one.energy_mj)) for one in run.designs]
    section.blocks.append(Table(("design", "what it is", ">FPS", ">mJ a frame"), rows))
    factors: dict[str, dict[str, float | None]] = {}
    for idea in run.ideas:
        name, cycles, scene = idea.get("idea"), idea.get("cycles"), idea.get("scene")
        if isinstance(name, str) and _is_number(cycles):
            factors.setdefault(name, {})[str(scene)] = cycles
    if factors:
        section.blocks.append(
            grouped(
                "Cycles without each idea",
                factors,
                axis="times the cycles with all ideas",
                unit="x",
            )
        )
    return section


def _area_bars(results: list[dict[str, Any]], key: str) -> Block:
    bars: dict[str, dict[str, float | None]] = {}
    what = key.replace("_", " ")
    for result in results:
        name = f"{result['unit']} ({_parameters(result['parameters'])})"
        name = name.removesuffix(" ()")
        while name in bars:  # two targets, or the same unit twice
            name += " "
        bars[name] = {what: float(result[key])}
    largest = max(x or 0 for values in bars.values() for x in values.values())
    note = f"The largest has {si(largest)}."
    return grouped(what.capitalize(), bars, axis=what, note=note, logarithmic=True)


def _parameters(parameters: dict[str, Any]) -> str:
    return ", ".join(
        f"{key}={' '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in parameters.items()
    )


def _cell(value: Any) -> str:
    """A number, or yes or no; nothing for anything else."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return digits(value) if _is_number(value) else ""


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
