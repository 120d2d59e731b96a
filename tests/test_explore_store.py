"""A study's store: what a kill leaves, runs that share one, and what other programs see in it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from oleaster.explore import load_study, run_study, stored_study
from oleaster.explore.bulk import add_trials
from oleaster.explore.evaluate import Outcome
from oleaster.explore.store import Store

optuna = pytest.importorskip("optuna")

STUDY = """
design = "olive-64x64"

[workload]
network = "bert-base"
memory = "real"

[parameters]
rows = {min = 8, max = ROWS, step = 8}
cols = {min = 8, max = 64, step = 8}

[objectives]
cycles = "min"
energy_uj = "min"

[constraints]
dram_mb = {max = 100}
"""
COMMAND = "import sys; from oleaster.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OLEASTER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")


def write(rows, extra=""):
    Path("s.toml").write_text(extra + STUDY.replace("ROWS", str(rows)))


def start(*arguments):
    """A process of its own group, as a shell starts one."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "explore", "s.toml", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ask(question, *values):
    """Rows of the store; none before there is one."""
    try:
        with sqlite3.connect("file:s.db?mode=ro", uri=True, timeout=30) as connection:
            return connection.execute(question, values).fetchall()
    except sqlite3.OperationalError:
        return []


def trials():
    return (
        ask("SELECT count(*) FROM trials")[0][0]
        if Path("s.db").exists() and ask("SELECT name FROM sqlite_master WHERE name = 'trials'")
        else 0
    )


def indexes():
    """How often the store has each point."""
    rows = ask("SELECT value_json FROM trial_user_attributes WHERE key = 'point'")
    return Counter(int(value) for (value,) in rows)


def wait_for(condition, process, seconds=60):
    """Whether it held before the process ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.01)
    raise AssertionError("waited too long")


def group(process):
    """Processes that are left of a group."""
    left = []
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group = each.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of_group) == process.pid and state != "Z":
            left.append(each.parent.name)
    return left


def kill_and_resume(kills, points):
    """SIGKILL whenever some more points are there; then to the end."""
    killed = 0
    while killed < kills:
        before = trials()
        process = start("--jobs", "2")
        if wait_for(lambda before=before: trials() > before + points // (4 * kills), process):
            process.kill()
            killed += 1
        process.wait(120)  # not for its pipes, which orphans would hold
        assert process.returncode in (-signal.SIGKILL, 0)
        until = time.monotonic() + 20
        while group(process) and time.monotonic() < until:
            time.sleep(0.02)
        orphans = group(process)
        if orphans:
            os.killpg(process.pid, signal.SIGKILL)
        assert not orphans  # nobody works on for a parent that is gone
        process.communicate()
        assert sorted(indexes().values()) == [1] * trials()
        assert process.returncode or killed, "the study was done before it was killed once"
        if not process.returncode:
            break
    assert killed == kills
    found = run_study("s.toml")
    assert indexes() == Counter(range(points))
    assert [point.number for point in found.points] == list(range(points))
    return found


def test_killed_and_resumed_every_point_is_there_once():
    write(320)
    found = kill_and_resume(2, 320)
    assert found.points == run_study("s.toml", store="undisturbed.db").points


@pytest.mark.more
def test_killed_ten_times():
    write(2048)
    kill_and_resume(10, 2048)


@pytest.mark.parametrize(
    "sent", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.more)]
)
def test_an_interrupt_keeps_what_is_there(sent):
    write(320)
    process = start("--jobs", "2")
    assert wait_for(lambda: trials() > 20, process)
    process.send_signal(sent)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")
    assert not group(process)
    assert 20 < trials() < 320
    assert len(run_study("s.toml").points) == 320
    assert indexes() == Counter(range(320))


def test_two_workers_share_a_store():
    write(80)
    workers = [start("--jobs", "1", "--worker", f"{k}/2") for k in (1, 2)]
    for worker in workers:
        _, err = worker.communicate(timeout=120)
        assert (worker.returncode, err) == (0, "")
    assert indexes() == Counter(range(80))
    numbers = ask("SELECT number FROM trials ORDER BY trial_id")
    assert numbers == [(number,) for number in range(80)]


def test_workers_that_learn_share_their_trials_and_drop_those_of_a_killed_one():
    write(64, 'sampler = "tpe"\ntrials = 20\n')
    study = load_study("s.toml")
    store = Store(study, "s.db")
    store.sampler((1, 2))
    trial, point = store.ask((1, 2))
    store.tell(trial, Outcome({"cycles": 5, "energy_uj": 1.0, "dram_mb": 200.0}))
    store.ask((1, 2))  # and is killed
    store.ask((2, 2))  # another is at work
    workers = [start("--jobs", "1", "--worker", f"{k}/2") for k in (1, 2)]
    for worker in workers:
        _, err = worker.communicate(timeout=120)
        assert (worker.returncode, err) == (0, "")
    states = Counter(state for (state,) in ask("SELECT state FROM trials"))
    assert states == {"COMPLETE": 20, "FAIL": 2}
    found = stored_study("s.toml")
    assert len(found.points) == 20
    assert found.points[0].parameters == point
    assert not found.points[0].feasible
    owners = Counter(
        json.loads(value)
        for (value,) in ask(
            "SELECT value_json FROM trial_user_attributes JOIN trials USING (trial_id) "
            "WHERE key = 'worker' AND state = 'COMPLETE'"
        )
    )
    assert owners == {"1/2": 10, "2/2": 10}


def test_a_share_is_run_once_at_a_time():
    write(16)
    store = Store(load_study("s.toml"), "s.db")
    with store.running((1, 2)):
        with pytest.raises(ValueError, match="with --worker 1/2 is at work"):
            run_study("s.toml", worker=(1, 2))
        assert len(run_study("s.toml", worker=(2, 2)).points) == 8
    assert len(run_study("s.toml", worker=(1, 2)).points) == 16


def test_what_is_written_at_once_is_what_optuna_writes(monkeypatch):
    """Row for row, in every table."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.trial import TrialState, create_trial

    distributions = {
        "kind": CategoricalDistribution(["a", True, 3]),
        "rows": IntDistribution(2, 64, step=2),
        "clock": FloatDistribution(1.0, 1e3, log=True),
    }
    params = {"kind": True, "rows": 8, "clock": 0.1 + 100}
    made = [
        create_trial(
            values=[1.5, 1 / 3],
            params=params,
            distributions=distributions,
            user_attrs={"point": 3, "metrics": {"a": 1}},
            constraints={"x max": -2.5},
        ),
        create_trial(
            state=TrialState.FAIL,
            params=params,
            distributions=distributions,
            user_attrs={"point": 4, "reason": "ä"},
        ),
    ]
    tables = []
    for name in ("ours.db", "optunas.db"):
        storage = optuna.storages.RDBStorage(f"sqlite:///{name}")
        first = optuna.create_study(storage=storage, study_name="before")
        first.add_trial(create_trial(value=1.0))
        study = optuna.create_study(
            storage=storage, study_name="s", directions=["minimize", "maximize"]
        )
        for _ in range(2):  # numbers go on from what is there
            if name == "ours.db":
                add_trials(storage, "s", made)
            else:
                study.add_trials(made)
        storage.engine.dispose()
        with sqlite3.connect(name) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            kept = {
                each: connection.execute(f"SELECT * FROM {each} WHERE {where}").fetchall()
                for (each,) in names
                for where in ["trial_id > 1" if each.startswith("trial") else "1"]
            }
        connection.close()
        tables.append(kept)
    ours, theirs = tables
    assert sum(map(len, ours.values())) > 30
    assert ours == theirs


def test_the_dashboard_shows_a_store():
    pytest.importorskip("optuna_dashboard")
    write(16)
    run_study("s.toml")
    script = Path(sys.executable).with_name("optuna-dashboard")
    command = [script, "sqlite:///s.db", "--host", "127.0.0.1", "--port", "0"]
    free = subprocess.run(
        [
            sys.executable,
            "-c",
            "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0));"
            "print(s.getsockname()[1])",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    command[-1] = free.stdout.strip()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            answer = None

            def answers():
                nonlocal answer
                try:
                    with urllib.request.urlopen(
                        f"http://127.0.0.1:{command[-1]}/api/studies"
                    ) as it:
                        answer = json.load(it)
                except OSError:
                    time.sleep(0.2)
                return answer is not None

            assert wait_for(answers, server)
            (study,) = answer["study_summaries"]
            assert study["study_name"] == "s"
            url = f"http://127.0.0.1:{command[-1]}/api/studies/{study['study_id']}?after=0"
            with urllib.request.urlopen(url) as page:
                shown = json.load(page)
        finally:
            os.kill(server.pid, signal.SIGTERM)
    assert len(shown["trials"]) == 16
    assert shown["objective_names"] == ["cycles", "energy_uj"]
