"""Networks from ONNX files: what is read, and how bad files are answered."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from oleaster.sim.networks import Layer, NetworkError, load_network, read_onnx

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
"""Graphs of real networks without weights, which the library brings along for its own tests."""


def tensor(name: str, shape: list[int | str | None]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def weights(name: str, *shape: int) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name)


def save(
    folder: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    initializers: list[onnx.TensorProto],
    output: onnx.ValueInfoProto | None = None,
    **options: Any,
) -> Path:
    """A model whose only output is that of the last node."""
    output = output or helper.make_empty_tensor_value_info(nodes[-1].output[0])
    graph = helper.make_graph(nodes, "graph", inputs, [output], initializers)
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, **options), path)
    return path


def one_product(
    folder: Path, a: list, b: list, op: str = "MatMul", constant: str = "", **attributes: int
) -> Layer:
    """The layer of a graph with one product, `constant` being "a", "b" or neither."""
    inputs = [tensor(x, shape) for x, shape in (("a", a), ("b", b)) if x != constant]
    initializers = [weights(x, *shape) for x, shape in (("a", a), ("b", b)) if x == constant]
    node = helper.make_node(op, ["a", "b"], ["c"], "product", **attributes)
    (layer,) = read_onnx(save(folder, [node], inputs, initializers)).layers
    return layer


@pytest.mark.parametrize(
    ("a", "b", "constant", "expected"),
    [
        ([2, 3], [3, 4], "b", ("linear", 2, 3, 4, 1)),
        ([5, 7, 2, 3], [3, 4], "b", ("linear", 70, 3, 4, 1)),
        ([3], [3, 4], "b", ("linear", 1, 3, 4, 1)),
        ([2, 3], [3], "b", ("linear", 2, 3, 1, 1)),
        ([2, 3], [7, 3, 4], "a", ("linear", 28, 3, 2, 1)),  # W X: transposed
        ([6, 2, 3], [6, 3, 4], "b", ("linear", 2, 3, 4, 6)),  # weights of six experts
        ([5, 6, 2, 3], [6, 3, 4], "b", ("linear", 10, 3, 4, 6)),
        ([5, 6, 2, 3], [5, 6, 3, 4], "", ("attention", 2, 3, 4, 30)),
        ([5, 6, 2, 3], [5, 1, 3, 4], "", ("attention", 12, 3, 4, 5)),  # K shared by six heads
        ([2, 3], [6, 3, 4], "", ("attention", 2, 3, 4, 6)),
        ([2, 3], [3, 4], "", ("attention", 2, 3, 4, 1)),
    ],
)
def test_products(
    tmp_path: Path, a: list, b: list, constant: str, expected: tuple[str, int, int, int, int]
) -> None:
    layer = one_product(tmp_path, a, b, constant=constant)
    assert (layer.kind, layer.m, layer.k, layer.n, layer.count) == expected
    result = np.matmul(np.zeros(a), np.zeros(b))
    assert layer.macs == result.size * a[-1]


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_gemm(tmp_path: Path, trans_a: int, trans_b: int) -> None:
    a, b = [3, 2] if trans_a else [2, 3], [4, 3] if trans_b else [3, 4]
    layer = one_product(tmp_path, a, b, "Gemm", "b", transA=trans_a, transB=trans_b)
    assert layer == Layer("product", "linear", 2, 3, 4)
    layer = one_product(tmp_path, a, b, "Gemm", "a", transA=trans_a, transB=trans_b)
    assert layer == Layer("product", "linear", 4, 3, 2)


@pytest.mark.parametrize(
    ("x", "w", "attributes", "expected"),
    [
        ([2, 3, 32, 20], [8, 3, 5, 3], {"strides": [2, 2]}, (2 * 14 * 9, 45, 8, 1, 14, 9, 2)),
        ([1, 6, 9, 9], [6, 1, 3, 3], {"group": 6, "pads": [1] * 4}, (81, 9, 1, 6, 9, 9, 1)),
        ([1, 6, 9, 9], [4, 3, 1, 1], {"group": 2}, (81, 3, 2, 2, 9, 9, 1)),
        ([2, 4, 50], [8, 4, 3], {"strides": [2]}, (2 * 24, 12, 8, 1, 1, 24, 2)),
        ([1, 3, 9, 9], [8, 3, 3, 3], {"dilations": [2, 2]}, (25, 27, 8, 1, 5, 5, 1)),
        ([1, 3, 9, 9], [8, 3, 2, 2], {"auto_pad": "SAME_UPPER"}, (81, 12, 8, 1, 9, 9, 1)),
    ],
)
def test_convolutions(
    tmp_path: Path, x: list, w: list, attributes: dict, expected: tuple[int, ...]
) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", **attributes)
    (layer,) = read_onnx(save(tmp_path, [node], [tensor("x", x)], [weights("w", *w)])).layers
    shape = layer.convolution
    assert shape is not None
    assert layer.kind == "convolution"
    assert expected == (
        *(layer.m, layer.k, layer.n, layer.count),
        *(shape.out_height, shape.out_width, shape.stride),
    )
    assert (shape.batch, shape.out_channels, shape.in_channels) == (x[0], layer.n, w[1])
    assert shape.kernel_height * shape.kernel_width * shape.in_channels == layer.k


@pytest.mark.parametrize(
    ("name", "layers", "giga_macs"),
    [
        ("resnet50", 54, 4.09),
        ("vgg19", 19, 19.63),
        ("densenet121", 121, 2.83),
        ("inception_v1", 58, 1.43),
        ("squeezenet", 26, 0.349),
        ("bvlc_alexnet", 8, 0.655),  # convolutions in two groups
        ("shufflenet", 50, 0.125),  # depthwise
    ],
)
def test_real_graphs(name: str, layers: int, giga_macs: float) -> None:
    network = read_onnx(LIGHT / f"light_{name}.onnx")
    assert len(network.layers) == layers
    assert network.macs / 1e9 == pytest.approx(giga_macs, rel=0.005)


def test_real_resnet_is_ours() -> None:
    """But for the stride of a block, which lies on its first convolution there."""
    theirs = read_onnx(LIGHT / "light_resnet50.onnx")
    assert theirs.description == "gpu_0/data_0 1x3x224x224"
    ours = load_network("resnet-50")
    assert Counter((x.k, x.n) for x in theirs.layers) == Counter((x.k, x.n) for x in ours.layers)
    assert theirs.macs == ours.macs


def attention_block(batch: int | str, tokens: int | str) -> tuple:
    """Q K^T as exporters write it: shapes computed in the graph, weights behind nodes."""
    nodes = [
        helper.make_node("Identity", ["w0"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["q"], "query"),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "two"], ["leading"]),
        helper.make_node("Concat", ["leading", "heads"], ["split"], axis=0),
        helper.make_node("Reshape", ["q", "split"], ["by_head"]),
        helper.make_node("Transpose", ["by_head"], ["rows"], perm=[0, 2, 1, 3]),
        helper.make_node("Transpose", ["by_head"], ["columns"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["rows", "columns"], ["scores"], "scores"),
    ]
    integers = {"zero": [0], "two": [2], "heads": [4, 16]}
    initializers = [
        weights("w0", 64, 64),
        *(
            onnx.numpy_helper.from_array(np.array(values, np.int64), name)
            for name, values in integers.items()
        ),
    ]
    return nodes, [tensor("x", [batch, tokens, 64])], initializers


ATTENTION = (
    Layer("query", "linear", 30, 64, 64),
    Layer("scores", "attention", 10, 16, 10, 12),
)


def test_shapes_that_the_graph_computes(tmp_path: Path) -> None:
    assert read_onnx(save(tmp_path, *attention_block(3, 10))).layers == ATTENTION


def test_dynamic_dimensions(tmp_path: Path) -> None:
    path = save(tmp_path, *attention_block("batch", "tokens"))
    network = read_onnx(path, {"batch": 3, "tokens": 10})
    assert network.layers == ATTENTION
    assert network.description == "x 3x10x64"
    with pytest.raises(
        NetworkError,
        match="input 'x' has the dynamic dimension 'batch'; say its size: batch=1 tokens=1",
    ):
        read_onnx(path)
    with pytest.raises(NetworkError, match="dimension 'tokens'; say its size: tokens=1"):
        read_onnx(path, {"batch": 3})
    with pytest.raises(NetworkError, match=r"is named 'sequence' \(dynamic: tokens\)"):
        read_onnx(path, {"batch": 3, "sequence": 10})
    with pytest.raises(NetworkError, match="batch is 0; it must be a whole number"):
        read_onnx(path, {"batch": 0, "tokens": 10})


def test_shapes_that_only_the_file_knows(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Transpose", ["places"], ["rows"], perm=[1, 0]),
        helper.make_node("Cast", ["rows"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["f", "w"], ["y"], "m"),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [tensor("x", ["batch", 5])],
        [tensor("y", ["batch", 4])],
        [weights("w", 2, 4)],
        value_info=[tensor("f", ["batch", 2])],
    )
    onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
    layers = read_onnx(tmp_path / "net.onnx", {"batch": 3}).layers
    assert layers == (Layer("m", "linear", 3, 2, 4),)


def test_weights_in_another_file_are_not_needed(tmp_path: Path) -> None:
    path = save(tmp_path, *attention_block(3, 10))
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=4096)
    (tmp_path / "weights").unlink()
    assert read_onnx(path).layers == ATTENTION


def test_functions_are_read_through(tmp_path: Path) -> None:
    body = [helper.make_node("MatMul", ["a", "b"], ["c"], "inside")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    function = helper.make_function("mine", "Linear", ["a", "b"], ["c"], body, opsets[:1])
    call = helper.make_node("Linear", ["x", "w"], ["y"], domain="mine")
    path = save(
        tmp_path,
        [call],
        [tensor("x", [2, 3])],
        [weights("w", 3, 4)],
        functions=[function],
        opset_imports=opsets,
    )
    (layer,) = read_onnx(path).layers
    assert (layer.kind, layer.m, layer.k, layer.n) == ("linear", 2, 3, 4)


def test_quantised_operators(tmp_path: Path) -> None:
    def integers(name: str, *shape: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(np.zeros(shape, np.uint8), name)

    scales = [onnx.numpy_helper.from_array(np.float32(1), "s"), integers("z")]
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 3, 8, 8])
    nodes = [
        helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"], "conv"),
        helper.make_node("QLinearMatMul", ["y", "s", "z", "v", "s", "z", "s", "z"], ["q"], "mul"),
        helper.make_node("MatMulInteger", ["q", "u"], ["r"], "integers"),
    ]
    initializers = [integers("w", 5, 3, 3, 3), integers("v", 6, 7), integers("u", 7, 9), *scales]
    layers = read_onnx(save(tmp_path, nodes, [x], initializers)).layers
    assert [(x.kind, x.m, x.k, x.n, x.count) for x in layers] == [
        ("convolution", 36, 27, 5, 1),
        ("linear", 30, 6, 7, 1),
        ("linear", 30, 7, 9, 1),
    ]


def test_products_of_weights_alone_are_no_layers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["u", "v"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"], "y"),
    ]
    initializers = [weights("u", 3, 5), weights("v", 5, 4)]
    layers = read_onnx(save(tmp_path, nodes, [tensor("x", [2, 3])], initializers)).layers
    assert layers == (Layer("y", "linear", 2, 3, 4),)


def bad_graph(case: str) -> tuple:
    x, make = [tensor("x", [1, 3, 8, 8])], helper.make_node
    match case:
        case "nothing":
            return [make("Relu", ["x"], ["y"])], x, []
        case "unnamed":
            return [make("Relu", ["x"], ["y"])], [tensor("x", [1, None])], []
        case "negative":
            return [make("Relu", ["x"], ["y"])], [tensor("x", [1, -1])], []
        case "empty":
            nodes = [make("MatMul", ["x", "w"], ["y"], "m")]
            return nodes, [tensor("x", [4, 0, 3])], [weights("w", 3, 4)]
        case "foreign":
            return [make("FusedGemm", ["x"], ["y"], "f", domain="com.microsoft")], x, []
        case "transpose":
            return [make("ConvTranspose", ["x", "w"], ["y"], "up")], x, [weights("w", 3, 4, 2, 2)]
        case "loop":
            inner = helper.make_graph(
                [make("MatMul", ["x", "x"], ["z"])], "then", [], [tensor("z", [1, 3, 8, 8])]
            )
            condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
            node = make("If", ["c"], ["y"], "choice", then_branch=inner, else_branch=inner)
            return [node], [*x, condition], []
        case "strides":
            node = make("Conv", ["x", "w"], ["y"], "c", strides=[2, 1])
            return [node], x, [weights("w", 4, 3, 3, 3)]
        case "volume":
            node = make("Conv", ["x", "w"], ["y"], "c")
            return [node], [tensor("x", [1, 3, 8, 8, 8])], [weights("w", 4, 3, 3, 3, 3)]
        case "data":
            nodes = [make("NonZero", ["x"], ["i"]), make("Cast", ["i"], ["f"], to=1)]
            return [*nodes, make("MatMul", ["f", "w"], ["y"], "m")], x, [weights("w", 5, 4)]
        case "alone" | "blank":
            inputs = ["x"] if case == "alone" else ["", "x"]
            return [make("MatMul", inputs, ["y"], "m")], x, []
        case "groups":
            x = [tensor("x", [1, 4, 5, 5])]
            node = make("Conv", ["x", "w"], ["y"], "c", group=0, kernel_shape=[3, 3])
            return [node], x, [weights("w", 6, 4, 3, 3)]
        case _:
            node = make("MatMul", ["x", "w"], ["y"], "m")
            return [node], x, [weights("w", 9, 4)]


def test_graph_of_an_unknown_domain(tmp_path: Path) -> None:
    path = save(tmp_path, *bad_graph("foreign"), opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(NetworkError, match=r"its shapes cannot be inferred: .*com\.microsoft"):
        read_onnx(path)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("nothing", "net.onnx: has no MatMul, Gemm or Conv"),
        ("unnamed", "dimension 1 of input 'x' has neither size nor name; set it with onnx.tools"),
        ("negative", "dimension 1 of input 'x' is -1"),
        ("empty", "dimension 1 of input 'x' is 0"),
        ("foreign", "node 'f' is com.microsoft.FusedGemm, none of ONNX's own operators"),
        ("transpose", "node 'up' is ConvTranspose, whose GEMMs cannot be read"),
        ("loop", "node 'choice' has a MatMul in a branch or loop; unroll it"),
        ("strides", r"node 'c' has the strides \[2, 1\]; they must be equal"),
        ("volume", "node 'c' is a convolution over 3 dimensions, not 1 or 2"),
        ("data", "the shape of 'f', at node 'm', cannot be inferred"),
        ("alone", r"node 'm' is MatMul with 1 input\(s\); an operand is missing"),
        ("blank", r"node 'm' is MatMul with 1 input\(s\); an operand is missing"),
        ("groups", "node 'c' has group 0; it must be at least 1 and divide its 6 channels"),
        ("mismatch", "net.onnx: "),
    ],
)
def test_bad_graphs(tmp_path: Path, case: str, message: str) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    path = save(tmp_path, *bad_graph(case), opset_imports=opsets)
    with pytest.raises(NetworkError, match=message):
        read_onnx(path)


def test_a_node_without_output(tmp_path: Path) -> None:
    nodes, inputs, initializers = attention_block(3, 10)
    nodes.insert(0, helper.make_node("Print", ["x"], [], domain="mine"))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    path = save(tmp_path, nodes, inputs, initializers, opset_imports=opsets)
    with pytest.raises(NetworkError, match=r"node '' \(Print\) has no output"):
        read_onnx(path)


def write(folder: Path, content: bytes) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an ONNX file: it holds no graph"),
        (b"Layer, M, N, K\na, 1, 2, 3\n", "is not an ONNX file"),
        (bytes(range(256)), "is not an ONNX file, or is cut short"),
    ],
)
def test_files_that_are_not_onnx(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        read_onnx(write(tmp_path, content))


def test_onnx_cut_anywhere(tmp_path: Path) -> None:
    whole = save(tmp_path, *attention_block(3, 10)).read_bytes()
    for length in [*range(0, len(whole), 97), *range(len(whole) - 20, len(whole))]:
        with pytest.raises(NetworkError):
            read_onnx(write(tmp_path, whole[:length]))


def test_onnx_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"absent\.onnx: cannot be read: No such file"):
        read_onnx(tmp_path / "absent.onnx")


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(NetworkError, match=r"ONNX files need onnx: pip install 'oleaster\[onnx\]'"):
        read_onnx(tmp_path / "net.onnx")
