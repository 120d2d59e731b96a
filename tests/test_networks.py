"""Networks by name: against published parameter counts, MAC counts and real checkpoints."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oleaster.models.encoder import load_encoder
from oleaster.models.llama import load_decoder
from oleaster.sim.networks import NETWORKS, Layer, Network, NetworkError, load_network
from oleaster.sim.networks.library import MAX_SIZE
from oleaster.sim.networks.transformer import transformers

TRANSFORMERS = tuple(transformers())
CNNS = tuple(name for name in NETWORKS if name not in TRANSFORMERS)
DECODERS = tuple(name for name, network in transformers().items() if network.vocabulary)

# Parameters of the published checkpoints, whose heads for GLUE are none of theirs.
CHECKPOINTS = {
    "bert-base": 109_482_240,
    "bert-large": 335_141_888,
    "bart-base": 139_420_416,
    "gpt2-xl": 1_557_611_200,
    "bloom-7b1": 7_069_016_064,
    "opt-6.7b": 6_658_473_984,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "vit-b-16": 86_567_656,
    "minilm": 22_713_216,
    "smollm2": 134_515_008,
    "resnet-18": 11_689_512,
    "resnet-50": 25_557_032,
    "vgg-16": 138_357_544,
    "inception-v3": 23_834_568,  # without the auxiliary classifier
}
HEADS_NOT_COUNTED = {
    "bert-base": {"classifier"},
    "bert-large": {"classifier"},
    "bart-base": {"pooler", "classifier"},
}


def parameters_beside_weights(name: str, layers: list[Layer]) -> int:
    """Biases, norms and embeddings: what no GEMM reads."""
    outputs = sum(layer.n for layer in layers)
    if name in CNNS:
        # VGG has biases; the others have two parameters of a batch norm for each channel.
        return outputs if name == "vgg-16" else 2 * outputs - layers[-1].n
    shape = transformers()[name]
    hidden, depth = shape.hidden, shape.encoder_layers + shape.decoder_layers
    if name.startswith("llama"):  # the output head is not tied to the embedding
        return hidden * (2 * depth + 1) + hidden * shape.vocabulary
    biases = outputs - shape.vocabulary
    return {
        "bert-base": biases + 2 * hidden * (2 * depth + 1) + (30522 + 512 + 2) * hidden,
        "bert-large": biases + 2 * hidden * (2 * depth + 1) + (30522 + 512 + 2) * hidden,
        # A decoder layer has a third norm; two positions are not used.
        "bart-base": biases + 2 * hidden * (2 * 6 + 3 * 6 + 2) + (50265 + 2 * 1026) * hidden,
        "gpt2-xl": biases + 2 * hidden * (2 * depth + 1) + 1024 * hidden,
        "bloom-7b1": biases + 2 * hidden * (2 * depth + 2),  # ALiBi: no positions
        "opt-6.7b": biases + 2 * hidden * (2 * depth + 1) + 2050 * hidden,
        "vit-b-16": biases + 2 * hidden * (2 * depth + 1) + (197 + 1) * hidden,
        # The checkpoint has a pooler, which sentence embeddings do not use.
        "minilm": biases
        + 2 * hidden * (2 * depth + 1)
        + (30522 + 512 + 2) * hidden
        + (hidden + 1) * hidden,
        "smollm2": hidden * (2 * depth + 1),
    }[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_add_up_to_the_published_checkpoint(name: str) -> None:
    layers = [
        layer
        for layer in load_network(name, attention=False).layers
        if layer.name not in HEADS_NOT_COUNTED.get(name, set())
    ]
    weights = sum(layer.k * layer.n for layer in layers)
    assert weights + parameters_beside_weights(name, layers) == CHECKPOINTS[name]


@pytest.mark.parametrize(
    ("name", "layers", "mega_macs"),
    [
        ("bert-base", 74, 10_872.2),
        ("vit-b-16", 49, 16_732.9),
        ("vgg-16", 16, 15_470),
        ("resnet-18", 21, 1_814),
        ("resnet-50", 54, 4_089),
        ("inception-v3", 95, 5_713),
    ],
)
def test_macs_are_those_of_the_authors_lists(name: str, layers: int, mega_macs: float) -> None:
    """ant_simulator's workloads, which leave out ViT's patch embedding."""
    network = load_network(name, attention=False)
    counted = [layer for layer in network.layers if layer.name != "patch_embedding"]
    assert len(counted) == layers
    assert sum(layer.macs for layer in counted) == pytest.approx(mega_macs * 1e6, rel=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_sound(name: str) -> None:
    network = load_network(name, batch=3)
    assert network.name == name
    assert network.macs == 3 * load_network(name).macs
    names = [layer.name for layer in network.layers]
    assert len(set(names)) == len(names)
    for layer in network.layers:
        assert min(layer.m, layer.k, layer.n, layer.count) >= 1
        assert (layer.convolution is not None) == (layer.kind == "convolution")
        assert layer.count == 1 or layer.kind == "attention"
        if shape := layer.convolution:
            assert shape.batch == 3
            assert layer.m == 3 * shape.out_height * shape.out_width
            assert layer.k == shape.kernel_height * shape.kernel_width * shape.in_channels
            assert layer.n == shape.out_channels


def test_the_table_of_the_documentation() -> None:
    text = (Path(__file__).parents[1] / "docs/networks.md").read_text(encoding="utf-8")
    table = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:3] == "| `"]
    assert [name.strip("`") for name, *_ in table] == list(NETWORKS)
    for name, _, *figures in table:
        network = load_network(name.strip("`"))
        attention = sum(layer.macs for layer in network.layers if layer.kind == "attention")
        weights = sum(x.k * x.n for x in network.layers if x.kind != "attention")
        tokens = network.description.rpartition("sequence ")[2]
        assert figures == [
            tokens if name.strip("`") in TRANSFORMERS else "",
            str(sum(layer.count for layer in network.layers)),
            f"{network.macs / 1e6:.0f}",
            f"{100 * attention / network.macs:.1f}",
            f"{weights / 1e6:.1f}",
        ]


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_without_attention_the_linear_layers_stay(name: str) -> None:
    whole, linear = load_network(name), load_network(name, attention=False)
    assert linear.layers == tuple(x for x in whole.layers if x.kind != "attention")
    assert len(linear.layers) < len(whole.layers)
    assert linear.description == whole.description + ", without attention products"


def shapes(network: Network, prefix: str) -> dict[str, tuple[str, int, int, int, int]]:
    return {
        layer.name.removeprefix(prefix): (layer.kind, layer.m, layer.k, layer.n, layer.count)
        for layer in network.layers
        if layer.name.startswith(prefix)
    }


def test_encoder_layer() -> None:
    network = load_network("bert-base", batch=16, sequence=128)
    assert network.description == "prefill, batch 16, sequence 128"
    assert shapes(network, "layer.11.") == {
        "attention.query": ("linear", 2048, 768, 768, 1),
        "attention.key": ("linear", 2048, 768, 768, 1),
        "attention.value": ("linear", 2048, 768, 768, 1),
        "attention.scores": ("attention", 128, 64, 128, 192),
        "attention.context": ("attention", 128, 128, 64, 192),
        "attention.output": ("linear", 2048, 768, 768, 1),
        "ffn.up": ("linear", 2048, 768, 3072, 1),
        "ffn.down": ("linear", 2048, 3072, 768, 1),
    }
    assert [(x.name, x.m, x.k, x.n) for x in network.layers[-2:]] == [
        ("pooler", 16, 768, 768),
        ("classifier", 16, 768, 2),
    ]


def test_decoder_layer_with_shared_heads() -> None:
    """70B: 64 query heads share 8 heads of K and V, so 8 of them are rows of one product."""
    network = load_network("llama-2-70b", batch=2, sequence=100, phase="prefill")
    assert shapes(network, "layer.79.") == {
        "attention.query": ("linear", 200, 8192, 8192, 1),
        "attention.key": ("linear", 200, 8192, 1024, 1),
        "attention.value": ("linear", 200, 8192, 1024, 1),
        "attention.scores": ("attention", 800, 128, 100, 16),
        "attention.context": ("attention", 800, 100, 128, 16),
        "attention.output": ("linear", 200, 8192, 8192, 1),
        "ffn.gate": ("linear", 200, 8192, 28672, 1),
        "ffn.up": ("linear", 200, 8192, 28672, 1),
        "ffn.down": ("linear", 200, 28672, 8192, 1),
    }
    # The head reads the last token only.
    assert shapes(network, "lm_head") == {"": ("linear", 2, 8192, 32000, 1)}


def test_decode_has_one_token_of_each_sequence() -> None:
    network = load_network("llama-2-70b", batch=2, sequence=100, phase="decode")
    assert network.description == "decode, batch 2, sequence 100"
    layer = shapes(network, "layer.0.")
    assert layer["attention.scores"] == ("attention", 8, 128, 100, 16)
    assert layer["attention.context"] == ("attention", 8, 100, 128, 16)
    assert all(m == 2 for kind, m, *_ in layer.values() if kind == "linear")
    fused = shapes(load_network("bloom-7b1", batch=2, sequence=100, phase="decode"), "layer.0.")
    assert fused["attention.qkv"] == ("linear", 2, 4096, 3 * 4096, 1)
    assert fused["attention.scores"] == ("attention", 1, 128, 100, 64)


def test_encoder_and_decoder() -> None:
    network = load_network("bart-base", batch=2, sequence=10)
    encoder, decoder = shapes(network, "encoder.5."), shapes(network, "decoder.5.")
    assert not any(name.startswith("cross_attention") for name in encoder)
    assert {name.split(".")[0] for name in decoder} == {"attention", "cross_attention", "ffn"}
    assert decoder["cross_attention.key"] == ("linear", 20, 768, 768, 1)
    assert decoder["cross_attention.scores"] == ("attention", 10, 64, 10, 24)


def test_images() -> None:
    vit = load_network("vit-b-16", batch=2, sequence=197)
    embedding = vit.layers[0].convolution
    assert embedding is not None
    assert (embedding.out_height, embedding.kernel_height, embedding.stride) == (14, 16, 16)
    assert (vit.layers[0].m, vit.layers[0].k, vit.layers[0].n) == (2 * 196, 768, 768)
    assert (vit.layers[1].name, vit.layers[1].m, vit.layers[1].n) == (
        "layer.0.attention.qkv",
        2 * 197,
        2304,
    )
    resnet = {layer.name: layer for layer in load_network("resnet-50").layers}
    middle = resnet["layer2.0.conv2"].convolution
    assert middle is not None
    assert (middle.kernel_height, middle.stride, middle.out_height) == (3, 2, 28)  # "v1.5"
    names = list(resnet)
    assert names[names.index("layer2.0.downsample.0") - 1] == "layer2.0.conv3"


@given(name=st.sampled_from(DECODERS), batch=st.integers(1, 64), sequence=st.integers(1, 300))
def test_decoding_token_by_token_does_the_work_of_prefill(
    name: str, batch: int, sequence: int
) -> None:
    """Linear layers do the same work but for the head; products that of the unmasked half."""
    prefill = load_network(name, batch=batch, sequence=sequence)
    steps = [
        load_network(name, batch=batch, sequence=length, phase="decode")
        for length in ({1, sequence} if sequence > 4 else range(1, sequence + 1))
    ]
    for layers in zip(prefill.layers, *(step.layers for step in steps), strict=True):
        whole, *parts = layers
        assert len({layer.name for layer in layers}) == 1
        if whole.name == "lm_head":
            assert all(part == whole for part in parts)
        elif whole.kind == "linear":
            assert all(part.macs * sequence == whole.macs for part in parts)
        else:
            # Lengths are 1 .. sequence, or its two ends: their mean is (1 + sequence) / 2.
            mean = sum(part.macs for part in parts) / len(parts)
            assert mean * sequence * 2 == pytest.approx(whole.macs * (1 + 1 / sequence))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bert-bse", {}, "no network 'bert-bse'; did you mean 'bert-base'"),
        ("qqq", {}, r"no network 'qqq' \(known: bert-base, "),
        ("bert-base", {"batch": 0}, "batch is 0; it must be a whole number, 1 .. 1048576"),
        ("bert-base", {"batch": MAX_SIZE + 1}, "batch is 1048577;"),
        ("bert-base", {"batch": 1.5}, "batch is 1.5;"),
        ("bert-base", {"sequence": -1}, "sequence is -1; it must be a whole number"),
        ("opt-6.7b", {"sequence": MAX_SIZE + 1}, "sequence is 1048577;"),
        ("vit-b-16", {"sequence": 196}, "sequence is 196; an image is always 197 tokens"),
        ("vgg-16", {"sequence": 197}, "vgg-16 takes images, no sequence"),
        ("opt-6.7b", {"phase": "training"}, "phase is 'training'; it must be 'prefill' or"),
        ("bert-base", {"phase": "decode"}, "bert-base generates no text; its phase must be"),
        ("vit-b-16", {"phase": "decode"}, "vit-b-16 generates no text"),
        ("resnet-18", {"phase": "decode"}, "resnet-18 generates no text"),
    ],
)
def test_bad_requests(name: str, options: dict, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        load_network(name, **options)


def linear_shapes(name: str) -> list[tuple[int, int]]:
    """(N, K) of the linear layers within the blocks."""
    layers = load_network(name, attention=False).layers
    return [(layer.n, layer.k) for layer in layers if layer.name.startswith("layer.")]


@pytest.mark.model
def test_minilm_is_the_real_one(cached: Callable[[str], Path]) -> None:
    encoder = load_encoder(cached("minilm"))
    assert linear_shapes("minilm") == [w.shape for w, _ in encoder.linears.values()]
    assert transformers()["minilm"].heads == encoder.config.num_attention_heads


@pytest.mark.model
def test_smollm2_is_the_real_one(cached: Callable[[str], Path]) -> None:
    decoder = load_decoder(cached("smollm2"))
    assert linear_shapes("smollm2") == [w.shape for w, _ in decoder.linears.values()]
    smollm2 = transformers()["smollm2"]
    assert (smollm2.heads, smollm2.kv_heads) == (
        decoder.config.num_heads,
        decoder.config.num_kv_heads,
    )


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 4, 4, 1), "a: M is 0; it must be at least 1"),
        ((4, -3, 4, 1), "a: K is -3"),
        ((4, 4, 0, 1), "a: N is 0"),
        ((4, 4, 4, 0), "a: count is 0"),
    ],
)
def test_layers_by_hand_have_sizes(sizes: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        Layer("a", "linear", *sizes)


def test_a_network_has_layers() -> None:
    with pytest.raises(NetworkError, match="mine: has no layers"):
        Network("mine", "by hand", ())
