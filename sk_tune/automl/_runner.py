# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Runs searches against a clock, keeps their trials and tells how far it is.

What was found is kept in a folder, too, if there is one, for a later fit to resume.
"""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import PicklingError
from typing import Any, Self

import joblib
import numpy as np
from sklearn.exceptions import FitFailedWarning
from sklearn.pipeline import Pipeline

from sk_tune._files import replaced_file, sign
from sk_tune._text import LiveLine, error_line
from sk_tune.automl._blend import Trial, best_of, trials_of
from sk_tune.automl._models import Model, fits_within
from sk_tune.automl._problem import Problem
from sk_tune.automl._resources import Clock, Cost
from sk_tune.automl._splitting import Split
from sk_tune.engine import have_to_start, start_meanwhile, value_fingerprint
from sk_tune.exceptions import StoreError, warn_user
from sk_tune.report import SearchPart, search_part
from sk_tune.search import GridSearchCV
from sk_tune.training import processes_per_cpu

# Errors of a model that do not end the course.
ERRORS = (ValueError, TypeError, RuntimeError, ArithmeticError, MemoryError, LookupError)
# Trials whose fitted models a search keeps.
_N_KEPT = 8
# Files in the folder: of all that ended, and of networks in training.
_TRIALS, _NETWORKS = "trials.joblib", "{}.networks.db"
# A twentieth of the time at most goes to writing.
_SECONDS_FOR_EACH_OF_WRITING = 20
# Seconds of a search of networks from which on each of them is kept as it ends.
_WORTH_KEEPING = 20.0
_SECONDS_BETWEEN_NEWS = 0.5
# The multiple of the time meant for a search after which its networks are cut.
_MOST_OF_PLANNED = 1.5
_NO_SCORE = "No candidate got a score in each fold in its time."


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoProgress:
    """How far a fit is.

    Parameters
    ----------
    stage : str
        What is being trained.
    n_trials : int
        Configurations that were fitted in every fold and kept.
    best_model : str
        The best of them; empty before the first.
    best_score : float
        Its mean score over the folds; NaN before the first.
    seconds : float
        Since the start.
    seconds_left : float
        Of the budget; infinite without one.
    """

    stage: str
    n_trials: int
    best_model: str
    best_score: float
    seconds: float
    seconds_left: float


@dataclass(slots=True, eq=False)
class ModelKind:
    """A kind of model with what was learnt of it.

    `model` is for `n_rows` samples, on which its candidates are trained in each fold;
    `units` are their epochs or iterations, and `cost` what a candidate takes in all folds,
    None where nothing asks for it. `estimator` and `space` are searched; the diagnosis
    changes them. `seconds_per_epoch` are those of one network of one fold among others, 0
    until measured. `n_done` counts rounds; `pass_begun` are the least and most epochs of
    the pass of Hyperband that runs, which a later fit repeats. `next_search` is the
    unfitted target of the latest ``diagnosis.apply``, which records failed remedies.
    """

    model: Model
    n_rows: int
    units: int
    cost: Cost | None
    estimator: Any
    space: dict[str, Any]
    seconds_per_epoch: float = 0.0
    n_done: int = 0
    pass_begun: tuple[int, int] | None = None
    next_search: Any = None


@dataclass(slots=True, eq=False, kw_only=True)
class Memory:
    """All that a fit found so far, from which a later one on the same data goes on.

    `seed`, `fingerprint` of the data, `scoring` and `split` are those of the fit. `trials`
    have their models, of `others` only predictions are left; `kinds` of models are by their
    name; `searches` has what the best search of each kind of network tried; `n_done` counts
    rounds.
    """

    seed: int = 0
    fingerprint: str = ""
    scoring: Any = None
    split: Split | None = None
    trials: list[Trial] = field(default_factory=list)
    others: list[Trial] = field(default_factory=list)
    kinds: dict[str, ModelKind] = field(default_factory=dict)
    searches: dict[str, SearchPart] = field(default_factory=dict)
    n_done: int = 0

    def of(self, models: Sequence[Model]) -> Self:
        """Return what was found of some models."""
        names = {model.name for model in models}
        return replace(
            self,
            trials=[t for t in self.trials if t.label in names],
            others=[t for t in self.others if t.label in names],
            kinds={name: kind for name, kind in self.kinds.items() if name in names},
            searches=dict(self.searches),
        )

    def kept(self) -> Self:
        """Return what a later fit needs: the models of the best trials of each kind."""
        labels = dict.fromkeys(trial.label for trial in self.trials)
        by_label = [[t for t in self.trials if t.label == label] for label in labels]
        best = [trial for trials in by_label for trial in best_of(trials, _N_KEPT)]
        rest = [replace(trial, models=()) for trial in self.trials if trial not in best]
        return replace(self, trials=best, others=[*self.others, *rest])


class MemoryFolder:
    """A folder for the memory of a fit: trials, and networks of the search that runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._next_write = 0.0

    def load(self) -> Memory | None:
        """Return what is there; None if nothing is.  Raises StoreError if it is damaged."""
        path = self.folder / _TRIALS
        if not path.exists():
            return None
        try:
            memory = joblib.load(path)
            if not isinstance(memory, Memory):
                raise TypeError(f"It holds a {type(memory).__name__}.")
        except Exception as error:
            raise StoreError(
                f"{path} must be a file that an AutoML fit wrote. Loading it failed: "
                f"{type(error).__name__}: {error}"
            ) from error
        return memory

    def save(self, memory: Callable[[], Memory], *, always: bool = False) -> None:
        """Write the memory, unless writing would take too much of the time."""
        start = time.monotonic()
        if start < self._next_write and not always:
            return
        known, path = memory(), self.folder / _TRIALS
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replaced_file(path) as temporary:
                joblib.dump(known, temporary)
                sign(temporary, instead_of=path)
            for name in (k.model.name for k in known.kinds.values() if not k.pass_begun):
                # The file of a model in training stays, with what SQLite has beside it.
                for file in self.folder.glob(f"{self.networks_of(name).name}*"):
                    file.unlink()
        except (OSError, PicklingError, AttributeError, TypeError) as error:
            # Full disks, and scorers that no file can hold.
            warn_user(f"What was found cannot be kept in {self.folder}: {error}.")
            self._next_write = float("inf")
            return
        now = time.monotonic()
        self._next_write = now + _SECONDS_FOR_EACH_OF_WRITING * (now - start)

    def networks_of(self, name: str) -> Path:
        """Return the store for the networks of a model in training."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / _NETWORKS.format(name.replace(" ", "_"))


@dataclass(slots=True, eq=False)
class Runner:
    """Runs searches against a clock and keeps what they leave.

    `reserve` are seconds to leave for what comes after; `tell` is called with an
    ``AutoProgress``; networks train in `n_jobs` processes. What was `found` is written to
    `folder`, if there is one, between searches; `failures` has why a model could not be
    trained, `latest` what the latest search of a network tried.
    """

    clock: Clock
    reserve: float
    tell: Callable[[AutoProgress], object] | None
    n_jobs: int | None = None
    found: Memory = field(default_factory=Memory)
    folder: MemoryFolder | None = None
    failures: dict[str, str] = field(default_factory=dict)
    latest: SearchPart | None = None
    # The first transformer of all that have learnt the same, by what that is, and by the
    # identity of each; kept, so that no other one gets the number.
    _first_steps: dict[Any, Any] = field(default_factory=dict)
    _known_steps: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    _stage: str = ""
    _told: float = -math.inf

    @property
    def left(self) -> float:
        """Seconds that may be spent."""
        return self.clock.left - self.reserve

    @property
    def best(self) -> Trial | None:
        """The trial with the highest score."""
        return max(self.found.trials, key=lambda trial: trial.score, default=None)

    def seconds_of(self, model: Model) -> list[float]:
        """Return the seconds that each trial of a model took in all folds."""
        return [t.seconds for t in self.found.trials if t.label == model.name]

    def begin(self, stage: str) -> None:
        """Tell what comes next, and keep what there is."""
        self.keep(always=False)
        self._stage = stage
        self._report()

    def keep(self, *, always: bool = True) -> None:
        """Write what was found to the folder, if there is one."""
        if self.folder is not None:
            self.folder.save(self.found.kept, always=always)

    def store(self, name: str, seconds: float | None) -> dict[str, Any]:
        """Return what lets a search keep its networks, if it takes long enough."""
        is_long = seconds is None or seconds >= _WORTH_KEEPING
        if self.folder is None or not is_long:
            return {}
        return {"store": self.folder.networks_of(name)}

    def run(
        self,
        kind: Any,
        estimator: Any,
        space: Any,
        model: Model,
        problem: Problem,
        **options: Any,
    ) -> Any:
        """Run a search of a class and keep its trials; return it if it left some.

        `options` are further parameters of the search. What takes longer than its
        `time_budget` is cut or left out; a single candidate may take half as long again.
        """
        seconds = options.get("time_budget") or math.inf
        most = min(_MOST_OF_PLANNED * seconds, max(self.left, 1e-3))
        if kind is GridSearchCV and not math.isinf(most):
            options["time_budget"] = most
        search = kind(
            estimator,
            space,
            cv=problem.folds,
            scoring=problem.scoring,
            refit=False,
            keep_models=_N_KEPT,
            n_jobs=self._n_workers() if model.is_network else None,
            **options,
        )
        if self.tell is not None:
            search.set_params(progress=lambda _: self._report(often=True))
        params = problem.fit_params(search.estimator)
        in_time: AbstractContextManager[None] = nullcontext()
        if self.clock.budget is not None:
            in_time = fits_within(most / len(problem.folds), time.monotonic() + most)
        try:
            # Trials tell of fits that do not converge.
            with warnings.catch_warnings(record=True, action="ignore") as told:
                warnings.filterwarnings("always", "Scoring failed")
                warnings.simplefilter("always", FitFailedWarning)
                with in_time:
                    search.fit(problem.X, problem.y, **params)
        except KeyboardInterrupt:
            self._keep(search, model, problem)
            raise
        except ERRORS as error:
            self.failures[model.name] = str(error)
            return None
        if self._keep(search, model, problem):
            self.failures.pop(model.name, None)
            if model.is_network:
                self.latest = part = search_part(search)
                known = self.found.searches.get(model.name)
                if known is None or _rank(part) > _rank(known):
                    self.found.searches[model.name] = part
            return search
        if not self.seconds_of(model):
            # A warning of scikit-learn ends with the traceback of the error.
            reasons = [error_line(str(warning.message)) for warning in told]
            self.failures[model.name] = reasons[-1] if reasons else _NO_SCORE
        return None

    def start_workers(self) -> None:
        """Let the workers start, which takes seconds, and on a busy machine many."""
        if self.clock.budget is not None:
            start_meanwhile(self.n_jobs, self.clock.left)

    def _n_workers(self) -> int | None:
        """Return the `n_jobs` of networks: 1 while it would take time to start workers."""
        if self.clock.budget is None or not have_to_start(self.n_jobs):
            return self.n_jobs
        self.start_workers()
        return 1

    def probe(self, model: Model, problem: Problem, n_rows: int, units: int) -> float:
        """Return the seconds of short trainings of a model's defaults; nothing is kept.

        A network has the defaults of all samples and is trained in all folds, other models
        those of so few samples and the first fold. Where others compute, seconds are those
        of the processor by the load of the machine.
        """
        problem = problem.sampled(n_rows, holds_all=False)
        if not model.is_network:
            # A network keeps its batches, of which the cost of an epoch is made.
            model = model.on(problem)
        search = GridSearchCV(
            model.estimator,
            {model.resource: [units]},
            cv=list(problem.folds if model.is_network else problem.folds[:1]),
            # Defined for few samples too, which need not have each class.
            scoring=None,
            refit=False,
            error_score="raise",
        )
        # The choice of samples goes through all of them, and is no part of a training.
        start, processor = time.perf_counter(), time.process_time()
        with warnings.catch_warnings(action="ignore"):
            search.fit(problem.X, problem.y, **problem.fit_params(model.estimator))
        expected = processes_per_cpu() * (time.process_time() - processor)
        return min(time.perf_counter() - start, expected)

    def _keep(self, search: Any, model: Model, problem: Problem) -> bool:
        if not hasattr(search, "cv_results_") or not hasattr(search, "models_"):
            return False
        of_family = [t.name for t in self.found.trials if t.family == model.family]
        # Only the best of earlier trials may be there, which their numbers tell.
        numbers = [int(name.rpartition(" ")[2]) for name in of_family]
        found = trials_of(
            search,
            model.family,
            is_classification=problem.is_classification,
            n_before=max(numbers, default=0),
            n_rows=problem.n_train,
            label=model.name,
        )
        self.found.others += [trial for trial in found if not trial.models]
        self.found.trials += [
            replace(trial, models=tuple(map(self._with_shared_steps, trial.models)))
            for trial in found
            if trial.models
        ]
        self._report()
        return bool(found)

    def _with_shared_steps(self, model: Pipeline) -> Pipeline:
        """Return a fitted pipeline with earlier transformers in the place of equal ones."""
        *transformers, last = model.steps
        firsts = []
        for name, step in transformers:
            if id(step) not in self._known_steps:
                first = self._first_steps.setdefault(value_fingerprint(step), step)
                self._known_steps[id(step)] = step, first
            firsts.append((name, self._known_steps[id(step)][1]))
        return Pipeline([*firsts, last])

    def _report(self, *, often: bool = False) -> None:
        """Tell where it stands; what comes often only now and then."""
        now = self.clock.seconds
        if self.tell is None or (often and now - self._told < _SECONDS_BETWEEN_NEWS):
            return
        self._told = now
        best = self.best
        self.tell(
            AutoProgress(
                stage=self._stage,
                n_trials=len(self.found.trials),
                best_model="" if best is None else best.name,
                best_score=np.nan if best is None else best.score,
                seconds=self.clock.seconds,
                seconds_left=self.clock.left,
            )
        )


def _rank(part: SearchPart) -> tuple[bool, float]:
    """Return what makes a search worth showing: several candidates, and the best score."""
    return part.n_configurations > 1, -np.inf if part.best is None else part.best.score


def progress_text(progress: AutoProgress) -> str:
    """Return one line that says where a fit stands."""
    parts = [progress.stage, f"{progress.n_trials} trials"]
    if progress.best_model:
        parts.append(f"best {progress.best_score:.4g} ({progress.best_model})")
    if math.isfinite(progress.seconds_left):
        parts.append(f"{progress.seconds_left:.0f} s left")
    return ", ".join(parts)


class AutoProgressLine:
    """Shows where a fit stands in one line of a terminal, a notebook or a file."""

    def __init__(self) -> None:
        self._line = LiveLine()
        self._text = ""

    def __call__(self, progress: AutoProgress) -> None:
        """Take note of how far a fit is."""
        self._text = progress_text(progress)
        self._line.show(self._text)

    def close(self) -> None:
        """Show the last state, and leave it."""
        self._line.end(self._text)
