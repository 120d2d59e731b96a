"""Networks from ONNX files: the GEMMs of a graph, by ONNX's own shape inference."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from oleaster.sim.networks.layer import Convolution, Kind, Layer, Network, NetworkError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

__all__ = ["read_onnx"]

# Operators that multiply matrices -> which inputs are A and B (of a convolution x and w).
_PRODUCTS = {"MatMul": (0, 1), "Gemm": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3)}
_CONVOLUTIONS = {"Conv": (0, 1), "ConvInteger": (0, 1), "QLinearConv": (0, 3)}

# They multiply matrices too, in ways that no one list of GEMMs says.
_UNREAD = ("Attention", "ConvTranspose", "DeformConv", "Einsum", "GRU", "LSTM", "RNN")

_LARGE = 1024  # elements; shapes never depend on the values of larger tensors

_Shapes = dict[str, list[int | None]]


def read_onnx(path: Path | str, dims: Mapping[str, int] | None = None) -> Network:
    """Read MatMul, Gemm and Conv, and their quantised kinds, in the order of the graph.

    Weights are what depends on no input of the graph; their values are not needed, so external
    data is not loaded. A product with weights is of kind "linear", M being all rows together. A
    product of two activations is of kind "attention", `count` times. Convolutions may have one or
    two dimensions; one with groups is `count` convolutions of fewer channels.

    Parameters
    ----------
    path: Path or str
        An ONNX file of any opset that the library knows.
    dims: mapping, optional
        Sizes of dynamic dimensions of the inputs, by their names in the file.

    Raises
    ------
    NetworkError
        The file cannot be read or is not ONNX; a dynamic dimension has no size, or `dims` one
        that is not there; a shape cannot be inferred; an operator multiplies matrices and cannot
        be read (`_UNREAD`, those of other domains, those in branches and loops); there is no
        GEMM at all; or the library `onnx` is not installed.
    """
    try:
        import onnx
        import onnx.inliner
        import onnx.shape_inference
    except ModuleNotFoundError as error:
        raise NetworkError(f"ONNX files need {error.name}: pip install 'oleaster[onnx]'") from error

    path = Path(path)
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except OSError as error:
        raise NetworkError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # protobuf's DecodeError, of a library that is not ours to import
        raise NetworkError(f"{path}: is not an ONNX file, or is cut short") from error
    if not model.graph.node:
        raise NetworkError(f"{path}: is not an ONNX file: it holds no graph")
    try:
        _forget_values(model.graph)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        _set_dims(model, dims or {})
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        layers = tuple(_layers(model.graph))
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise NetworkError(f"{path}: its shapes cannot be inferred: {first}") from error
    if not layers:
        raise NetworkError(f"{path}: has no MatMul, Gemm or Conv, so nothing for an array to do")
    inputs = (
        f"{value.name} {'x'.join(map(str, _shape(value))) or 'scalar'}"
        for value in _true_inputs(model.graph)
    )
    return Network(path.stem, ", ".join(inputs) or "no inputs", layers)


def _forget_values(graph: "GraphProto") -> None:
    """Drop the values of weights, which shapes do not need, so that inference is fast."""
    for tensor in graph.initializer:
        _forget(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _forget(attribute.t)


def _forget(tensor: "TensorProto") -> None:
    if math.prod(tensor.dims) > _LARGE:
        for name in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
            tensor.ClearField(name)


def _true_inputs(graph: "GraphProto") -> "list[ValueInfoProto]":
    """Old files name weights among the inputs too."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def _set_dims(model: "ModelProto", dims: Mapping[str, int]) -> None:
    """Give dynamic dimensions their sizes, everywhere."""
    graph, used = model.graph, set()
    for value in (*graph.input, *graph.value_info, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in dims:
                used.add(dim.dim_param)
                dim.dim_value = dims[dim.dim_param]
    for name, size in dims.items():
        if not isinstance(size, int) or not 1 <= size <= 1 << 20:
            raise NetworkError(f"{name} is {size!r}; it must be a whole number, 1 .. {1 << 20}")
    named = []
    for value in _true_inputs(graph):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value > 0:
                continue
            if dim.HasField("dim_value"):
                raise NetworkError(f"dimension {axis} of input {value.name!r} is {dim.dim_value}")
            if not dim.dim_param:
                raise NetworkError(
                    f"dimension {axis} of input {value.name!r} has neither size nor name; set it "
                    "with onnx.tools.update_model_dims"
                )
            named.append((value.name, dim.dim_param))
    if unknown := set(dims) - used:
        known = ", ".join(dict.fromkeys(name for _, name in named)) or "none"
        raise NetworkError(f"no dimension is named {min(unknown)!r} (dynamic: {known})")
    if named:
        sizes = " ".join(dict.fromkeys(f"{name}=1" for _, name in named))
        value_name, name = named[0]
        raise NetworkError(
            f"input {value_name!r} has the dynamic dimension {name!r}; say its size: {sizes}"
        )


def _shape(value: "ValueInfoProto") -> list[int | None]:
    return [
        dim.dim_value if dim.HasField("dim_value") else None
        for dim in value.type.tensor_type.shape.dim
    ]


def _layers(graph: "GraphProto") -> Iterator[Layer]:
    shapes: _Shapes = {
        value.name: _shape(value)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
    constants = {tensor.name for tensor in graph.initializer}
    constants.update(tensor.values.name for tensor in graph.sparse_initializer)
    shapes.update({tensor.name: list(tensor.dims) for tensor in graph.initializer})
    for node in graph.node:
        if constants.issuperset(filter(None, node.input)):
            constants.update(node.output)
            continue
        if not node.output:
            raise NetworkError(f"node {node.name!r} ({node.op_type}) has no output")
        what = f"node {node.name or node.output[0]!r}"
        if node.domain not in ("", "ai.onnx", "ai.onnx.ml"):
            raise NetworkError(
                f"{what} is {node.domain}.{node.op_type}, none of ONNX's own operators; export "
                "the model without a runtime's optimisations"
            )
        if node.op_type in _UNREAD:
            raise NetworkError(f"{what} is {node.op_type}, whose GEMMs cannot be read")
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _refuse_products(attribute.g, what)
        if node.op_type in (*_PRODUCTS, *_CONVOLUTIONS):
            _check_operands(node, what)
        if node.op_type in _PRODUCTS:
            yield _product(node, shapes, constants, what)
        elif node.op_type in _CONVOLUTIONS:
            yield _convolution(node, shapes, what)


def _check_operands(node: "NodeProto", what: str) -> None:
    needed = {**_PRODUCTS, **_CONVOLUTIONS}[node.op_type]
    if len(node.input) <= max(needed) or not all(node.input[index] for index in needed):
        given = sum(map(bool, node.input))
        raise NetworkError(f"{what} is {node.op_type} with {given} input(s); an operand is missing")


def _refuse_products(graph: "GraphProto", what: str) -> None:
    for node in graph.node:
        if node.op_type in (*_PRODUCTS, *_CONVOLUTIONS, *_UNREAD):
            raise NetworkError(f"{what} has a {node.op_type} in a branch or loop; unroll it")
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _refuse_products(attribute.g, what)


def _known_shape(name: str, shapes: _Shapes, what: str) -> list[int]:
    shape = shapes.get(name)
    sizes = [] if shape is None else [size for size in shape if size is not None]
    if shape is None or len(sizes) < len(shape):
        raise NetworkError(f"the shape of {name!r}, at {what}, cannot be inferred")
    if 0 in sizes:
        raise NetworkError(f"{name!r}, at {what}, is empty: its shape is {sizes}")
    return sizes


def _attributes(node: "NodeProto") -> dict[str, list[int]]:
    """Integers, one or more, by name."""
    return {x.name: list(x.ints) or [x.i] for x in node.attribute}


def _product(node: "NodeProto", shapes: _Shapes, constants: set[str], what: str) -> Layer:
    name = node.name or node.output[0]
    names = [node.input[index] for index in _PRODUCTS[node.op_type]]
    a, b = (_known_shape(name, shapes, what) for name in names)
    # As numpy's matmul: a vector is a row of A or a column of B.
    a, b = [1, *a] if len(a) == 1 else a, [*b, 1] if len(b) == 1 else b
    if node.op_type == "Gemm":
        attributes = _attributes(node)
        if attributes.get("transA") == [1]:
            a.reverse()
        if attributes.get("transB") == [1]:
            b.reverse()
    (*a_batch, m, k), (*b_batch, b_k, n) = a, b
    if k != b_k:
        raise NetworkError(f"{what} multiplies (.., {m}, {k}) by (.., {b_k}, {n})")
    rank = max(len(a_batch), len(b_batch))
    padded = ([1] * (rank - len(batch)) + batch for batch in (a_batch, b_batch))
    products = math.prod(max(sizes) for sizes in zip(*padded, strict=True))
    if names[0] in constants:  # weights on the left: the same GEMM, transposed
        m, n, b_batch = n, m, a_batch
    # Where one B serves several products, they are rows of one GEMM.
    count = math.prod(b_batch)
    kind: Kind = "attention" if constants.isdisjoint(names) else "linear"
    return Layer(name, kind, m * (products // count), k, n, count)


def _convolution(node: "NodeProto", shapes: _Shapes, what: str) -> Layer:
    _, w_index = _CONVOLUTIONS[node.op_type]
    channels, in_channels, *kernel = _known_shape(node.input[w_index], shapes, what)
    batch, _, *out = _known_shape(node.output[0], shapes, what)
    attributes = _attributes(node)
    (groups,) = attributes.get("group", [1])
    strides = attributes.get("strides", [1])
    if groups < 1 or channels % groups:
        raise NetworkError(
            f"{what} has group {groups}; it must be at least 1 and divide its {channels} channels"
        )
    if len(kernel) not in (1, 2):
        raise NetworkError(f"{what} is a convolution over {len(kernel)} dimensions, not 1 or 2")
    if len(set(strides)) > 1:
        raise NetworkError(f"{what} has the strides {strides}; they must be equal")
    out_height, out_width = [1, *out][-2:]
    height, width = [1, *kernel][-2:]
    shape = Convolution(
        batch, out_height, out_width, in_channels, channels // groups, height, width, strides[0]
    )
    return Layer(
        node.name or node.output[0],
        "convolution",
        batch * out_height * out_width,
        height * width * in_channels,
        channels // groups,
        groups,
        shape,
    )
