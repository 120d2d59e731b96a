"""Waveforms: what cosim writes, what is read from them and what is drawn."""

import json
import os
import re
from pathlib import Path

import pytest
from vcd import VCDWriter

from oleaster.cli import main
from oleaster.waves.drawing import draw, svg
from oleaster.waves.file import WaveFile
from oleaster.waves.ports import group_ports, manifest_of
from oleaster.waves.view import view_of, write_view

PORTS = [
    {"name": "clk", "width": 1, "signed": False},
    {"name": "i_payload", "width": 12, "fields": [
        {"name": "pair", "offset": 0, "width": 8, "count": 2,
         "element": {"width": 4, "signed": True}},
        {"name": "tag", "offset": 8, "width": 4, "signed": False},
    ]},
    {"name": "i_valid", "width": 1, "signed": False},
    {"name": "i_ready", "width": 1, "signed": False},
    {"name": "level", "width": 6, "signed": True},
]  # fmt: skip


@pytest.fixture
def handshake(tmp_path):
    """Words 0x1f2 and 0x1f2 again are taken in cycles 2 and 3, 0xa08 waits in 4 and is taken in 5.

    The clock rises at 5, 15, ...; registers change at its edges, inputs in between.
    """
    path = tmp_path / "small.vcd"
    with path.open("w") as file, VCDWriter(file, timescale="1 ns", date="") as writer:
        names = ("clk", 1), ("i_payload", 12), ("i_valid", 1), ("i_ready", 1), ("level", 6)
        v = {n: writer.register_var("chip", n, "wire", w, init=0) for n, w in names}
        deep = writer.register_var("chip.sub", "state", "wire", 3, init="x")
        # A wire for a part, as Verilog may have it: the part counts, which knows its sign.
        writer.register_var("chip.i_payload", "pair", "wire", 8, init=0)
        changes = {"i_payload": {1: 0x1F2, 4: 0xA08}, "i_valid": {2: 1, 6: 0}}
        changes |= {"i_ready": {2: 1, 4: 0, 5: 1}, "level": {3: -5, 8: 31}}
        for cycle in range(10):
            for name in ("i_payload", "i_valid", "i_ready"):
                if cycle in changes[name]:
                    writer.change(v[name], 10 * cycle, changes[name][cycle])
            writer.change(v["clk"], 10 * cycle + 5, 1)
            if cycle in changes["level"]:  # a register: seen from the next edge on
                writer.change(v["level"], 10 * cycle + 5, changes["level"][cycle] & 63)
            writer.change(deep, 10 * cycle + 5, cycle & 7)
            writer.change(v["clk"], 10 * cycle + 10, 0)
    manifest_of(path).write_text(json.dumps({"schema": "oleaster-design", "ports": PORTS}))
    return path


def test_values_are_those_that_edges_sample(handshake):
    file = WaveFile(handshake)
    assert (file.clock.name, file.cycles) == ("clk", 10)

    def values(name, first=0, cycles=10):
        (signal,) = file.select([name])
        return file.values(signal, first, cycles)

    assert values("i_valid") == [0, 0, 1, 1, 1, 1, 0, 0, 0, 0]
    assert values("level") == [0, 0, 0, 0, -5, -5, -5, -5, -5, 31]
    assert values("sub.state", 0, 3) == [None, 0, 1]
    assert values("i_payload.pair", 3, 2) == [(2, -1), (-8, 0)]
    assert values("i_payload.pair[1]", 3, 2) == [-1, 0]
    assert values("i_payload.tag", 3, 2) == [1, 10]
    assert values("i_payload[11:7]", 3, 2) == [3, 20]
    assert values("level[5]", 8, 2) == [1, 0]
    assert [each.name for each in file.select(["*.tag", "sub.*", "level"])] == [
        "i_payload.tag", "sub.state", "level",
    ]  # fmt: skip


def test_picture(handshake):
    file = WaveFile(handshake)
    picture = draw(file, file.select(["level", "i_payload.tag", "i_ready", "i_valid"]), 1, 8)
    assert picture["head"] == {"text": "small.vcd", "tock": 1}
    assert picture["signal"] == [
        {"name": "clk", "wave": "p......."},
        {"name": "level", "wave": "2..2....", "data": ["0", "-5"]},
        [
            "i",
            {"name": "valid", "wave": "01...0.."},
            {"name": "ready", "wave": "01.01..."},
            {"name": "tag", "wave": "x5545x..", "data": ["1", "1", "a", "a"]},
        ],
    ]
    text = svg(picture)
    assert text.startswith("<svg")
    labels = re.findall(r"<tspan[^>]*>([^<]*)</tspan>", text)
    assert {"small.vcd", "tag", "a", "-5"} <= set(labels)


def test_groups_of_ports():
    names = ["clk", "rst", "i_payload", "i_valid", "i_ready", "m_axi_awvalid", "m_axi_awready"]
    names += ["m_axi_awaddr", "m_axi_wvalid", "m_axi_wready", "m_axi_wdata", "invalid", "busy"]
    timing, streams, rest = group_ports(names)
    assert timing == ["clk", "rst"]
    assert {each.name: each.payload for each in streams} == {
        "i": ("i_payload",),
        "m_axi_aw": ("m_axi_awaddr",),
        "m_axi_w": ("m_axi_wdata",),
    }
    assert rest == ["invalid", "busy"]


def test_view(handshake):
    text = write_view(handshake).read_text()
    assert '[dumpfile] "small.vcd"' in text
    assert str(handshake.parent) not in text
    groups = re.findall(r"^-(.*)$", text, re.M)
    assert list(dict.fromkeys(groups)) == ["clock and reset", "i", "other ports", "sub"]
    # Signed values are shown so; elements and fields name their bits from the left end on.
    word = "chip.i_payload[11:0]"
    assert f"#{{i_payload.tag}} (0){word} (1){word} (2){word} (3){word}\n" in text
    assert re.search(rf"@42\d\n#{{i_payload.pair\[0\]}} \(8\){re.escape(word)} ", text)
    assert re.search(r"@42\d\n\+{level} chip.level\[5:0\]\n", text)
    # One that a user has saved in GTKWave is kept, ours is written anew.
    view_of(handshake).write_text(text.replace("level", "old"))
    assert write_view(handshake).read_text() == text
    view_of(handshake).write_text("[*] GTKWave Analyzer\n")
    assert write_view(handshake).read_text() == "[*] GTKWave Analyzer\n"


def refused(capsys, *arguments):
    assert main(list(map(str, arguments))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_no_such_signal_or_cycle(capsys, handshake, tmp_path):
    out = ("--wavedrom", tmp_path / "out.svg")
    for options, sentence in [
        (("--signals", "i_vaild"), "no signal i_vaild; did you mean i_valid"),
        (("--signals", "level[6]"), "level has 6 bits, 0 to 5"),
        (("--signals", "i_payload.pair[2]"), "pair has 2 elements, 0 to 1"),
        (("--from", "8", "--cycles", "3", *out), "has cycles 0 to 9; 8 to 10 were asked for"),
        (("--from", "10", *out), "has cycles 0 to 9; 10 were asked"),
        (("--cycles", "201", *out), "up to 200 cycles"),
        (("--from", "1"), "say what --wavedrom draws"),
        (("--wavedrom", "out.png"), "ends in .svg or .json"),
        (("--wavedrom", handshake.with_name("no") / "x.svg"), "does not exist"),
    ]:
        assert sentence in refused(capsys, "waves", handshake, *options)
    assert not (tmp_path / "out.svg").exists()


def damaged(data):
    yield "empty", b"", "is an empty file"
    yield "text", b"hello\n", "is no waveform"
    yield "cut", data[: len(data) // 2], "is truncated: its last line"
    yield "header", data.split(b"$enddef")[0], "damaged or truncated"
    yield "value", data + b'#300\nb1012 "\n', "damaged or truncated"
    yield "time", data + b"#3\n", "its times run backwards"
    yield "signals", b"$timescale 1 ns $end\n$enddefinitions $end\n#0\n", "holds no signals"


def test_damaged_files(capfd, handshake, tmp_path):
    for name, content, sentence in damaged(handshake.read_bytes()):
        bad = tmp_path / f"{name}.vcd"
        bad.write_bytes(content)
        assert sentence in refused(capfd, "waves", bad), name
    assert "no such file" in refused(capfd, "waves", tmp_path / "none.fst")
    assert "not a regular file" in refused(capfd, "waves", tmp_path)


def test_fst_holds_the_same(handshake):
    """tests/handshake.fst is the fixture as GTKWave's vcd2fst writes it."""
    vcd, fst = WaveFile(handshake), WaveFile(Path(__file__).parent / "handshake.fst")
    for signal in fst.signals:
        (same,) = (each for each in vcd.signals if each.name == signal.name)
        assert fst.values(signal, 0, 10) == [
            value & ((1 << same.width) - 1) if isinstance(value, int) else value
            for value in vcd.values(same, 0, 10)
        ]


def test_cut_fst(capfd, tmp_path):
    data = (Path(__file__).parent / "handshake.fst").read_bytes()
    for size in (len(data) // 4, len(data) // 2, len(data) - 20):
        (tmp_path / "cut.fst").write_bytes(data[:size])
        assert "damaged or truncated" in refused(capfd, "waves", tmp_path / "cut.fst")


@pytest.mark.rtl
def test_waves_of_a_bench(capsys, monkeypatch, tmp_path):
    """A PE hands its operands on with each step, which shows what edges sample."""
    monkeypatch.chdir(tmp_path)
    formats = ("--set", "formats_a=olive4", "--set", "formats_b=olive4")
    assert main(["cosim", "pe", *formats, "--waves", "pe.vcd", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["waves"], answer["view"]) == ("pe.vcd", "pe.gtkw")
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "pe.design.json",
        "pe.gtkw",
        "pe.vcd",
    ]
    file = WaveFile(Path("pe.vcd"))
    values = {s.name: file.values(s, 5, 1000) for s in file.signals}
    assert len(set(values["a"])) > 10
    for step in range(999):
        if values["en"][step] and not values["rst"][step]:
            assert values["a_out"][step + 1] == values["a"][step]
            assert values["b_out.integer"][step + 1] == values["b.integer"][step]

    assert "ends in .fst or .vcd" in refused(capsys, "cosim", "pe", "--waves", "pe.ghw")
    assert "does not exist" in refused(capsys, "cosim", "pe", "--waves", "no/pe.vcd")
    compiler = tmp_path / "g++"  # which finds no header
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "liblz4-dev" in refused(capsys, "cosim", "pe", "--waves", "pe.fst")
