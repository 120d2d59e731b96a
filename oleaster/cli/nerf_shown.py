"""What `oleaster nerf render` prints without --json."""

from __future__ import annotations

from typing import Any

__all__ = ["FIXED_LOSS_DB", "shown"]

FIXED_LOSS_DB = 0.3
"""That fixed point may lose of a held-out view."""


def shown(result: dict[str, Any]) -> dict[str, object]:
    """Names and values of what JSON would have."""
    counts = result["counters"]
    how = result["pipeline"]
    if result["order"]:
        how += f", {result['order']} order" + (", balls" if result["ball"] else "")
    facts: dict[str, object] = {
        "image": f"{result['scene']}, {result['width']} x {result['height']} pixels",
        "pipeline": how + ("" if result["terminate"] else ", no early termination"),
    }
    if result["mlp"]:
        facts["arithmetic"] = f"fixed point, network in {result['mlp']}"
    if result["psnr_db"] is not None:
        facts["held-out view"] = f"{result['view']}: {result['psnr_db']:.2f} dB"
    if result["order"]:
        facts["cubes"] = (
            f"{counts['cubes']:,} not zero, {counts['pixel_tests']:,} tests of pixels,"
            f" {counts['points']:,} samples found, {counts['outside']:,} of them outside"
        )
    else:
        facts["candidates"] = (
            f"{counts['candidates']:,} in the box, of {counts['lattice']:,} on all rays"
        )
    facts["samples"] = (
        f"{counts['kept']:,} kept, {counts['skipped']:,} skipped by early termination,"
        f" {counts['colored']:,} coloured"
    )
    read = f"{counts['dense_bytes'] / 1e6:,.1f} MB if dense, in fp16"
    if result["encoded_bytes"] is not None:
        read += f"; {result['encoded_bytes'] / 1e6:,.1f} MB as encoded"
    facts["embeddings read"] = read
    hardware = result["hardware"]
    if hardware:
        facts["renderer"] = (
            f"{hardware['cycles']:,} cycles for {hardware['tiles']:,}"
            f" tile{'s' if hardware['tiles'] > 1 else ''}, engine"
            f" {result['engine']}; {hardware['scene_bytes'] / 1e3:,.0f} kB of scene"
        )
        wrong = hardware["wrong_pixels"]
        facts["against the reference"] = (
            f"{wrong:,} PIXELS DIFFER" if wrong else "equal in every pixel"
        )
    facts["time"] = f"{result['seconds']:.2f} s"
    check = result["check"]
    if check:
        decibel = check["psnr_db"]
        facts["uniform sampler"] = (
            f"{check['candidates']:,} tests of the mask, {check['candidate_factor']:,.0f} times"
            f" ours; {check['kept']:,} samples kept; {check['seconds']:.2f} s"
        )
        facts["difference"] = f"{check['largest_difference']:.2g} at most, {decibel:.1f} dB"
        if check["loss_db"] is not None:
            facts["loss"] = (
                f"{check['loss_db']:.3f} dB of the held-out view ({FIXED_LOSS_DB} allowed);"
                f" {check['chain_loss_db']:.3f} against the field before pruning"
            )
        facts["check"] = "holds" if check["holds"] else "DOES NOT HOLD"
    for name in ("output", "video"):
        if result[name]:
            facts[name] = result[name]
    return facts
