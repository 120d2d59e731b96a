"""Whole networks: sums, invariants, energy, GPU."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oleaster.config import design_names, load_design, read_design
from oleaster.sim.networks.layer import Layer, Network
from oleaster.sim.networks.library import load_network
from oleaster.sim.performance.design import ArrayDesign, DesignFault, GpuDesign, Operand
from oleaster.sim.performance.energy import EnergyError, load_energy
from oleaster.sim.performance.gpu import gpu_timing
from oleaster.sim.performance.simulate import COLUMNS, simulate
from oleaster.sim.systolic import gemm_cycles
from oleaster.sim.tiling import Tiling

SIMULABLE = {
    name: load_design(name) for name in design_names() if read_design(name).simulation is not None
}
ARRAYS = [name for name, design in SIMULABLE.items() if isinstance(design, ArrayDesign)]
GPUS = [name for name, design in SIMULABLE.items() if isinstance(design, GpuDesign)]


def net(*layers: Layer) -> Network:
    return Network("test", "", layers)


def dims() -> st.SearchStrategy[int]:
    return st.one_of(st.integers(1, 70), st.sampled_from([127, 128, 129, 384, 1000]))


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(ARRAYS + GPUS), st.sampled_from(["ideal", "real"]), dims(), dims(), dims(),
    st.integers(1, 5), st.sampled_from(["linear", "attention"]),
)  # fmt: skip
def test_invariants(name: str, memory: str, m: int, k: int, n: int, count: int, kind: str) -> None:
    design = load_design(name)
    network = net(Layer("first", kind, m, k, n, count), Layer("second", "linear", n, m, k))
    result = simulate(network, design, memory=memory)
    weights, activations = design.operands(network.layers[0])
    for row in (*result.rows, result.total):
        parts = [getattr(row, column) for column in COLUMNS if column.endswith("_cycles")]
        assert all(part >= 0 for part in parts)
        assert row.cycles == sum(parts)
        assert 0 < row.utilization_pct <= row.mapping_pct <= 100 + 1e-9
        spent = [value for column, value in row._asdict().items() if column.startswith("energy_")]
        assert all(value >= 0 for value in spent)
        assert math.isclose(row.energy_pj, sum(spent) - row.energy_pj)
        assert math.isclose(row.time_us, row.cycles / design.clock_mhz)
    row = result.rows[0]
    assert row.dram_activation_read_bytes * 8 >= m * k * activations.stored_bits * count - 1e-6
    assert row.dram_weight_read_bytes * 8 >= n * k * weights.stored_bits * count - 1e-6
    assert row.dram_output_write_bytes * 8 >= m * n * design.output_bits * count - 1e-6
    assert row.macs == m * k * n * count
    assert result.total.macs == network.macs
    for column in ("cycles", "macs", "energy_pj", "dram_weight_read_bytes"):
        assert math.isclose(getattr(result.total, column), sum(result.table()[column]))
    assert simulate(network, design, memory=memory).rows == result.rows


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))
def test_real_memory_computes_as_long_as_the_rtl(m: int, k: int, n: int) -> None:
    design = replace(load_design("olive-64x64"), rows=16, cols=16)
    row = simulate(net(Layer("g", "linear", m, k, n)), design, memory="real").rows[0]
    tiling = Tiling(m, k, n, 16, 16, is_fusing=False)
    assert row.compute_cycles + row.fill_drain_cycles == gemm_cycles(tiling)


def test_ideal_memory_computes_the_published_closed_form() -> None:
    design = load_design("olive-64x64")
    row = simulate(net(Layer("g", "linear", 2048, 768, 3072)), design).rows[0]
    assert row.compute_cycles == 2048 // 64 * (3072 // 64) * 768
    eight = simulate(net(Layer("g", "linear", 2048, 768, 3072)), load_design("olive-64x64-8bit"))
    assert eight.rows[0].compute_cycles == 4 * row.compute_cycles


def test_count_is_that_many_layers() -> None:
    design = load_design("ant-64x64-ws")
    one = simulate(net(Layer("g", "linear", 50, 60, 70)), design).total
    five = simulate(net(Layer("g", "linear", 50, 60, 70, 5)), design).total
    assert five.cycles == 5 * one.cycles
    assert math.isclose(five.energy_pj, 5 * one.energy_pj)
    assert math.isclose(five.utilization_pct, one.utilization_pct)
    assert five.count == 5


def test_the_first_matching_precision_counts() -> None:
    olive, wide = load_design("olive-64x64"), load_design("olive-64x64-8bit")
    mixed = replace(
        olive,
        precisions=(replace(wide.precisions[0], layers="*.ffn.*"), olive.precisions[0]),
    )
    network = load_network("minilm", sequence=16)
    rows = simulate(network, mixed).rows
    assert {row.weight_format for row in rows if ".ffn." in row.layer} == {"ovp8"}
    assert {row.weight_format for row in rows if ".ffn." not in row.layer} == {"ovp4-flint"}


def test_attention_products_have_activations_on_both_sides() -> None:
    design = load_design("gpu-gobo")
    layers = (Layer("qk", "attention", 8, 8, 8), Layer("fc", "linear", 8, 8, 8))
    rows = simulate(net(*layers), design).rows
    assert [row.weight_format for row in rows] == ["fp16", "gobo3"]


def test_energy_by_hand() -> None:
    """One full tile on the 64 x 64 array, ideal memory, from the table's own figures."""
    design, table = load_design("olive-64x64"), load_energy("ant-28nm")
    row = simulate(net(Layer("g", "linear", 64, 64, 64)), design).rows[0]
    operand, output = 64 * 64 / 2, 64 * 64 * 2
    assert row.compute_cycles == 64
    assert row.dram_weight_read_bytes == row.dram_activation_read_bytes == operand
    nanoseconds = 2 * row.cycles
    assert math.isclose(row.energy_static_pj, nanoseconds * table["static"])
    core = 64 * 64 * (64 * table["pe_dynamic_4bit"] + nanoseconds * table["pe_leakage_4bit"])
    assert math.isclose(row.energy_core_pj, core)
    dram = 8 * (2 * operand * table["dram_read"] + output * table["dram_write"])
    assert math.isclose(row.energy_dram_pj, dram)
    per_mac = table["weight_buffer_read"] + table["activation_buffer_read"]
    buffer = 64**3 * 4 * per_mac
    buffer += 8 * operand * (table["weight_buffer_write"] + table["activation_buffer_write"])
    buffer += 8 * output * (2 * table["output_buffer_read"] + table["output_buffer_write"])
    assert math.isclose(row.energy_buffer_pj, buffer)
    assert math.isclose(row.energy_decode_pj, 2 * 64 * 64 * table["decode"])


def test_power_costs_by_time_and_events_by_number() -> None:
    slow, network = load_design("olive-64x64"), net(Layer("g", "linear", 64, 64, 64))
    fast = replace(slow, clock_mhz=2 * slow.clock_mhz)
    a, b = (simulate(network, design).rows[0] for design in (slow, fast))
    assert math.isclose(a.energy_static_pj, 2 * b.energy_static_pj)
    assert a.energy_core_pj > b.energy_core_pj > a.energy_core_pj / 2
    assert a.energy_dram_pj == b.energy_dram_pj
    assert a.energy_buffer_pj == b.energy_buffer_pj


@pytest.mark.parametrize("name", ["ant-28nm", "turing-12nm"])
def test_every_constant_has_its_source(name: str) -> None:
    table = load_energy(name)
    assert table.title
    for constant in table.constants.values():
        assert constant.value > 0
        assert constant.node
        assert len(constant.source) > 20


def test_bad_energy_tables(tmp_path: Path) -> None:
    with pytest.raises(EnergyError, match="did you mean 'ant-28nm'"):
        load_energy("ant-28")
    path = tmp_path / "mine.toml"
    with pytest.raises(EnergyError, match="No such file"):
        load_energy(str(path))
    good = 'value = 1\nunit = "pJ/bit"\nnode = "n"\nsource = "s"\n'
    for text, message in (
        ("a = " + "[" * 5000, "nested too deeply"),
        ("title = 3\n", "title is 3"),
        (f"[dram_read]\n{good}".replace('"n"', "[1]"), r"node is \[1\]"),
        ("[dram_read", "is not TOML"),
        ("[dram_read]\nvalue = 1\n", r"\[dram_read\] must have exactly node, source, unit, value"),
        ("dram_read = 3\n", "must have exactly"),
        (f"[dram_read]\n{good}".replace("= 1", "= -1"), "value is -1"),
        (f"[dram_read]\n{good}".replace("= 1", "= nan"), "value is nan"),
        (f"[dram_read]\n{good}".replace("pJ/bit", "nJ"), "unit is 'nJ'; it must be 'pJ/bit'"),
        (f"[dram_read]\n{good}".replace("pJ/bit", "pJ/MAC"), "unit is 'pJ/MAC'"),
        (f"[dram_read]\n{good}".replace('"pJ/bit"', '["pJ/bit"]'), r"unit is \['pJ/bit'\]"),
        (f"[dram_reed]\n{good}", "no design asks for a constant 'dram_reed'"),
    ):
        path.write_text(text)
        with pytest.raises(EnergyError, match=message):
            load_energy(str(path))
    path.write_text(f"[dram_read]\n{good}")
    with pytest.raises(EnergyError, match=r"mine has no constant 'dram_write'.*'dram_read'"):
        simulate(
            net(Layer("g", "linear", 4, 4, 4)),
            load_design("olive-64x64"),
            energy=load_energy(str(path)),
        )


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(GPUS), dims(), dims(), dims())
def test_gpu_is_never_faster_than_its_rates(name: str, m: int, k: int, n: int) -> None:
    design = load_design(name)
    assert isinstance(design, GpuDesign)
    weights, activations = design.operands(Layer("g", "linear", m, k, n))
    timing = gpu_timing(design, m, k, n, weights, activations)
    assert timing.compute_cycles >= m * k * n / design.peak(weights, activations)
    moved = timing.dram_activation_read_bits + timing.dram_weight_read_bits
    moved += timing.dram_output_write_bits
    assert timing.cycles >= moved / 8 / design.dram_bytes_per_cycle
    assert timing.sram_activation_read_bits >= timing.dram_activation_read_bits - 1e-6


def test_gpu_by_hand() -> None:
    """137 blocks of 128 x 128 outputs on 68 multiprocessors are three waves."""
    design = load_design("gpu-int8")
    assert isinstance(design, GpuDesign)
    operand = Operand("int8", 8, 8.0)
    timing = gpu_timing(design, 128, 4096, 137 * 128, operand, operand)
    assert timing.compute_cycles == math.ceil(3 * 68 * 128 * 128 * 4096 / 69_632)
    # Two elements are decoded for each multiplication, however little of its tile a block fills.
    olive = load_design("gpu-olive")
    assert isinstance(olive, GpuDesign)
    assert gpu_timing(olive, 1, 100, 30, operand, operand).decodes == 2 * 100 * 30
    assert gpu_timing(design, 1, 100, 30, operand, operand).decodes == 0
    heads = gpu_timing(design, 1, 64, 2048, operand, operand, 32)
    assert heads.compute_cycles == math.ceil(-(-32 * 16 // 68) * 16 * 128 * 64 * 68 / 69_632)
    assert heads.decodes == 0
    with pytest.raises(DesignFault, match="32-bit operands"):
        gpu_timing(design, 8, 8, 8, operand, Operand("fp32", 32, 32.0))


def test_unknown_memory() -> None:
    with pytest.raises(ValueError, match="'ideal' or 'real'"):
        simulate(load_network("minilm"), load_design("olive-64x64"), memory="perfect")
