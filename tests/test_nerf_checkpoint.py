"""TensoRF's checkpoints: read without PyTorch, written for it, and never obeyed."""

import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nerf_random import random_field
from test_nerf_files import same_field

from oleaster.models.nerf.checkpoint import load_checkpoint, save_checkpoint
from oleaster.models.nerf.field import FieldError

torch = pytest.importorskip("torch")

_FIELD = replace(
    random_field(3, (5, 4, 3), (2, 1, 3), (1, 3, 2), (1, 2), mask=True),
    far=7.25,
    density_shift=-9.0,
    step_ratio=0.75,
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "a.th"
    save_checkpoint(path, _FIELD)
    return path


def _changed(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    checkpoint = torch.load(path, weights_only=False)
    change(checkpoint)
    torch.save(checkpoint, path)
    return path


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("softplus", [True, False])
def test_round_trip(tmp_path: Path, masked: bool, softplus: bool) -> None:
    field = replace(_FIELD, softplus=softplus, mask=_FIELD.mask if masked else None)
    save_checkpoint(tmp_path / "a.th", field)
    assert same_field(load_checkpoint(tmp_path / "a.th"), field)
    assert [path.name for path in tmp_path.iterdir()] == ["a.th"]


def test_pytorch_reads_what_tensorf_expects(saved: Path) -> None:
    checkpoint = torch.load(saved, weights_only=False)
    kwargs, state = checkpoint["kwargs"], checkpoint["state_dict"]
    assert set(kwargs) == {
        *("aabb", "gridSize", "density_n_comp", "appearance_n_comp", "app_dim", "density_shift"),
        *("alphaMask_thres", "distance_scale", "rayMarch_weight_thres", "fea2denseAct"),
        *("near_far", "step_ratio", "shadingMode", "pos_pe", "view_pe", "fea_pe", "featureC"),
    }
    assert kwargs["gridSize"] == [5, 4, 3]
    assert kwargs["density_n_comp"] == [2, 1, 3]
    assert (kwargs["fea_pe"], kwargs["view_pe"], kwargs["featureC"]) == (1, 2, 8)
    assert state["density_plane.1"].shape == (1, 1, 3, 5)
    assert state["app_line.0"].shape == (1, 1, 3, 1)
    assert state["renderModule.mlp.4.weight"].shape == (3, 8)
    bits = np.unpackbits(checkpoint["alphaMask.mask"])[: np.prod(checkpoint["alphaMask.shape"])]
    assert _FIELD.mask is not None
    assert np.array_equal(bits.reshape(checkpoint["alphaMask.shape"])[0, 0], _FIELD.mask.bits)
    assert torch.equal(checkpoint["alphaMask.aabb"], torch.from_numpy(_FIELD.mask.box))


def test_reads_without_pytorch(saved: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None; from pathlib import Path; "
        "from oleaster.models.nerf.checkpoint import load_checkpoint; "
        f"print(load_checkpoint(Path({str(saved)!r})).size)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "(5, 4, 3)\n", done.stderr


def test_writing_without_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(FieldError, match=r"pip install 'oleaster\[train\]'"):
        save_checkpoint(tmp_path / "a.th", _FIELD)


def test_views_into_a_larger_storage_and_other_precisions(saved: Path) -> None:
    """What a crop leaves in a checkpoint: strides, offsets; and half or double precision."""

    def change(checkpoint: dict[str, Any]) -> None:
        state = checkpoint["state_dict"]
        plane = state["app_plane.1"]
        around = torch.full((1, 5, plane.shape[2] + 3, plane.shape[3] + 2), torch.nan)
        around[:, 1:4, 2:-1, 1:-1] = plane
        state["app_plane.1"] = around[:, 1:4, 2:-1, 1:-1]
        plane = state["density_plane.0"]
        state["density_plane.0"] = plane.contiguous(memory_format=torch.channels_last)
        state["basis_mat.weight"] = state["basis_mat.weight"].double()

    assert same_field(load_checkpoint(_changed(saved, change)), _FIELD)

    def halve(checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"]["basis_mat.weight"] = torch.full((5, 6), 0.1).half()

    basis = load_checkpoint(_changed(saved, halve)).basis
    assert np.array_equal(basis, np.full((5, 6), np.float16(0.1), np.float32))


def _set(section: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(checkpoint: dict[str, Any]) -> None:
        checkpoint[section][key] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("kwargs", "shadingMode", "SH"), "colour network is 'SH'; only MLP_Fea is read"),
        (_set("kwargs", "fea2denseAct", "exp"), "fea2denseAct is 'exp'"),
        (_set("kwargs", "gridSize", [5, 4, 4]), "gridSize does not fit"),
        (_set("kwargs", "near_far", [2.0]), "near_far must be two numbers"),
        (_set("kwargs", "near_far", [2.0, float("nan")]), "far is nan"),
        (_set("kwargs", "step_ratio", "x"), "step_ratio is of type str"),
        (_set("kwargs", "fea_pe", 3), r"weights\[0\] is"),
        (_set("kwargs", "fea_pe", 10**9), "feature_frequencies is"),
        (_set("kwargs", "density_shift", 10**400), "density_shift is a number beyond"),
        (_set("state_dict", "basis_mat.weight", torch.full((5, 6), torch.nan)), "holds NaN"),
        (_set("state_dict", "basis_mat.weight", torch.zeros(5, 6).int()), "IntStorage"),
        (_set("state_dict", "app_line.2", torch.zeros(1, 2, 5, 2)), "must be .1, R, N, 1."),
        (_set("state_dict", "app_plane.0", torch.zeros(())), "must be .1, R, H, W."),
        (lambda c: c["state_dict"].pop("density_line.1"), "density_line.1 is missing"),
        (lambda c: c.pop("kwargs"), "kwargs is missing"),
        (lambda c: c.update({"kwargs": []}), "kwargs is of type list"),
        (
            lambda c: c.update({"alphaMask.shape": (1, 1, 3, 4, 50)}),
            "has 8 bytes, wrong for 50 x 4 x 3",
        ),
        (lambda c: c.update({"alphaMask.shape": (1, 1, 3, 4)}), "five numbers"),
        (lambda c: c.update({"alphaMask.mask": np.zeros(8)}), "numpy array that is not of bytes"),
        (lambda c: c.update({"alphaMask.mask": np.zeros(8, np.uint8)}), "nothing to render"),
    ],
)
def test_wrong_contents(
    saved: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    with pytest.raises(FieldError, match=rf"a\.th: .*{message}"):
        load_checkpoint(_changed(saved, change))


def _with_program(path: Path, program: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", program)
        file.writestr("a/data/0", bytes(16))
    return path


class _Obeyed:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("touch {}",)),
        (eval, ("open({!r}, 'w')",)),
        (exec, ("open({!r}, 'w')",)),
        (getattr, (OrderedDict, "update")),
        (io.open, ("{}", "w")),
        (np.load, ("{}", None, True)),
        (torch.load, ("{}",)),
        (__import__, ("os",)),
    ],
)
def test_programs_are_not_obeyed(tmp_path: Path, function: Any, arguments: tuple[Any, ...]) -> None:
    touched = tmp_path / "touched"
    filled = [a.format(str(touched)) if isinstance(a, str) else a for a in arguments]
    program = pickle.dumps({"kwargs": _Obeyed(function, *filled)}, protocol=2)
    path = _with_program(tmp_path / "a.th", program)
    with pytest.raises(FieldError, match=r"a\.th: asks for .*: refused"):
        load_checkpoint(path)
    assert not touched.exists()


_TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
_TENSOR += b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"


# A pair of the same pair of the same pair ..., 40 deep: 2^40 steps to hash it.
_NESTED = b"K\x01\x85" + b"".join(bytes([0x71, i, 0x68, i, 0x86]) for i in range(40))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"", "damaged"),
        (b".", "damaged"),
        (b"\x80\x02}q\x00", "damaged"),
        (b"\x80\x02r\xff\xff\xff\xff.", "damaged"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "numbers an object that it cannot hold"),
        (b"\x80\x02N.", "no dictionary"),
        (b"cos\nsystem\n.", "asks for os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "asks for os.system"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.", "asks for numpy.ndarray.dump"),
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x04\x00\x00\x00zliptR.", "not allowed"),
        (_TENSOR + b"K\x00(K\x05t(K\x01ttR.", "reaches past its storage"),
        (_TENSOR + b"K\x03(K\x02t(K\x01ttR.", "reaches past its storage"),
        (_TENSOR + b"K\x00(J\xff\xff\xff\x7ft(K\x00ttR.", "reaches past its storage"),
        (_TENSOR + b"K\x00(J\xff\xff\xff\xfft(K\x01ttR.", "not made of numbers"),
        (_TENSOR.replace(b"K\x04tQ", b"K\x05tQ") + b"K\x00(K\x01t(K\x01ttR.", "not all there"),
        (_TENSOR.replace(b"\x000X\x03", b"\x001X\x03") + b"K\x00).", "not all there"),
        (_TENSOR.replace(b"storage", b"modules") + b"K\x00).", "no tensor's storage"),
        (b"\x80\x02}p100000000\n.", "its pickle has PUT"),
        (b"\x80\x04\x8f.", "its pickle has EMPTY_SET"),
        (b"\x80\x02}(" + _NESTED + b"K\x01u.", "a key that is not text"),
        (b"\x80\x02}" + _NESTED + b"K\x01s.", "a key that is not text"),
        (b"\x80\x02(" + _NESTED + b"K\x01d.", "a key that is not text"),
        (b"\x80\x02ccollections\nOrderedDict\n(" + _NESTED + b"K\x01t\x85\x85R.", "is damaged"),
        (
            b"\x80\x02(X\x07\x00\x00\x00storageX\x01\x00\x00\x00a" + _NESTED + b"NK\x01tQ.",
            "no name",
        ),
        (b"\x80\x02ccollections\nOrderedDict\nq\x00" + b"h\x00)R" * 1001 + b".", "1000 calls"),
        (b"\x80\x02s.", "takes what is not there"),
    ],
)
def test_broken_programs(tmp_path: Path, program: bytes, message: str) -> None:
    with pytest.raises(FieldError, match=message):
        load_checkpoint(_with_program(tmp_path / "a.th", program))


def test_every_truncation_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in range(0, len(whole), 101):
        saved.write_bytes(whole[:length])
        with pytest.raises(FieldError, match=r"a\.th: is (truncated|not a checkpoint)"):
            load_checkpoint(saved)


def test_a_flipped_byte_is_refused_or_harmless(saved: Path) -> None:
    whole = saved.read_bytes()
    refused = 0
    for at in range(0, len(whole), 67):
        saved.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            assert same_field(load_checkpoint(saved), _FIELD)
        except FieldError:
            refused += 1
    assert refused > 50


def test_other_files(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(FieldError, match=r"b\.th: cannot be read"):
        load_checkpoint(tmp_path / "b.th")
    checkpoint = torch.load(saved, weights_only=False)
    torch.save(checkpoint, saved, _use_new_zipfile_serialization=False)
    with pytest.raises(FieldError, match=r"PyTorch 1\.6 or later"):
        load_checkpoint(saved)
    with zipfile.ZipFile(saved, "w") as file:
        file.writestr("a/other", b"")
    with pytest.raises(FieldError, match=r"no data\.pkl"):
        load_checkpoint(saved)
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", bytes(10**6))
    with pytest.raises(FieldError, match="is compressed"):
        load_checkpoint(saved)


def test_nothing_is_half_written(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(FieldError, match="basis is"):
        save_checkpoint(saved, replace(_FIELD, basis=_FIELD.basis[:, :1]))
    with pytest.raises(FieldError, match="cannot be written"):
        save_checkpoint(saved.parent / "missing" / "a.th", _FIELD)
    assert saved.read_bytes() == before
