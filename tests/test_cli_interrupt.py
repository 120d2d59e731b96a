"""Who interrupts or terminates the command is told so, whatever it was at."""

import os
import select
import signal
import subprocess
import sys
import time

import pytest

from oleaster.sim.rtl.toolchain import run_tool

INTERRUPTED = 130, "", "interrupted\n"


def ends(process, number):
    """Exit status, stdout, stderr, and how long they took after the signal."""
    process.send_signal(number)
    sent = time.monotonic()
    out, err = process.communicate(timeout=120)
    return (process.returncode, out, err), time.monotonic() - sent


def start(*arguments, cwd=None, cache=None):
    env = os.environ | ({"OLEASTER_CACHE": str(cache)} if cache else {})
    return subprocess.Popen(
        [sys.executable, "-m", "oleaster", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=env,
    )  # fmt: skip


def slow_import(folder):
    """A folder whose `typer` takes long to import, and says when that begins."""
    (folder / "typer.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_modules_are_imported(tmp_path, number):
    process = start("formats", cwd=slow_import(tmp_path))
    assert process.stdout.readline() == "here\n"
    found, seconds = ends(process, number)
    assert found == INTERRUPTED
    assert seconds < 10


def test_in_code_from_a_string(tmp_path):
    """Python then forgets its exit status, but for who leaves at once."""
    code = "import time\nprint('here', flush=True)\ntime.sleep(60)"
    (tmp_path / "numba.py").write_text(f"exec({code!r})\n")
    process = start("nerf", "simulate", "lego", cwd=tmp_path)
    assert process.stdout.readline() == "here\n"
    assert ends(process, signal.SIGINT)[0] == INTERRUPTED


@pytest.mark.parametrize("after", [0.4, 1.0])
def test_in_the_first_seconds(tmp_path, after):
    process = start("nerf", "simulate", "lego", "-o", "lego.png", cwd=tmp_path)
    time.sleep(after)
    assert ends(process, signal.SIGINT)[0] == INTERRUPTED
    assert list(tmp_path.iterdir()) == []


def test_a_tool_ends_with_all_that_it_started(tmp_path):
    """Whoever still runs holds the pipe open."""
    ours, theirs = os.pipe()
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    with pytest.raises(KeyboardInterrupt):
        run_tool(["sh", "-c", "sleep 60 & wait"], tmp_path, os.environ, theirs, None)
    os.close(theirs)
    assert select.select([ours], [], [], 10)[0]
    assert os.read(ours, 1) == b""
    os.close(ours)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_while_a_frame_is_compiled(tmp_path):
    pytest.importorskip("numba")
    cache, folder = tmp_path / "cache", tmp_path / "here"
    folder.mkdir()
    process = start("nerf", "simulate", "duck", "-o", "duck.png", cwd=folder, cache=cache)
    while not (cache / "kernels").exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(2)
    found, seconds = ends(process, signal.SIGTERM)
    assert found == INTERRUPTED
    assert seconds < 10
    assert list(folder.iterdir()) == []
