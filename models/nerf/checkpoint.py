"""TensoRF's own checkpoints (.th), read without PyTorch and without running what they hold.

A checkpoint is what `torch.save` writes: a zip of one pickle and, beside it, the bytes of each
tensor. A pickle is a program; this one may call nothing but the few constructors named here, which
build numpy arrays. Layout of the dictionary: TensoRF's models/tensorBase.py (Chen et al., ECCV
2022; github.com/apchenstu/TensoRF), class TensorVMSplit.
"""

from __future__ import annotations

import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.check import check_field
from oleaster.models.nerf.field import Array, Field, FieldError, Mask
from oleaster.models.nerf.store import unpack_mask, write_aside

__all__ = ["load_checkpoint", "save_checkpoint"]

_SHADING = "MLP_Fea"
_TENSORS = (
    ("density_planes", "density_plane"),
    ("density_lines", "density_line"),
    ("color_planes", "app_plane"),
    ("color_lines", "app_line"),
)
_ZIP_START = b"PK\x03\x04"


def load_checkpoint(path: Path) -> Field:
    """The field of a checkpoint. Raises FieldError, which names the file, if it is not whole.

    Only vector-matrix fields (TensorVMSplit) with the colour network MLP_Fea are read. Whether the
    background is white is not in the file: it is taken to be, as in the synthetic scenes.
    """
    try:
        field = _field(_Archive(path).load())
        check_field(field)
    except FieldError as error:
        raise FieldError(f"{path}: {error}") from error
    return field


def save_checkpoint(path: Path, field: Field) -> None:
    """Write a field as TensoRF does, for its loader; needs PyTorch. Raises FieldError.

    TensoRF's file has no place for `white_background`. It has one for the threshold of the mask,
    which no field keeps: TensoRF's usual 1e-4 is put there.
    """
    try:
        import torch  # a large package that few need
    except ImportError as error:
        raise FieldError(
            "writing a .th file needs PyTorch: pip install 'oleaster[train]'"
        ) from error
    check_field(field)

    def tensor(array: Array) -> Any:
        return torch.from_numpy(np.array(array, order="C"))

    state: OrderedDict[str, Any] = OrderedDict()
    for name, theirs in _TENSORS:
        for i, array in enumerate(getattr(field, name)):
            full = array[None] if "plane" in name else array[None, :, :, None]
            state[f"{theirs}.{i}"] = tensor(full)
    state["basis_mat.weight"] = tensor(field.basis)
    for i, (weight, bias) in enumerate(zip(field.weights, field.biases, strict=True)):
        state[f"renderModule.mlp.{2 * i}.weight"] = tensor(weight)
        state[f"renderModule.mlp.{2 * i}.bias"] = tensor(bias)
    kwargs = {
        "aabb": tensor(field.box),
        "gridSize": list(field.size),
        "density_n_comp": [len(plane) for plane in field.density_planes],
        "appearance_n_comp": [len(plane) for plane in field.color_planes],
        "app_dim": len(field.basis),
        "density_shift": field.density_shift,
        "alphaMask_thres": 1e-4,
        "distance_scale": field.distance_scale,
        "rayMarch_weight_thres": field.weight_threshold,
        "fea2denseAct": "softplus" if field.softplus else "relu",
        "near_far": [field.near, field.far],
        "step_ratio": field.step_ratio,
        "shadingMode": _SHADING,
        "pos_pe": 6,
        "view_pe": field.direction_frequencies,
        "fea_pe": field.feature_frequencies,
        "featureC": len(field.weights[0]),
    }
    checkpoint: dict[str, Any] = {"kwargs": kwargs, "state_dict": state}
    if field.mask is not None:
        checkpoint["alphaMask.shape"] = (1, 1, *field.mask.bits.shape)
        checkpoint["alphaMask.mask"] = np.packbits(field.mask.bits)
        checkpoint["alphaMask.aabb"] = tensor(field.mask.box)
    with write_aside(path) as aside, aside.open("wb") as file:
        torch.save(checkpoint, file)


def _field(checkpoint: Any) -> Field:
    kwargs, state = _get(checkpoint, "kwargs", dict), _get(checkpoint, "state_dict", dict)
    shading = _get(kwargs, "shadingMode", str)
    if shading != _SHADING:
        raise FieldError(f"its colour network is {shading[:40]!r}; only {_SHADING} is read")
    activation = _get(kwargs, "fea2denseAct", str)
    if activation not in ("softplus", "relu"):
        raise FieldError(f"fea2denseAct is {activation[:40]!r}; it must be softplus or relu")
    near_far = _get(kwargs, "near_far", list | tuple)
    if len(near_far) != 2:
        raise FieldError("near_far must be two numbers")
    near, far = (_number({"near_far": value}, "near_far") for value in near_far)
    triples = {
        name: tuple(_tensor(state, f"{theirs}.{i}") for i in range(3)) for name, theirs in _TENSORS
    }
    for name, arrays in triples.items():
        axes = "1, R, H, W" if "plane" in name else "1, R, N, 1"
        for array in arrays:
            if array.ndim != 4 or len(array) != 1 or ("line" in name and array.shape[3] != 1):
                raise FieldError(f"one of its {name} is {array.shape}; it must be ({axes})")
    layers = [f"renderModule.mlp.{i}" for i in (0, 2, 4)]
    field = Field(
        box=_tensor(kwargs, "aabb"),
        density_planes=_three([a[0] for a in triples["density_planes"]]),
        density_lines=_three([a[0, :, :, 0] for a in triples["density_lines"]]),
        color_planes=_three([a[0] for a in triples["color_planes"]]),
        color_lines=_three([a[0, :, :, 0] for a in triples["color_lines"]]),
        basis=_tensor(state, "basis_mat.weight"),
        weights=_three([_tensor(state, f"{layer}.weight") for layer in layers]),
        biases=_three([_tensor(state, f"{layer}.bias") for layer in layers]),
        mask=_mask(checkpoint) if "alphaMask.mask" in checkpoint else None,
        feature_frequencies=_get(kwargs, "fea_pe", int),
        direction_frequencies=_get(kwargs, "view_pe", int),
        near=near,
        far=far,
        density_shift=_number(kwargs, "density_shift"),
        distance_scale=_number(kwargs, "distance_scale"),
        step_ratio=_number(kwargs, "step_ratio"),
        weight_threshold=_number(kwargs, "rayMarch_weight_thres"),
        softplus=activation == "softplus",
    )
    grid = _get(kwargs, "gridSize", list | tuple)
    if list(grid) != list(field.size):
        raise FieldError(f"gridSize does not fit its planes and lines, which have {field.size}")
    return field


def _three(arrays: list[Array]) -> tuple[Array, Array, Array]:
    a, b, c = arrays
    return a, b, c


def _mask(checkpoint: dict[str, Any]) -> Mask:
    shape = _get(checkpoint, "alphaMask.shape", tuple | list)
    packed = _get(checkpoint, "alphaMask.mask", _Ndarray).array
    if len(shape) != 5 or not all(isinstance(size, int) for size in shape):
        raise FieldError("alphaMask.shape must be five numbers")
    if tuple(shape[:2]) != (1, 1) or packed is None:
        raise FieldError("alphaMask.shape must begin with 1, 1, and alphaMask.mask be bytes")
    _, _, nz, ny, nx = shape
    return Mask(unpack_mask(packed, (nx, ny, nz)), _tensor(checkpoint, "alphaMask.aabb"))


def _get(values: Any, key: str, kind: Any) -> Any:
    if not isinstance(values, dict):
        raise FieldError("is not a TensoRF checkpoint: it holds no dictionary where one should be")
    if key not in values:
        raise FieldError(f"is not a whole TensoRF checkpoint: {key} is missing")
    if not isinstance(values[key], kind) or isinstance(values[key], bool):
        raise FieldError(f"{key} is of type {type(values[key]).__name__}, which it must not be")
    return values[key]


def _number(values: dict[str, Any], key: str) -> float:
    try:
        return float(_get(values, key, float | int))
    except OverflowError:
        raise FieldError(f"{key} is a number beyond all floats") from None


def _tensor(values: dict[str, Any], key: str) -> Array:
    return np.array(_get(values, key, np.ndarray), np.float32, order="C")


# What a pickle may call, in the place of the functions that it names.


class _Ndarray:
    """Stands for a numpy array of bytes while the pickle builds it."""

    array: NDArray[np.uint8] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, _, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise FieldError("it holds a numpy array that is not of bytes")
        if shape != (len(data),):
            raise FieldError("it holds a numpy array of bytes whose length is wrong")
        self.array = np.frombuffer(data, np.uint8)


class _Dtype:
    """Stands for numpy's dtype; bytes are all that a checkpoint needs."""

    def __init__(self, name: str, *_: Any) -> None:
        if name != "u1":
            raise FieldError("it holds a numpy array that is not of bytes")

    def __setstate__(self, state: Any) -> None:
        pass


def _reconstruct(*_: Any) -> _Ndarray:
    return _Ndarray()


def _ordered() -> OrderedDict[str, Any]:
    return OrderedDict()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise FieldError("it encodes text in a way that is not allowed")
    return text.encode("latin1")


def _rebuild_tensor(storage: Array, offset: int, shape: Any, strides: Any, *_: Any) -> Array:
    """A view of a storage as a tensor; never more values than it has."""
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise FieldError("it holds a tensor whose shape is not made of numbers")
    if math.prod(shape) == 0:
        return np.empty(shape, np.float32)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if last >= len(storage) or math.prod(shape) > len(storage):
        raise FieldError(f"it holds a tensor {tuple(shape)} that reaches past its storage")
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, [4 * step for step in strides])


_STORAGES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8"}
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("numpy", "ndarray"): _Ndarray,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("_codecs", "encode"): _encode,
}


class _Archive:
    """The zip that `torch.save` writes."""

    def __init__(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise FieldError(f"cannot be read: {error.strerror or error}") from error
        if not data.startswith(_ZIP_START):
            raise FieldError(
                "is not a checkpoint of PyTorch 1.6 or later (a zip); load and save it once there"
            )
        try:
            with zipfile.ZipFile(BytesIO(data)) as file:
                entries = file.infolist()
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                    raise FieldError("is compressed, which PyTorch's files never are")
                # The first part of each name is that of the file when it was saved.
                self._entries = {e.filename.partition("/")[2]: file.read(e) for e in entries}
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            if isinstance(error, FieldError):
                raise
            raise FieldError(f"is truncated or damaged ({error})") from error
        if self._entries.get("byteorder", b"little") != b"little":
            raise FieldError("was saved on a big-endian machine, which is not read")
        self._storages: dict[str, Array] = {}

    def load(self) -> Any:
        """What the pickle builds, with numpy arrays for tensors."""
        program = self._entries.get("data.pkl")
        if program is None:
            raise FieldError("is a zip, but no checkpoint of PyTorch: it has no data.pkl")
        try:
            _check_program(program)
            return _Unpickler(BytesIO(program), self._storage).load()
        except FieldError:
            raise
        except Exception as error:  # a broken pickle can raise anything
            raise FieldError(f"is damaged ({type(error).__name__}: {error})") from error

    def _storage(self, name: str, key: str, count: int) -> Array:
        if name not in _STORAGES:
            raise FieldError(f"it holds a tensor of {name}; only float ones are read")
        data = self._entries.get(f"data/{key}")
        dtype = np.dtype(_STORAGES[name])
        if data is None or len(data) != count * dtype.itemsize:
            raise FieldError(
                f"is truncated or damaged: the bytes of tensor {key} are not all there"
            )
        if key not in self._storages:
            with np.errstate(over="ignore"):  # becomes infinity, which check_field names
                self._storages[key] = np.frombuffer(data, dtype).astype(np.float32)
        return self._storages[key]


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BytesIO, storage: Any) -> None:
        super().__init__(file)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return name
        if (module, name) not in _ALLOWED:
            raise FieldError(
                f"asks for {module}.{name}, which a checkpoint has no need of: refused"
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        kind, name, key, _, count = pid
        if kind != "storage":
            raise FieldError("it refers to something that is no tensor's storage")
        if not (isinstance(name, str) and isinstance(key, str) and isinstance(count, int)):
            raise FieldError("it names a tensor's storage by something that is no name")
        return self._storage(name, key, count)


_PUTS = ("BINPUT", "LONG_BINPUT", "MEMOIZE")
_GETS = ("BINGET", "LONG_BINGET")
_OPCODES = {
    "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1",
    "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES",
    "SHORT_BINBYTES", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST",
    "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "GLOBAL", "STACK_GLOBAL",
    "REDUCE", "BUILD", "BINPERSID", *_PUTS, *_GETS,
}  # fmt: skip
_MOST_CALLS = 1000  # a checkpoint has two for each of some thirty tensors


def _check_program(program: bytes) -> None:
    """Follow a pickle's stack without building anything, and refuse what no checkpoint does.

    Refused are opcodes that `torch.save` does not write, numbers of objects whose table would fill
    the memory, calls by the thousand, and keys that are not text: a tuple of tuples that share
    their members takes for ever to hash.
    """
    stack: list[pickletools.StackObject] = []
    memo: dict[int, pickletools.StackObject] = {}
    calls = 0
    for opcode, argument, _ in pickletools.genops(program):
        if opcode.name not in _OPCODES:
            raise FieldError(f"its pickle has {opcode.name}, which a checkpoint has no need of")
        calls += opcode.name == "REDUCE"
        if calls > _MOST_CALLS:
            raise FieldError(f"its pickle makes more than {_MOST_CALLS} calls")
        if opcode.name in _PUTS:
            number = len(memo) if opcode.name == "MEMOIZE" else int(argument or 0)
            if number > len(program):
                raise FieldError("is damaged: its pickle numbers an object that it cannot hold")
            memo[number] = stack[-1]
        elif opcode.name in _GETS:
            stack.append(memo[int(argument or 0)])
        else:
            taken = _take(stack, opcode)
            keys: list[pickletools.StackObject] = []
            if opcode.name in ("SETITEM", "SETITEMS", "DICT"):
                keys = taken[::2]
            if any(key is not pickletools.pyunicode for key in keys):
                raise FieldError("it holds a dictionary with a key that is not text")
            stack += opcode.stack_after


def _take(
    stack: list[pickletools.StackObject], opcode: pickletools.OpcodeInfo
) -> list[pickletools.StackObject]:
    """Take off the stack what an opcode does; back come the items that it stores."""
    before = opcode.stack_before
    if pickletools.markobject in before:
        mark = len(stack) - 1 - stack[::-1].index(pickletools.markobject)
        taken = stack[mark + 1 :]
        fixed = before.index(pickletools.markobject)
        del stack[mark - fixed :]
        return taken
    if len(before) > len(stack):
        raise FieldError("is damaged: its pickle takes what is not there")
    first = len(stack) - len(before)
    taken = stack[first:]
    del stack[first:]
    return taken[1:]  # SETITEM's dictionary comes first
