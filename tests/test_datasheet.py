# amaranth: UnusedElaboratable=no
"""The accelerator's data sheet says what the circuit is."""

import re
from pathlib import Path

import numpy as np
import pytest
from amaranth.lib.wiring import In, Out

from oleaster.datasheet import TABLES, block, main, render
from oleaster.hw.accelerator.layouts import DescriptorLayout
from oleaster.hw.accelerator.top import OliveAccelerator
from oleaster.hw.emit import Unit, port_signals
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import Descriptor
from oleaster.models.accelerator.registers import ID, Status, register_offset
from oleaster.models.nerf.renderer import registers as renderer

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [DOCS / "accelerator.md", DOCS / "accelerator-blocks.md", DOCS / "nerf-accelerator.md"]


def cells(table):
    """Rows of a table below its head, as lists of cells."""
    lines = table.splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_tables_are_up_to_date(path):
    text = path.read_text()
    assert render(text) == text, f"run python -m oleaster.datasheet docs/{path.name}"


def test_the_pages_have_every_table_once():
    names = re.findall(r"^<!-- (.+) -->$", "".join(path.read_text() for path in PAGES), re.M)
    assert sorted(name for name in names if name != "end") == sorted(TABLES)


def test_the_programming_example_runs(capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGES[0].read_text(), re.M | re.S)
    space = {}
    exec(code, space)
    x, w = (space[name].number_format.decode(space[name].codes).astype(int) for name in "xw")
    assert np.array_equal(space["exact"], x @ w.T)
    assert capsys.readouterr().out.endswith("(40, 96) (40, 96)\n")


def test_the_c_example_has_the_registers_numbers():
    (code,) = re.findall(r"^```c\n(.*?)^```", PAGES[0].read_text(), re.M | re.S)
    assert f"0x{ID:08X}" in code
    assert f"status & 1 << {int(Status.ERROR)}" in code
    for name in re.findall(r"reg\[(\w+) / 4\]", code):
        assert register_offset(name) % 4 == 0


def test_the_renderers_c_example_has_its_registers_numbers():
    (code,) = re.findall(r"^```c\n(.*?)^```", PAGES[2].read_text(), re.M | re.S)
    assert f"0x{renderer.ID:08X}" in code
    assert f"STATUS / 4] & 1 << {int(renderer.Status.ERROR)}" in code
    for name in re.findall(r"reg\[(\w+) / 4\]", code):
        assert renderer.register_offset(name) % 4 == 0
    bits = renderer.ControlBit.LOAD, renderer.ControlBit.CLEAR, renderer.ControlBit.RENDER
    written = re.findall(r"reg\[CONTROL / 4\] = (\d+)", code)
    assert list(map(int, written)) == [1 << bit for bit in bits]


def test_the_verilog_example_names_ports_that_are_there():
    (code,) = re.findall(r"^```verilog\n(.*?)^```", PAGES[0].read_text(), re.M | re.S)
    unit = OliveAccelerator(AcceleratorConfig())
    assert f"\n{unit.module_name} " in code
    names = set(re.findall(r"\.(\w+) +\(", code))
    assert names <= {"clk", "rst", *port_signals(unit)}
    assert len(names) > 10


def test_the_fusesoc_core_offers_the_default_design():
    core = (ROOT / "oleaster.core").read_text()
    module = OliveAccelerator(AcceleratorConfig()).module_name
    assert set(re.findall(r"toplevel: (.+)", core)) == {module}
    files = re.findall(r"^ +- (\S+/\S+)$", core, re.M)
    assert f"rtl_out/{module}.v" in files
    assert [name for name in files if not (ROOT / name).exists()] == []
    (version,) = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert f"name: oleaster:ip:accelerator:{version}\n" in core


def test_the_descriptor_table_is_the_packed_word():
    rows = cells(TABLES["descriptor"]())
    names = [row[2].strip("`") for row in rows]
    assert names == [name for name, _ in DescriptorLayout()]
    data = Descriptor(1, 2, 4, 3, 5, 7, 11, 13, 16, "int4", "int8", "ovp8", 512, True, 64).pack()
    word = int.from_bytes(data, "little")
    found = {}
    for bits, byte, name, width, _ in rows:
        high, _, low = bits.partition(":")
        low = int(low or high)
        assert int(high) - low + 1 == int(width)
        assert int(byte, 16) == low // 8
        found[name.strip("`")] = word >> low & ((1 << int(width)) - 1)
    assert found == {
        "next_address": 64, "a_address": 1, "b_address": 2, "c_address": 4,
        "a_format": 1, "b_format": 5, "c_format": 6, "channels_address": 512, "relu": 1,
        "m": 3, "k": 5, "n": 7, "a_stride": 11, "b_stride": 13, "c_stride": 16,
        **{f"reserved{i}": 0 for i in range(5)},
    }  # fmt: skip


@pytest.mark.parametrize("bits", [64, 512])
def test_the_widths_of_the_ports_follow_from_the_parameters(bits):
    config = AcceleratorConfig(data_bits=bits, address_bits=48, rows=64, cols=64)
    values = {
        "`data_bits`": bits,
        "`data_bits` / 8": bits // 8,
        "`address_bits`": config.address_bits,
    }
    rows = cells(TABLES["ports"]())
    found = {name.strip("`"): (side, values.get(width) or int(width)) for name, side, width in rows}
    unit = OliveAccelerator(config)
    expected = {
        name: ("in" if member.flow == In else "out", len(value))
        for name, (member, value) in port_signals(unit).items()
    }
    assert found == {"clk": ("in", 1), "rst": ("in", 1), **expected}


def test_a_changed_table_is_written_anew():
    text = "a\n<!-- causes -->\nold\n<!-- end -->\nb\n"
    assert render(text) == f"a\n<!-- causes -->\n{TABLES['causes']()}\n<!-- end -->\nb\n"
    assert render("nothing <!-- end --> here\n") == "nothing <!-- end --> here\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- cause -->\n<!-- end -->\n", "no table 'cause', only parameters, ports"),
        ("<!-- causes -->\n", "'causes' has no <!-- end -->"),
        ("<!-- causes -->\n<!-- ports -->\n<!-- end -->\n", "'causes' has no"),
        ("<!-- end -->\n", "without a table"),
    ],
)
def test_a_broken_page_is_left_as_it_is(tmp_path, capsys, text, message):
    page = tmp_path / "page.md"
    page.write_text(text)
    assert main([str(page)]) == 2
    assert message in capsys.readouterr().err
    assert page.read_text() == text


def test_files_are_rewritten_in_place(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- formats -->\n<!-- end -->\n")
    assert main([str(page)]) == 0
    assert TABLES["formats"]() in page.read_text()
    assert main([]) == 2
    assert main([str(tmp_path / "none.md")]) == 2
    assert "none.md" in capsys.readouterr().err


class Undocumented(Unit):
    """Nothing is said of `b`.

    Members
    -------
    a: In(1)
        Said.
    """

    def __init__(self):
        super().__init__({"a": In(1), "b": Out(1)})


def test_a_port_without_words_is_no_table():
    with pytest.raises(ValueError, match="no words for the ports b"):
        block(Undocumented())
