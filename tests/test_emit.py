# amaranth: UnusedElaboratable=no
"""Emitted Verilog: the circuit of Amaranth's own text, lint-free, the same bytes always."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import verilog as amaranth_verilog
from amaranth.hdl import Module, Value
from amaranth.hdl._ir import PortDirection
from amaranth.lib.wiring import In, Out

from oleaster.hw import emit
from oleaster.hw.emit import (
    EmitError,
    Unit,
    VerilogEmitter,
    place,
    port_signals,
    verilog,
    write_design,
)
from oleaster.hw.library import REFERENCE_DESIGNS, UNITS, build_unit, write_reference_designs
from oleaster.sim.rtl.build import harvest_runtime, seed_runtime
from oleaster.sim.rtl.toolchain import check_compiler, verilator_env

ROOT = Path(__file__).parent.parent
WAIVERS = ROOT / "sim" / "rtl" / "generated.vlt"
COMMITTED = ROOT / "rtl_out"

OLIVE4 = {"formats_a": "olive4", "formats_b": "olive4"}
MIXED = {"formats_a": "olive", "formats_b": "mxfp6-e2m3,fp4-e2m1,fp8-e5m2,codebook", "acc_bits": 62}
FLOATS = {"formats_a": "fp4-e2m1", "formats_b": "mxfp8-e4m3", "acc_bits": 50}
SHAPES = [{"rows": rows, "cols": cols} for rows, cols in ((1, 1), (1, 7), (3, 5), (16, 4))]
SMALLER = {
    "nerf-renderer": {
        **{"tile_bits": 3, "color_rows": 6, "color_cols": 8},
        **{"cube_depth": 4097, "block_depth": 777},
    }
}
LINTED = [
    *((name, SMALLER.get(name, {})) for name in UNITS),
    *(("systolic", {**shape, **lanes}) for shape in SHAPES for lanes in (OLIVE4, FLOATS)),
    *(("systolic", {"rows": 4, "cols": cols, **MIXED}) for cols in (3, 6)),
    ("systolic", {"rows": 2, "cols": 6}),
    ("pe", MIXED),
    (
        "accelerator",
        {"rows": 4, "cols": 4, "data_bits": 64, "scratchpad_beats": 8, "outstanding": 2},
    ),
    ("accelerator", {"rows": 6, "cols": 32, "data_bits": 512, **OLIVE4}),
    ("ovp-encoder4", {"value_bits": 4}),
    ("ovp-encoder8", {"value_bits": 8}),
    ("reciprocal", {"width": 14, "inverse_bits": 20, "inverse_address_bits": 9}),
    ("inverse-root", {"width": 12, "fraction": 7}),
    ("curve-table", {"address_bits": 6, "largest_shift": 1}),
]


def modules_of(text):
    return re.findall(r"^module (\S+?) ?\(", text, re.M)


# The same circuit


def bench(designs, cycles):
    """SystemVerilog that runs both texts of each design side by side on random inputs.

    designs: name -> (merged module, plain module, ports of the manifest). Prints for each the
    cycles in which any output differed and those in which a word of sums left.
    """
    lines = ["module compare;", "bit clk = 0; always #1 clk = ~clk; int cycle = 0;"]
    draw, checks, report = [], [], []
    for name, (merged, plain, ports) in designs.items():
        lines.append(f"int {name}_differs = 0, {name}_sums = 0;")
        inputs = {"clk": "clk"}
        for port in ports:
            signal, width = f"{name}_{port['name']}", port["width"]
            if port["direction"] == "output":
                lines.append(f"wire [{width - 1}:0] {signal}_merged, {signal}_plain;")
            elif port["name"] != "clk":
                inputs[port["name"]] = signal
                lines.append(f"reg [{width - 1}:0] {signal};")
                words = ", ".join(["$urandom"] * -(-width // 32))
                often = "$urandom % 50 == 0" if port["name"] == "rst" else f"{{{words}}}"
                draw.append(f"{signal} <= {often};")
        outputs = [port["name"] for port in ports if port["direction"] == "output"]
        for module, suffix in ((merged, "merged"), (plain, "plain")):
            pins = [f".{pin}({signal})" for pin, signal in inputs.items()]
            pins += [f".{pin}({name}_{pin}_{suffix})" for pin in outputs]
            lines.append(f"{module} {name}_{suffix}({', '.join(pins)});")
        differ = " || ".join(f"{name}_{pin}_merged !== {name}_{pin}_plain" for pin in outputs)
        checks.append(f"if ({differ}) {name}_differs++;")
        checks.append(f"if ({name}_sums_valid_merged && {name}_sums_ready) {name}_sums++;")
        report.append(f'$display("{name} %0d %0d", {name}_differs, {name}_sums);')
    # Inputs change at the falling edge; outputs are compared just before the rising one.
    lines += ["always @(negedge clk) begin", *draw, "end"]
    lines += ["always @(posedge clk) begin", *checks, "cycle++;"]
    lines += [f"if (cycle == {cycles}) begin", *report, "$finish;", "end", "end", "endmodule"]
    return "\n".join(lines) + "\n"


def run_bench(folder, sources):
    check_compiler()
    arguments = ["--cc", "--exe", "--main", "--timing", "-Wno-fatal", "--top-module", "compare"]
    make = ["make", "-j2", "-f", "Vcompare.mk", "OPT_FAST=-O0", "OPT_SLOW=-O0"]
    steps = [
        ["verilator", *arguments, "-Mdir", ".", *map(str, sources)],
        make,
        ["./Vcompare"],
    ]
    for step in steps:
        if step is make:
            seed_runtime(folder, "bench")
        done = subprocess.run(
            step, cwd=folder, env=verilator_env(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    harvest_runtime(folder, "bench")
    rows = re.findall(r"^(\w+) (\d+) (\d+)$", done.stdout, re.M)
    return {name: (int(differs), int(sums)) for name, differs, sums in rows}


@pytest.mark.rtl
def test_sharing_modules_preserves_behaviour(tmp_path):
    cases = {
        "tall": {"rows": 3, "cols": 2, **OLIVE4},
        "wide": {"rows": 2, "cols": 4, "formats_b": "olive4", "acc_bits": 24},
    }
    designs, sources = {}, []
    for name, parameters in cases.items():
        merged, manifest = write_design(build_unit("systolic", **parameters), tmp_path)
        plain = tmp_path / f"{name}_plain.v"
        unit = build_unit("systolic", **parameters)
        text = amaranth_verilog.convert(unit, name=plain.stem, emit_src=False, ports=ports(unit))
        plain.write_text(text)
        assert len(modules_of(text)) > parameters["rows"] * parameters["cols"]
        designs[name] = (merged.stem, plain.stem, json.loads(manifest.read_text())["ports"])
        sources += [merged, plain]
    top = tmp_path / "compare.sv"
    top.write_text(bench(designs, 5000))
    found = run_bench(tmp_path, [top, *sources])
    assert {name: differs for name, (differs, _) in found.items()} == {"tall": 0, "wide": 0}
    assert all(sums > 200 for _, sums in found.values()), found


def ports(unit):
    """Our port names, for Amaranth's own conversion."""
    return {
        name: (
            Value.cast(signal),
            PortDirection.Input if member.flow == In else PortDirection.Output,
        )
        for name, (member, signal) in port_signals(unit).items()
    }


# The text


@pytest.fixture(scope="module")
def array_64x64():
    return verilog(build_unit("systolic", rows=64, cols=64))


def test_64x64_is_small_and_has_each_module_once(array_64x64):
    modules = modules_of(array_64x64)
    assert len(modules) == len(set(modules)) <= 12
    # 120 kB for the 4-bit formats alone (benchmarks/emit_verilog.py); fusing PEs adds some.
    assert len(array_64x64.encode()) <= 130_000
    instances = re.findall(r"^  (\w+) (\w+) \($", array_64x64, re.M)
    assert sum(module == "systolic_row_x64_olive_acc32" for module, _ in instances) == 64
    assert sum(module == "pe_olive_acc32" for module, _ in instances) == 64


def test_names_are_readable_and_no_path_or_tool_name_leaks(array_64x64):
    texts = [array_64x64, *(verilog(build_unit(name, **SMALLER.get(name, {}))) for name in UNITS)]
    for text in texts:
        assert "$auto" not in text
        assert not re.search(r"\\\S*\$\d", text), "a name that is unique only by its number"
        # A memory may be filled; registers have their values where they are declared.
        body = re.sub(r"initial begin\n(?:    \S+ ?\[\d+\] = .*;\n)+", "", text.split("\n", 1)[1])
        assert not re.search(r'`|"|/', body)
        assert not re.search(r"\b(logic|always_comb|always_ff|initial)\b", body)


@pytest.mark.rtl
@pytest.mark.parametrize(("name", "parameters"), LINTED)
def test_lint_finds_nothing_but_what_is_waived(name, parameters, tmp_path):
    source, _ = write_design(build_unit(name, **parameters), tmp_path)
    command = ["verilator", "--lint-only", "-Wall", "--top-module", source.stem]
    found = subprocess.run(
        [*command, str(WAIVERS), str(source)],
        env=verilator_env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stderr) == (0, "")


# The same bytes


def test_bytes_depend_on_neither_hash_seed_nor_folder(tmp_path):
    script = (
        "from pathlib import Path\n"
        "from oleaster.hw.library import build_unit\n"
        "from oleaster.hw.emit import write_design\n"
        "write_design(build_unit('systolic', rows=4, cols=3, formats_b='olive4'), Path())\n"
    )
    written = []
    for seed in ("0", "1", "4711"):
        folder = tmp_path / f"folder{seed}"
        folder.mkdir()
        env = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", script], cwd=folder, env=env, check=True)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert sorted(written[0]) == [
        f"systolic_4x3_olive_by_olive4_acc32.{suffix}" for suffix in ("json", "v")
    ]
    assert written[0] == written[1] == written[2]
    assert str(tmp_path).encode() not in b"".join(written[0].values())


def test_committed_reference_designs_are_what_is_generated_now(tmp_path):
    paths = write_reference_designs(tmp_path)
    assert len(paths) == 2 * len(REFERENCE_DESIGNS)
    committed = {p.name: p.read_bytes() for p in COMMITTED.iterdir() if p.suffix != ".md"}
    generated = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert committed.keys() == generated.keys()
    differ = [name for name in generated if generated[name] != committed[name]]
    assert not differ, "`make rtl` writes them again"


# Failures


def test_a_full_disk_leaves_the_old_files(tmp_path, monkeypatch):
    unit = build_unit("ovp-decoder4")
    write_design(unit, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fill(path, content):
        with path.open("wb") as file:
            file.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError, match="No space left"):
        write_design(unit, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_failure_of_yosys_is_an_emit_error():
    with pytest.raises(EmitError, match=r"^Yosys failed: .*ERROR"):
        emit._write_verilog("no rtlil")


# The manifest


def test_manifest_describes_the_verilog(tmp_path):
    unit = build_unit("systolic", rows=2, cols=3, formats_b="olive4")
    source, manifest = write_design(unit, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([source, manifest])
    found = json.loads(manifest.read_text())
    text = source.read_text()
    assert (found["schema"], found["schema_version"]) == ("oleaster-design", 1)
    assert found["top"] == source.stem
    assert found["verilog"] == source.name
    assert found["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert found["modules"] == modules_of(text)
    assert found["parameters"] == {
        "formats_a": ["int4", "flint4", "ovp4-int", "ovp4-flint", "int8", "ovp8"],
        "formats_b": ["int4", "flint4", "ovp4-int", "ovp4-flint"],
        "rows": 2,
        "cols": 3,
        "acc_bits": 32,
    }
    assert set(found["tools"]) == {"oleaster", "amaranth", "yosys"}

    header = re.search(rf"^module {found['top']}\((.*?)\);(.*?)^endmodule", text, re.M | re.S)
    assert sorted(header[1].split(", ")) == sorted(port["name"] for port in found["ports"])
    for port in found["ports"]:
        width = f"[{port['width'] - 1}:0] " if port["width"] > 1 else ""
        assert f"  {port['direction']} {width}{port['name']};\n" in header[2]
    sums = next(port for port in found["ports"] if port["name"] == "sums_payload")
    assert sums["fields"] == [
        {
            "name": "sums",
            "offset": 0,
            "width": 96,
            "count": 3,
            "element": {"width": 32, "signed": True},
        },
        {"name": "overflow", "offset": 96, "width": 3, "signed": False},
        {"name": "last", "offset": 99, "width": 1, "signed": False},
    ]


def test_combinational_units_have_no_clock(tmp_path):
    for name, clocked in (("ovp-decoder4", False), ("pe", True)):
        _, manifest = write_design(build_unit(name), tmp_path)
        ports = {port["name"] for port in json.loads(manifest.read_text())["ports"]}
        assert ("clk" in ports) is clocked
        assert ("rst" in ports) is clocked


# Names


class Constant(Unit):
    """A unit whose module name does not tell its parameter."""

    module_name = "constant"

    def __init__(self, value):
        self.value = value
        super().__init__({"out": Out(4)})

    @property
    def parameters(self):
        return {"value": self.value}

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.out.eq(self.value)
        return m


class Both(Unit):
    module_name = "both"
    parameters = {}  # noqa: RUF012

    def __init__(self, values):
        self.values = values
        super().__init__({"out": Out(8)})

    def elaborate(self, platform):
        m = Module()
        for i, value in enumerate(self.values):
            child = place(m, f"child{i}", Constant(value), platform)
            m.d.comb += self.out.word_select(i, 4).eq(child.out)
        return m


def test_one_name_for_two_circuits_is_refused():
    assert modules_of(verilog(Both([3, 3]))) == ["both", "constant"]
    with pytest.raises(ValueError, match="two different units are called 'constant'"):
        verilog(Both([3, 4]))


def test_a_module_is_converted_once():
    emitter = VerilogEmitter()
    assert emitter.add(Both([5, 5])) == "both"
    assert list(emitter.rtlil) == ["constant", "both"]
