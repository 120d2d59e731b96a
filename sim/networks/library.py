"""Published networks by name."""

from difflib import get_close_matches

from oleaster.sim.networks.cnn import CNNS
from oleaster.sim.networks.layer import Network, NetworkError
from oleaster.sim.networks.transformer import Phase, transformers

__all__ = ["MAX_SIZE", "NETWORKS", "load_network"]

NETWORKS: tuple[str, ...] = (*transformers(), *CNNS)

MAX_SIZE = 1 << 20
"""The largest batch and sequence."""


def load_network(
    name: str,
    *,
    batch: int = 1,
    sequence: int | None = None,
    phase: Phase = "prefill",
    attention: bool = True,
) -> Network:
    """The GEMMs of one pass of a published network.

    Not in the list: softmax, norms, activation functions, embeddings (look-ups), pooling.

    Parameters
    ----------
    name: str
        One of `NETWORKS`.
    batch: int
        Sequences or images, 1 .. `MAX_SIZE`.
    sequence: int, optional
        Tokens of each sequence, 1 .. `MAX_SIZE`; by default those of transformers.toml. An
        encoder-decoder has as many on either side.
    phase: "prefill" | "decode"
        All tokens at once, or in a network that generates text one new token of each sequence,
        against K and V of `sequence` tokens. Its output head always reads one token of each
        sequence, the last.
    attention: bool
        Whether Q K^T and P V are in the list.

    Raises
    ------
    NetworkError
        No such network, a size out of range, a sequence where the network has none, or the phase
        "decode" of a network that generates no text.
    """
    if name not in NETWORKS:
        near = get_close_matches(name, NETWORKS, n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise NetworkError(f"there is no network {name!r}{hint} (known: {', '.join(NETWORKS)})")
    if phase not in ("prefill", "decode"):
        raise NetworkError(f"phase is {phase!r}; it must be 'prefill' or 'decode'")
    _check_size("batch", batch)
    transformer = transformers().get(name)
    if phase == "decode" and not (transformer and transformer.generates):
        raise NetworkError(f"{name} generates no text; its phase must be 'prefill'")
    if transformer is None:
        if sequence is not None:
            raise NetworkError(f"{name} takes images, no sequence; leave sequence out")
        return Network(name, f"batch {batch}", tuple(CNNS[name](batch)))

    if sequence is None:
        sequence = transformer.sequence
    _check_size("sequence", sequence)
    if transformer.patch and sequence != transformer.sequence:
        raise NetworkError(
            f"sequence is {sequence}; an image is always {transformer.sequence} tokens of {name}"
        )
    layers = tuple(
        layer
        for layer in transformer.layers(batch, sequence, phase)
        if attention or layer.kind != "attention"
    )
    products = "" if attention else ", without attention products"
    return Network(name, f"{phase}, batch {batch}, sequence {sequence}{products}", layers)


def _check_size(what: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
        raise NetworkError(f"{what} is {value!r}; it must be a whole number, 1 .. {MAX_SIZE}")
