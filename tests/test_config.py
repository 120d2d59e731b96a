"""Designs as data: every file that we ship, and every way in which one can be wrong."""

from dataclasses import fields

import pytest

from oleaster.config import DesignError, design_names, load_design, load_unit, read_design
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.schema import KINDS
from oleaster.sim.performance.design import (
    AcceleratorDesign,
    ArrayDesign,
    GpuDesign,
    Operand,
    Precision,
)

ARRAY = """
title = "Two by four"
[simulation]
kind = "array"
dataflow = "ws"
rows = 2
cols = 4
pe_bits = 8
clock_mhz = 250.5
weight_buffer_bytes = 100
activation_buffer_bytes = 200
output_buffer_bytes = 300
dram_bytes_per_cycle = 16
energy = "mine.toml"
[[simulation.precision]]
layers = "*.ffn"
weights = {format = "own3", compute_bits = 4, stored_bits = 3.25}
activations = {format = "mxfp4-e2m1"}
[[simulation.precision]]
layers = "*"
weights = {format = "ovp8"}
activations = {format = "int8", stored_bits = 9}
"""

GPU = """
[simulation]
kind = "gpu"
clock_mhz = 1545
multiprocessors = 68
macs_per_cycle = {8 = 69_632, 4 = 139_264}
tile = [128, 256, 32]
l2_bytes = 5_767_168
l2_bytes_per_cycle = 1_024
dram_bytes_per_cycle = 398.7
dram_latency_cycles = 400
decoders = true
energy = "table"
[[simulation.precision]]
layers = "*"
weights = {format = "int8"}
activations = {format = "int8"}
"""


def write(folder, text, name="design.toml"):
    path = folder / name
    path.write_text(text)
    return str(path)


def edited(text, old, new):
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize("name", design_names())
def test_every_design_that_we_ship(name):
    file = read_design(name)
    assert file.title
    assert file.source
    if file.unit is not None:
        unit, built = load_unit(name, {})
        assert unit == file.unit
        assert built.parameters.items() >= file.parameters.items()
    if file.simulation is not None:
        design = load_design(name)
        assert (design.name, design.title) == (name, file.title)
        assert design.precisions[-1].layers == "*"


def test_olive_is_built_and_simulated():
    design = load_design("olive-64x64")
    assert isinstance(design, ArrayDesign)
    assert (design.rows, design.cols, design.dataflow, design.pe_bits) == (64, 64, "os", 4)
    assert load_unit("olive-64x64", {"rows": 4})[1].parameters["rows"] == 4


def test_an_array(tmp_path):
    assert load_design(write(tmp_path, ARRAY)) == ArrayDesign(
        name="design",
        title="Two by four",
        precisions=(
            Precision("*.ffn", Operand("own3", 4, 3.25), Operand("mxfp4-e2m1", 4, 4.25)),
            Precision("*", Operand("ovp8", 8, 8.0), Operand("int8", 8, 9.0)),
        ),
        clock_mhz=250.5,
        energy=str(tmp_path / "mine.toml"),
        dataflow="ws",
        rows=2,
        cols=4,
        pe_bits=8,
        weight_buffer_bytes=100,
        activation_buffer_bytes=200,
        output_buffer_bytes=300,
        dram_bytes_per_cycle=16.0,
    )


def test_a_gpu(tmp_path):
    design = load_design(write(tmp_path, GPU))
    assert isinstance(design, GpuDesign)
    assert design.title == design.name == "design"
    assert design.macs_per_cycle == ((4, 139264), (8, 69632))
    assert design.tile == (128, 256, 32)
    assert (design.energy, design.decoders, design.output_bits) == ("table", True, 16)


@pytest.mark.parametrize(
    ("kind", "design"),
    [("array", ArrayDesign), ("gpu", GpuDesign), ("accelerator", AcceleratorDesign)],
)
def test_the_keys_are_the_fields(kind, design):
    names = {field.name for field in fields(design)} - {"name", "title", "precisions"}
    assert set(KINDS[kind].model_fields) == names | {"precision"}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('kind = "array"', "", "simulation.kind is missing (array or gpu or accelerator)"),
        ('kind = "array"', 'kind = "accelerator"', "there is no unit; expected that kind with"),
        ('kind = "array"', 'kind = "aray"', "did you mean 'array'?"),
        ('kind = "array"', "kind = [1]", "simulation.kind is [1], which is no kind of design"),
        ('kind = "array"', "kind = {a = 1}", "simulation.kind is {'a': 1}, which is no kind"),
        ("title", f"deep = {'[' * 9999}\ntitle", "is nested too deeply"),
        ("rows = 2\n", "", "the key simulation.rows is missing"),
        ("rows = 2", "rows = 0", "simulation.rows is 0; input should be greater than or equal"),
        ("rows = 2", "rows = -2", "simulation.rows is -2"),
        ("rows = 2", "rows = 2.0", "simulation.rows is 2.0; input should be a valid integer"),
        ("rows = 2", 'rows = "2"', "simulation.rows is '2'; input should be a valid integer"),
        ("rows = 2", "rows = true", "simulation.rows is True; input should be a valid integer"),
        ("rows = 2", "row = 2\nrows = 2", "simulation.row is no key of a design; did you mean"),
        ('"ws"', '"is"', "simulation.dataflow is 'is'; input should be 'os' or 'ws'"),
        ("= 250.5", "= nan", "simulation.clock_mhz is nan"),
        ("= 250.5", "= inf", "simulation.clock_mhz is inf"),
        ("= 250.5", "= 1e-300", "simulation.clock_mhz is 1e-300; input should be greater than"),
        ("= 16\n", "= 0\n", "simulation.dram_bytes_per_cycle is 0"),
        ("= 16\n", "= 9e-4\n", "simulation.dram_bytes_per_cycle is 0.0009"),
        ('layers = "*"\n', 'layers = "conv*"\n', "layers are 'conv*'; expected '*'"),
        (", stored_bits = 3.25", "", "simulation.precision.0.weights is"),
        (", stored_bits = 3.25", "", "'own3' is not one of `oleaster formats`"),
        ('{format = "ovp8"}', '{format = "opv8"}', "'opv8' is not one of `oleaster formats`"),
        ('{format = "ovp8"}', "{}", "the key simulation.precision.1.weights.format is missing"),
        ("stored_bits = 9", "bits = 9", "simulation.precision.1.activations.bits is no key"),
        ("[simulation]", "[parameters]\nx = 1\n[simulation]", "the key unit is missing"),
        ("[simulation]", 'unit = "systolic"\n[simulation]', "simulation.rows is said by unit"),
        (
            "[simulation]",
            'unit = "pe"\n[simulation]',
            "unit is 'pe'; expected that kind with unit 'sys",
        ),
        ("title", "tittle", "tittle is no key of a design; did you mean 'title'?"),
        ("[simulation]", "[simulation", "is not TOML"),
    ],
)
def test_a_wrong_file(tmp_path, old, new, sentence):
    path = write(tmp_path, edited(ARRAY, old, new))
    with pytest.raises(DesignError) as caught:
        load_design(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value).removeprefix(path)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("{8 = 69_632, 4 = 139_264}", "{int8 = 5}", "such as {4 = 139264, 8 = 69632}"),
        ("{8 = 69_632, 4 = 139_264}", "{}", "such as {4 = 139264, 8 = 69632}"),
        ("{8 = 69_632, 4 = 139_264}", "{4 = 0}", "simulation.macs_per_cycle.4 is 0"),
        ("[128, 256, 32]", "[128, 256]", "simulation.tile is [128, 256]"),
        ("kind", 'unit = "systolic"\nkind', "simulation.unit is no key"),
        (
            "[simulation]\n",
            'unit = "systolic"\n[simulation]\n',
            "'gpu' and unit is 'systolic'; expected that kind with",
        ),
    ],
)
def test_a_wrong_gpu(tmp_path, old, new, sentence):
    with pytest.raises(DesignError, match=r"design\.toml: ") as caught:
        load_design(write(tmp_path, edited(GPU, old, new)))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ("cols = 4", "the key parameters.rows is missing"),
        ("rows = 0\ncols = 4", "parameters.rows is 0"),
    ],
)
def test_sizes_of_a_unit(tmp_path, parameters, sentence):
    start = ARRAY.index("pe_bits")
    text = f'unit = "systolic"\n[parameters]\n{parameters}\n[simulation]\nkind = "array"\n'
    with pytest.raises(DesignError, match=sentence):
        load_design(write(tmp_path, text + ARRAY[start:]))


ACCELERATOR = """
unit = "accelerator"
[parameters]
rows = 8
formats_b = ["int4", "fp4-e2m1"]
formats_a = "olive4"
[simulation]
kind = "accelerator"
clock_mhz = 500
dram_share = 0.5
energy = "table"
[[simulation.precision]]
layers = "*"
weights = {format = "int4"}
activations = {format = "int4"}
"""


def test_an_accelerator(tmp_path):
    path = write(tmp_path, ACCELERATOR)
    design = load_design(path)
    assert isinstance(design, AcceleratorDesign)
    assert design.config == AcceleratorConfig(
        rows=8,
        formats_a=("int4", "flint4", "ovp4-int", "ovp4-flint"),
        formats_b=("int4", "fp4-e2m1"),
    )
    assert (design.dram_share, design.output_format) == (0.5, "int32")
    built = load_unit(path, {})[1].parameters
    assert tuple(built["formats_a"]) == design.config.formats_a
    assert built["cols"] == design.config.cols


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("rows = 8", "rows = 7", "rows is 7; it must be a multiple of 2 up to 256"),
        ("rows = 8", "row = 8", "accelerator has no parameter 'row'; did you mean 'rows'"),
        ('"olive4"', '"oliv4"', "oliv4"),
        ("= 0.5", "= 1.5", "simulation.dram_share is 1.5"),
        ("= 0.5", "= 0.0009", "simulation.dram_share is 0.0009; input should be greater than"),
        ("clock_mhz", "config = 5\nclock_mhz", "simulation.config is said by unit 'accelerator'"),
        ('kind = "accelerator"', 'kind = "array"', "unit is 'accelerator'; expected that kind"),
    ],
)
def test_a_wrong_accelerator(tmp_path, old, new, sentence):
    with pytest.raises(DesignError, match=r"design\.toml: ") as caught:
        load_design(write(tmp_path, edited(ACCELERATOR, old, new)))
    assert sentence in str(caught.value)


def test_what_cannot_be_built_or_simulated(tmp_path):
    with pytest.raises(DesignError, match=r"can be built but not simulated .*olive-64x64"):
        load_design("systolic-16x16")
    with pytest.raises(DesignError, match="can be simulated but not built"):
        load_unit(write(tmp_path, ARRAY), {})


def test_no_such_design(tmp_path):
    with pytest.raises(DesignError, match="unknown design 'olive-64'; did you mean 'olive-64x64"):
        load_design("olive-64")
    with pytest.raises(DesignError, match=r"none\.toml: no such file"):
        load_design(str(tmp_path / "none.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(DesignError, match=r"folder\.toml: cannot be read"):
        load_design(str(tmp_path / "folder.toml"))
