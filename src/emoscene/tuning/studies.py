"""A study that any number of workers share, in any database: Optuna's own, so that its dashboard opens it.

    with opened(url, "tuned", call, first) as study:    made once, its first trial the default configuration
        work(study, 12, objective)                      a worker's part of twelve trials; waits for the others' last

Calling again joins in, or goes on: what is finished is in the database and stays. A worker shows every few seconds
that it is alive. When one falls silent (killed, or its machine gone), the next worker marks its trial as failed and
puts the same parameters back into the queue, at most three times over. A trial that was put back counts for nothing,
and neither does one that a worker began while another began the last; so `trials` is kept exactly.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from emoscene.core import seeds
from emoscene.core.call_identity import find_difference
from emoscene.core.errors import EmosceneError, UsageError, missing_extra
from emoscene.core.migration import check_search
from emoscene.core.plain_text import format_count

try:
    import optuna
    from optuna import Study, Trial, TrialPruned
    from optuna.exceptions import ExperimentalWarning, StorageInternalError
    from optuna.storages import RDBStorage, fail_stale_trials
    from optuna.trial import FrozenTrial, TrialState
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError
except ImportError as error:
    raise missing_extra("tune") from error

__all__ = [
    "FrozenTrial",
    "Study",
    "Trial",
    "TrialPruned",
    "best_trial",
    "check_storage",
    "counted_trials",
    "finished_trials",
    "open_study",
    "run_trials",
]
CALL, QUEUED, BEFORE, SURPLUS = "call", "queued", "before", "surplus"
"""User attributes: the study's call; a trial's parameters when queued, the trials that it replaces, one too many."""
STARTUP = 4  # trials before the sampler leans on what it saw, and before one is stopped for lagging behind
MISSED = 3  # signs of life, and a worker counts as dead
BRACES = {"{", "}"}  # of a URL, in which Optuna fills in its version by str.format
TRIES = 4  # of the same parameters, where their worker dies or fails
LIVE = {"sqlite": {"timeout": 60}, "postgresql": {"connect_timeout": 10}}
"""What a database's driver is told: how long to wait for another worker's write, and for an answer."""


class SurplusTrial(Exception):
    """Another worker began the last trial at the same moment."""


def locate_database(folder: Path) -> str:
    """Name the file of a study's database in a folder by a URL, in which `?`, `%` and the like are escaped.

    Args:
        folder: The folder.

    Returns:
        The URL.

    Raises:
        UsageError: No URL can name that file.
    """
    file = str(folder.resolve() / "study.db")
    url = URL.create("sqlite", database=file).render_as_string(hide_password=False)
    if make_url(url).database != file or BRACES & set(url):
        raise UsageError(f"{folder} has a name that no URL of a database can hold: give another --out, or --storage")
    return url


@contextmanager
def check_storage(url: str) -> Iterator[None]:
    """Translate errors of the database inside; no password is shown.

    Args:
        url: The URL of the database.

    Yields:
        Nothing.

    Raises:
        UsageError: The URL is wrong.
        EmosceneError: The database cannot be reached, or is damaged.
    """
    try:
        shown = make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        raise UsageError("--storage is no URL: write sqlite:///FILE or postgresql://USER@HOST/DATABASE") from None
    if BRACES & set(url):
        raise UsageError(
            "--storage holds { or }, which Optuna reads as a place to fill: write %7B and %7D, or rename it"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    except ArgumentError as error:
        raise UsageError(f"--storage {shown} is off: {_first_line(error)}") from error
    except (SQLAlchemyError, StorageInternalError) as error:
        if _is_damaged(error):
            raise EmosceneError(
                f"{shown} is damaged, or no database ({_first_line(error)}): put a copy of it back, or remove it and "
                "search anew with another --out"
            ) from error
        raise EmosceneError(
            f"{shown} cannot be reached ({_first_line(error)}): the same call goes on once it can"
        ) from error


def _is_damaged(error: BaseException) -> bool:
    """Whether a database was reached and is none: SQLAlchemy's plain `DatabaseError`, by which SQLite says so."""
    return type(error) is DatabaseError or type(error.__cause__) is DatabaseError


def _first_line(error: BaseException) -> str:
    """What the database said, in its own first line."""
    return str(error.__cause__ or error).strip().partition("\n")[0]


@contextmanager
def open_study(
    url: str,
    name: str,
    call: Mapping[str, Any],
    first: Mapping[str, Any],
    pulse: int = 30,
    alone: AbstractContextManager[Any] | None = None,
) -> Iterator[Study]:
    """Open a study, or create it with its first trial.

    Args:
        url: The URL of the database.
        name: The name of the study.
        call: What makes two calls the same.
        first: The parameters of the first trial.
        pulse: Seconds between a worker's signs of life, at least 1.
        alone: A lock that is held while the study is created.

    Yields:
        The study, which is closed afterwards.

    Raises:
        UsageError: The study belongs to another call or program, or version 0.1 began it.
        EmosceneError: The database's driver is missing, its tables are another Optuna's, or what they hold is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with ExitStack() as opened:
        with alone or nullcontext():
            storage = _make_storage(url, pulse)
            opened.callback(storage.engine.dispose)
            opened.callback(storage.remove_session)
            pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP)
            study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", pruner=pruner, load_if_exists=True
            )
            here = json.loads(json.dumps(call, default=str))
            there = _read_call(study)
            if there is None:
                study.set_user_attr(CALL, here)
                study.enqueue_trial(dict(first), user_attrs={QUEUED: dict(first)})
        apart = ""
        if there is not None:
            check_search(there, f"the study {name!r}")
            apart = find_difference(there, here)
        if apart:
            raise UsageError(f"the study {name!r} there is another call's: {apart}; name another --out or --storage")
        yield study


def _read_call(study: Study) -> dict[str, Any] | None:
    """The call that began a study; None where it was just made.

    Raises UsageError for a study that another program began, and EmosceneError for one whose record is damaged.
    """
    try:
        attributes = study.user_attrs
        begun = bool(study.get_trials(deepcopy=False))
    except (ValueError, TypeError, KeyError) as error:  # text that is no JSON, or a state that nobody knows
        raise EmosceneError(
            f"the study {study.study_name!r} is damaged ({_first_line(error)}): put a copy of its database back, or "
            "search anew with another --out"
        ) from error
    there = attributes.get(CALL)
    if there is None and not begun and not attributes:
        return None
    if not isinstance(there, dict):
        raise UsageError(
            f"the study {study.study_name!r} there was not begun by emoscene: name another --out or --storage"
        )
    return there


def _make_storage(url: str, pulse: int) -> RDBStorage:
    kind = make_url(url).get_backend_name()
    try:
        return RDBStorage(
            url,
            {"connect_args": LIVE.get(kind, {}), "pool_pre_ping": True},
            heartbeat_interval=pulse,
            grace_period=MISSED * pulse,
            heartbeat_stale_trial_callback=requeue,
        )
    except RuntimeError as error:  # its tables' version, in a sentence that names the remedy
        raise EmosceneError(f"the study's database cannot be used: {error}") from error
    except ImportError as error:
        driver = f"SQLAlchemy's driver for {kind}"
        if kind == "postgresql":
            driver = "'psycopg[binary]'"
        raise EmosceneError(f"the driver for {kind} is missing: pip install {driver}") from error


def requeue(study: Study, trial: FrozenTrial) -> None:
    """Queue a failed trial's parameters again, unless they failed `TRIES` times.

    Args:
        study: The study.
        trial: The failed trial.
    """
    params = {**trial.user_attrs.get(QUEUED, {}), **trial.params}
    before = [*trial.user_attrs.get(BEFORE, ()), trial.number]
    if len(before) < TRIES:
        study.enqueue_trial(params, user_attrs={QUEUED: params, BEFORE: before})


def counted_trials(study: Study) -> list[FrozenTrial]:
    """List the trials, without those that were queued again and those beyond the wanted number.

    Args:
        study: The study.

    Returns:
        The trials, by number.
    """
    trials = study.get_trials(deepcopy=False)
    replaced: set[int] = set()
    for trial in trials:
        replaced.update(trial.user_attrs.get(BEFORE, ()))
    return [trial for trial in trials if trial.number not in replaced and SURPLUS not in trial.user_attrs]


def finished_trials(study: Study) -> list[FrozenTrial]:
    """List the trials that are complete, pruned or failed.

    Args:
        study: The study.

    Returns:
        The trials, by number.
    """
    return [trial for trial in counted_trials(study) if trial.state.is_finished()]


def best_trial(study: Study) -> FrozenTrial | None:
    """Find the best trial that meets every constraint.

    Args:
        study: The study.

    Returns:
        The trial, or None.
    """
    try:
        return study.best_trial
    except ValueError:
        return None


def run_trials(
    study: Study,
    trials: int,
    objective: Callable[[Trial], float],
    *,
    seed: int = 0,
    pulse: int = 30,
    on_message: Callable[[str], None] = print,
) -> None:
    """Run trials until the study has enough, then wait until those of other workers are finished.

    An error of `objective` is raised again, after its trial was queued for the next worker.

    Args:
        study: The study.
        trials: The number of trials of all workers together.
        objective: Runs a trial and returns its value.
        seed: The seed of the sampler.
        pulse: Seconds between a worker's signs of life, at least 1.
        on_message: Receives sentences about the progress.
    """
    waiting = False
    while True:
        fail_stale_trials(study)
        found = counted_trials(study)
        others = sum(not trial.state.is_finished() for trial in found)
        if any(trial.state == TrialState.WAITING for trial in found) or len(found) < trials:
            waiting = _run_one(study, trials, objective, seed)
            on_message(f"{len(finished_trials(study))} of {format_count(trials, 'trial')} finished")
        elif not others:
            return
        else:
            if not waiting:
                on_message(f"waiting for {format_count(others, 'trial')} of other workers")
            waiting = True
            time.sleep(min(pulse, 5))


def _run_one(study: Study, trials: int, objective: Callable[[Trial], float], seed: int) -> bool:
    """One trial; which parameters it tries follows from the seed and from the trials before it."""
    drawn = seeds.derive_seed(seed, "tune", len(study.get_trials(deepcopy=False))) % 2**32
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=drawn)
    taken: list[int] = []

    def run_counted(trial: Trial) -> float:
        if trial.number not in [one.number for one in counted_trials(study)[:trials]]:
            trial.set_user_attr(SURPLUS, True)
            raise SurplusTrial
        taken.append(trial.number)
        return objective(trial)

    try:
        study.optimize(run_counted, n_trials=1, catch=(SurplusTrial,))
    except BaseException:
        for number in taken:
            requeue(study, study.get_trials(deepcopy=False)[number])
        raise
    return False
