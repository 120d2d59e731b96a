"""Where a study's points are kept: a database of Optuna's, a file of SQLite by default.

A finished point is one transaction, so a run that is killed leaves whole points only. What a study
is of is kept beside them, and a store is never used with another study of the same name.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from oleaster import __version__
from oleaster.explore.bulk import add_trials
from oleaster.explore.error import StudyError
from oleaster.explore.evaluate import Outcome
from oleaster.explore.study import Study
from oleaster.explore.workload import NetworkWorkload
from oleaster.models.cache import cache_root

if TYPE_CHECKING:
    import optuna

__all__ = ["Store", "Worker", "default_store"]

Worker = tuple[int, int]
"""(K, N): the Kth of N that share a study, from 1."""

_SPACE = "oleaster"
_ACCURACY = "accuracy "
_OWNERLESS = timedelta(minutes=1)  # between a trial's creation and its owner's name
_TIMEOUT_S = 120.0
_LEAST_POPULATION, _LARGEST_POPULATION = 8, 50  # Optuna's is 50, of however few trials


def default_store(study: Study) -> str:
    """STUDY.db beside the study's file; of one that comes with oleaster, in the current folder."""
    if study.source.endswith(".toml"):
        return str(Path(study.source).with_suffix(".db"))
    return f"{study.source}.db"


class Store:
    """One study in one database. url: a path, or an URL of SQLAlchemy's.

    must_exist: nothing is made where there is nothing.
    Raises StudyError: Optuna is missing, the database cannot be read or is of something else, or
    holds another study of this name.
    """

    def __init__(self, study: Study, url: str, *, must_exist: bool = False) -> None:
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise StudyError(
                f"exploring needs {error.name}: pip install 'oleaster[explore]'"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study, self.shown = study, _shown(url)
        path = _file(url)
        if path is not None:
            _check_file(path, must_exist)
        with self._errors(), self._lock("open", _TIMEOUT_S):
            self._storage, self._optuna = _open(study, url, path, must_exist)
        with self._errors():
            self._check_space()

    @contextmanager
    def running(self, worker: Worker) -> Iterator[None]:
        """Keeps a second process on this machine from doing the same share."""
        try:
            with self._lock(f"{self.study.name} {worker}", 0):
                yield
        except Timeout:
            share = "" if worker[1] == 1 else f" with --worker {worker[0]}/{worker[1]}"
            raise StudyError(
                f"{self.shown}: another run of study {self.study.name!r}{share} is at work; wait "
                "for it, or share the study with --worker"
            ) from None

    def add(self, points: Iterable[tuple[int, Mapping[str, Any], Outcome]]) -> None:
        """Finished points of a grid or of random ones: index, parameters, outcome."""
        from optuna.trial import TrialState, create_trial

        space, study = self.study.space, self.study
        distributions = space.distributions()
        trials = []
        with self._errors():
            for index, point, outcome in points:
                attrs = {"point": index, **_attributes(outcome)}
                done = outcome.reason is None
                trial = create_trial(
                    state=TrialState.COMPLETE if done else TrialState.FAIL,
                    values=[outcome.values[name] for name in study.objectives] if done else None,
                    params=space.stored(point),
                    distributions=distributions,
                    user_attrs=attrs,
                    constraints=study.excesses(outcome.values) if done else None,
                )
                trials.append(trial)
            if trials:
                add_trials(self._storage, study.name, trials)

    def drawn(self, index: int) -> dict[str, Any]:
        """The random point of an index."""
        from optuna.samplers import RandomSampler
        from optuna.trial import TrialState, create_trial

        sampler, blank = RandomSampler(self._seed(index)), create_trial(state=TrialState.WAITING)
        drawn = {
            name: sampler.sample_independent(self._optuna, blank, name, each)
            for name, each in self.study.space.distributions().items()
        }
        return self.study.space.meant(drawn)

    def sampler(self, worker: Worker) -> None:
        """Let TPE or NSGA-II ask from here on; another stream of random numbers in each run."""
        from optuna.samplers import NSGAIISampler, TPESampler

        with self._errors():
            done = len(self._optuna.get_trials(deepcopy=False))
        seed = self._seed(*worker, done)
        if self.study.sampler == "tpe":
            self._optuna.sampler = TPESampler(seed=seed)
        else:
            size = min(_LARGEST_POPULATION, max(_LEAST_POPULATION, self.study.trials // 10))
            self._optuna.sampler = NSGAIISampler(seed=seed, population_size=size)

    def _seed(self, *of: int) -> int:
        """32 bits, by the study's seed and what they are for."""
        digest = hashlib.sha256(f"{self.study.seed} {of}".encode()).digest()
        return int.from_bytes(digest[:4], "little")

    def ask(self, worker: Worker) -> tuple[optuna.Trial, dict[str, Any]]:
        """A new trial, marked as this worker's, and its parameters."""
        with self._errors():
            trial = self._optuna.ask()
            trial.set_user_attr("worker", f"{worker[0]}/{worker[1]}")
            values = {each.name: each.suggest(trial) for each in self.study.space.parameters}
        return trial, self.study.space.meant(values)

    def tell(self, trial: optuna.Trial, outcome: Outcome) -> None:
        """A trial's outcome."""
        from optuna.trial import TrialState

        with self._errors():
            for key, value in _attributes(outcome).items():
                trial.set_user_attr(key, value)
            if outcome.reason is not None:
                self._optuna.tell(trial, state=TrialState.FAIL)
                return
            for name, excess in self.study.excesses(outcome.values).items():
                trial.set_constraint(name, excess)
            self._optuna.tell(trial, [outcome.values[name] for name in self.study.objectives])

    def drop_unfinished(self, worker: Worker) -> None:
        """Fail the trials that this worker was at when it was killed; alone, those of all."""
        from optuna.trial import TrialState

        owner = f"{worker[0]}/{worker[1]}"
        with self._errors():
            for trial in self._optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                named = trial.user_attrs.get("worker")
                started = trial.datetime_start or datetime.min
                lost = named is None and datetime.now() - started > _OWNERLESS
                if worker[1] == 1 or named == owner or lost:
                    self._optuna.tell(trial.number, state=TrialState.FAIL)

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """Those that were evaluated, with metrics or with a reason; not those that were dropped."""
        from optuna.trial import TrialState

        states = (TrialState.COMPLETE, TrialState.FAIL)
        with self._errors():
            found = self._optuna.get_trials(deepcopy=False, states=states)
        return [trial for trial in found if trial.user_attrs.keys() & {"metrics", "reason"}]

    @property
    def accuracies(self) -> dict[str, dict[str, float]]:
        """Figures by pair of formats, see `Accuracy`."""
        with self._errors():
            attrs = self._optuna.user_attrs
        return {k.removeprefix(_ACCURACY): v for k, v in attrs.items() if k.startswith(_ACCURACY)}

    def keep_accuracy(self, formats: str, figures: dict[str, float]) -> None:
        """For the runs after this one."""
        with self._errors():
            self._optuna.set_user_attr(_ACCURACY + formats, figures)

    def _check_space(self) -> None:
        ours = json.loads(json.dumps(_space(self.study)))
        theirs = self._optuna.user_attrs.get(_SPACE)
        if theirs is None:
            if self._optuna.get_trials(deepcopy=False):
                raise StudyError(
                    f"{self.shown}: its study {self.study.name!r} was not made by oleaster; give "
                    "this one another name, or another --store"
                )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna calls it experimental
                self._optuna.set_metric_names(list(self.study.objectives))
            self._optuna.set_user_attr(_SPACE, ours)
            theirs = self._optuna.user_attrs[_SPACE]  # of two that begin together, one wins
        if json.dumps(theirs) != json.dumps(ours):
            raise StudyError(
                f"{self.shown}: holds another study {self.study.name!r}, in which "
                f"{_difference(theirs, ours)}; give this one another name or another --store, or "
                "put back what was changed"
            )

    def _lock(self, what: str, timeout: float) -> FileLock:
        folder = cache_root() / "explore"
        folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(f"{self.shown} {what}".encode()).hexdigest()[:16]
        return FileLock(folder / f"{name}.lock", timeout=timeout)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Whatever is wrong with a database, in one sentence."""
        import sqlalchemy.exc
        from optuna.exceptions import OptunaError

        try:
            yield
        except (OptunaError, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error) as error:
            raise StudyError(f"{self.shown}: {_why(error)}") from error


def _open(
    study: Study, url: str, path: Path | None, must_exist: bool
) -> tuple[optuna.storages.RDBStorage, optuna.Study]:
    import optuna

    creator: dict[str, Any] = {} if path is None else {"creator": _connection(path)}
    try:
        storage = optuna.storages.RDBStorage(
            url if path is None else "sqlite:///study.db", engine_kwargs=creator
        )
    except ImportError as error:
        raise StudyError(f"{_shown(url)}: needs a database's driver: {error}") from error
    except RuntimeError as error:  # another version's tables
        raise StudyError(f"{_shown(url)}: {_why(error)}") from error
    if must_exist:
        try:
            return storage, optuna.load_study(study_name=study.name, storage=storage)
        except KeyError:
            raise StudyError(f"{_shown(url)}: has no study {study.name!r}; run it") from None
    minimize, maximize = optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE
    opened = optuna.create_study(
        study_name=study.name,
        storage=storage,
        directions=[minimize if each == "min" else maximize for each in study.objectives.values()],
        load_if_exists=True,
    )
    return storage, opened


def _connection(path: Path) -> Callable[[], sqlite3.Connection]:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=_TIMEOUT_S, check_same_thread=False)
        # A commit then writes to the log without waiting for the disk: a killed process loses
        # nothing, and readers never wait.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    return connect


def _file(url: str) -> Path | None:
    """The path of a store in a file."""
    if "://" not in url:
        return Path(url)
    start = "sqlite:///"
    return Path(url[len(start) :]) if url.startswith(start) and len(url) > len(start) else None


def _check_file(path: Path, must_exist: bool) -> None:
    if path.exists() and not path.is_file():
        raise StudyError(f"{path}: is no file, expected a store of Optuna's")
    if not path.exists():
        if must_exist:
            raise StudyError(f"{path}: no such store; run the study first")
        if not path.parent.is_dir():
            raise StudyError(f"{path}: the folder {path.parent} does not exist; make it first")
        return
    if not path.stat().st_size:
        return
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in rows}
    except sqlite3.Error as error:
        raise StudyError(f"{path}: cannot be read as a store of studies: {error}") from error
    if tables and "studies" not in tables:
        raise StudyError(f"{path}: is a database of something else (table {min(tables)!r})")


def _space(study: Study) -> dict[str, Any]:
    """What must be the same for points to be comparable; order counts."""
    return {
        "version": __version__,
        "design": study.design,
        "sampler": study.sampler,
        "seed": study.seed,
        "workload": study.workload.model_dump(),
        "parameters": dict(study.given),
        "objectives": dict(study.objectives),
        "constraints": {name: dict(each) for name, each in study.constraints.items()},
        "files": _files(study),
    }


def _files(study: Study) -> dict[str, str]:
    """Digests of what the study is made from, beside its own file."""
    workload = study.workload
    names = list(study.designs)
    if isinstance(workload, NetworkWorkload):
        names += [workload.network, workload.energy or ""]
    else:
        names += [workload.scene]
    found = {name: study.path(name) for name in names}
    for design in study.designs:
        energy = study.design_of(workload, design, {}).energy
        found[energy] = energy  # relative to the design, which the design has taken care of
    return {
        name: hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
        for name, path in found.items()
        if name.endswith((".csv", ".onnx", ".toml", ".npz"))
    }


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """The first thing that differs."""
    for key in ours:
        was, now = theirs.get(key), ours[key]
        if was == now:
            continue
        if isinstance(was, dict) and isinstance(now, dict):
            name = next(name for name in {**was, **now} if was.get(name) != now.get(name))
            if key == "files":
                return f"{name} had another content"
            return f"{key}.{name} was {_said(was.get(name))}, and is {_said(now.get(name))}"
        return f"{key} was {_said(was)}, and is {_said(now)}"
    return "parameters, objectives or constraints came in another order"


def _said(value: object) -> str:
    return "not there" if value is None else repr(value)


def _attributes(outcome: Outcome) -> dict[str, Any]:
    """In one attribute: each is a row in the database."""
    if outcome.reason is not None:
        return {"reason": outcome.reason}
    return {"metrics": dict(outcome.values)}


def _shown(url: str) -> str:
    """Without a password."""
    if "://" not in url:
        return url
    import sqlalchemy

    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        raise StudyError(
            f"--store {url.partition('://')[0]}://...: is no URL of a database, as "
            "postgresql://user@host/name"
        ) from None


def _why(error: BaseException) -> str:
    """The cause's first line: SQLAlchemy adds the statement and a link, Optuna hides the cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    original = getattr(error, "orig", None) or error
    return f"cannot be used as a store: {str(original).splitlines()[0]}"
