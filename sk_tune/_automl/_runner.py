# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Searches within a time budget, their trials, and the progress of a fit.

A folder can store the trials, from which a later fit resumes.
"""

import math
import pickle
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.pipeline import Pipeline

from sk_tune._automl._blend import Trial, best_of, trials_of
from sk_tune._automl._models import Model
from sk_tune._automl._problem import Problem
from sk_tune._automl._resources import Clock, Cost, fits_within
from sk_tune._automl._splitting import Split
from sk_tune._diagnosis import Finding
from sk_tune._engine import Progress, have_to_start, start_meanwhile, value_fingerprint
from sk_tune._files import replaced_file, sign
from sk_tune._report import SearchPart, search_part
from sk_tune._search import GridSearchCV
from sk_tune._splits import take
from sk_tune._text import LiveLine, error_line
from sk_tune._training import slowdown
from sk_tune._warnings import warn_user
from sk_tune.exceptions import StoreError, StoreWarning

# Errors that fail a model but not the fit.
ERRORS = (ValueError, TypeError, RuntimeError, ArithmeticError, MemoryError, LookupError)
# Number of trials per search with stored models.
_N_KEPT = 8
# Start of the warning that `checkpoint_dir` cannot be written.
NOT_STORED = "Trials cannot be stored"
# Files in the folder: finished trials, and networks of the running search.
_TRIALS, _NETWORKS = "trials.pickle", "{}.networks.db"
# At most a twentieth of the time is spent on writing.
_SECONDS_FOR_EACH_OF_WRITING = 20
# Least seconds of a search that stores each network when it is trained.
_WORTH_KEEPING = 20.0
_SECONDS_BETWEEN_NEWS = 0.5
# Networks are stopped after this multiple of the time planned for their search.
_MOST_OF_PLANNED = 1.5
# Trials of a family for which refits get time, and the largest share of the budget for it.
_N_REFITS, _MOST_OF_REFITS = 2, 0.2
# Time of a network alone relative to its share of a fleet; five fits took 0.7 to 4.4.
_ALONE = 2.0
_CUT_SHORT = "search cut short"
NO_SCORE = "No candidate got a score in each fold within its time."


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoProgress(Progress):
    """Progress of an AutoML fit, and of the search in training.

    Parameters
    ----------
    n_fits, n_fits_done, n_epochs, n_epochs_done : int
        Fits and epochs of the search in training; 0 between searches.
    best_score : float
        Mean score over the folds of the best trial so far; NaN before the first.
    seconds : float
        Seconds since the start.
    seconds_left : float
        Seconds left of the budget; infinite without a budget.
    n_fits_elsewhere : int
        Fits of other processes with the same store that the search waits for.
    stage : str
        The model in training.
    n_trials : int
        Configurations that were fitted in all folds.
    best_model : str
        The best trial so far; empty before the first.
    """

    stage: str
    n_trials: int
    best_model: str

    def __str__(self) -> str:
        parts = [self.stage, f"{self.n_trials} trials"]
        if self.best_model:
            parts.append(f"best {self.best_score:.4g} ({self.best_model})")
        if math.isfinite(self.seconds_left):
            parts.append(f"{self.seconds_left:.0f} s left")
        return ", ".join(parts)


@dataclass(slots=True, eq=False)
class ModelKind:
    """A model, its next search, and measurements of its training time.

    Candidates of `model` train on `n_rows` samples per fold for `units` epochs or
    iterations. `cost` is for a candidate in all folds, None if it was not measured.
    `estimator` and `space` are searched next; remedies change them. `seconds_per_epoch` is
    the time of one network in one fold, trained with others; 0 until measured. `n_done`
    counts rounds. `has_grown` is true once doubling the `units` does not clearly help, or
    is not allowed. `pass_begun` are the least and most epochs of the running Hyperband
    pass, which a later fit repeats. `next_search` is the unfitted target of the latest
    ``diagnosis.apply_remedies``, which records failed remedies.
    """

    model: Model
    n_rows: int
    units: int
    cost: Cost | None
    estimator: Any
    space: dict[str, Any]
    seconds_per_epoch: float = 0.0
    n_done: int = 0
    has_grown: bool = False
    pass_begun: tuple[int, int] | None = None
    next_search: Any = None


@dataclass(slots=True, eq=False, kw_only=True)
class Memory:
    """Trials and state of a fit, from which a later fit on the same data continues.

    `requests` identify data, scoring and folds. `trials` have fitted models, `others` only
    predictions. `kinds` are the tunable models by name; `searches` are the best searches of
    networks by model name; `n_done` counts rounds. `against_texts` is why models do not use
    columns of text, empty if they do, None before the decision.
    """

    seed: int = 0
    requests: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    split: Split | None = None
    against_texts: str | None = None
    trials: list[Trial] = field(default_factory=list)
    others: list[Trial] = field(default_factory=list)
    kinds: dict[str, ModelKind] = field(default_factory=dict)
    searches: dict[str, SearchPart] = field(default_factory=dict)
    n_done: int = 0

    def of(self, models: Sequence[Model]) -> Self:
        """Return the memory of some models."""
        names = {model.name for model in models}
        trials, others = (
            [t for t in several if t.label in names]
            for several in (self.trials, self.others)
        )
        kinds = {name: kind for name, kind in self.kinds.items() if name in names}
        searches = {name: part for name, part in self.searches.items() if name in names}
        return replace(self, trials=trials, others=others, kinds=kinds, searches=searches)

    def for_later_fit(self) -> Self:
        """Return the memory with fitted models only of each model's best trials.

        The first trial stays as well: that of boosting limits the time to predict.
        """
        best_trials = []
        for label in dict.fromkeys(trial.label for trial in self.trials):
            of_label = [trial for trial in self.trials if trial.label == label]
            best_trials += [of_label[0], *best_of(of_label, _N_KEPT)]
        trials = [trial for trial in self.trials if trial in best_trials]
        unfitted = [
            replace(trial, models=()) for trial in self.trials if trial not in best_trials
        ]
        return replace(self, trials=trials, others=[*self.others, *unfitted])


class MemoryFolder:
    """A folder for the memory of a fit and the networks of the running search.

    OSError if it cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.seconds = 0.0
        self._next_write = 0.0

    def load(self) -> Memory | None:
        """Return the stored memory, or None.  Raises StoreError if the file is damaged."""
        path = self.folder / _TRIALS
        if not path.exists():
            return None
        try:
            with path.open("rb") as stream:
                memory = pickle.load(stream)
            if not isinstance(memory, Memory):
                raise TypeError(f"It contains a {type(memory).__name__}.")
        except Exception as error:
            raise StoreError(
                f"{path} must be a file written by an AutoML fit. Loading it failed: "
                f"{type(error).__name__}: {error}"
            ) from error
        return memory

    def save(self, memory: Callable[[], Memory], *, always: bool = False) -> None:
        """Write the memory, unless writing takes too large a share of the time."""
        start = time.monotonic()
        if start < self._next_write and not always:
            return
        content, path = memory(), self.folder / _TRIALS
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replaced_file(path) as temporary:
                # joblib's pickler, written in Python, takes several times as long.
                with temporary.open("wb") as stream:
                    pickle.dump(content, stream, pickle.HIGHEST_PROTOCOL)
                sign(temporary, instead_of=path)
            for name in (k.model.name for k in content.kinds.values() if not k.pass_begun):
                # Networks of a running search stay; SQLite adds files to the store.
                for file in self.folder.glob(f"{self.networks_of(name).name}*"):
                    file.unlink()
        except (OSError, pickle.PicklingError, AttributeError, TypeError) as error:
            # The disk may be full, or the scorer cannot be pickled.
            warn_user(f"{NOT_STORED} in {self.folder}: {error}.", StoreWarning)
            self._next_write = float("inf")
            return
        now = time.monotonic()
        self.seconds = now - start
        self._next_write = now + _SECONDS_FOR_EACH_OF_WRITING * self.seconds

    def networks_of(self, name: str) -> Path:
        """Return the path of the store for the networks of a model."""
        return self.folder / _NETWORKS.format(name.replace(" ", "_"))


@dataclass(slots=True, eq=False)
class Runner:
    """Runs searches within a time budget and collects their trials.

    `reserve` are seconds to leave for the ensemble; `tell` is called with ``AutoProgress``;
    networks train in `n_jobs` processes. `memory` is written to `folder`, unless that is
    None, between searches. A refit of a trial on all rows takes `share_of_refit` of the
    trial's seconds, 0 without refits. `failures` has the reason for each model that failed;
    `latest` is the latest search of a network.
    """

    clock: Clock
    reserve: float
    tell: Callable[[AutoProgress], object] | None
    n_jobs: int | None = None
    memory: Memory = field(default_factory=Memory)
    folder: MemoryFolder | None = None
    share_of_refit: float = 0.0
    failures: dict[str, str] = field(default_factory=dict)
    latest: SearchPart | None = None
    # Equal fitted transformers are shared: the first of them by fingerprint, and by the id
    # of each.  References keep ids from being reused.
    _first_steps: dict[Any, Any] = field(default_factory=dict)
    _shared_steps: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    _stage: str = ""
    _last_report: float = -math.inf

    @property
    def left(self) -> float:
        """Seconds left for searches, before the last write and the ensemble."""
        writing = 0.0 if self.folder is None else self.folder.seconds
        return self.clock.left - writing - self.reserve - self._seconds_of_refits()

    def _seconds_of_refits(self) -> float:
        """Return the expected seconds for refitting the best trials of each family.

        Trials on samples are not fitted again. The trial of the dummy shows the number of
        rows.
        """
        n_rows = max((t.n_rows for t in self.memory.trials), default=0)
        trials = [
            t for t in self.memory.trials if t.family != "dummy" and t.n_rows == n_rows
        ]
        seconds = sum(
            trial.seconds * (_ALONE if trial.is_network else 1.0)
            for family in {t.family for t in trials}
            for trial in best_of([t for t in trials if t.family == family], _N_REFITS)
        )
        return min(self.share_of_refit * seconds, self.clock.share(_MOST_OF_REFITS))

    @property
    def best(self) -> Trial | None:
        """The trial with the highest score."""
        return max(self.memory.trials, key=lambda trial: trial.score, default=None)

    def seconds_of(self, model: Model) -> list[float]:
        """Return the seconds of each trial of a model, summed over the folds."""
        return [t.seconds for t in self.memory.trials if t.label == model.name]

    def begin(self, stage: str) -> None:
        """Report the next stage, and store the trials so far."""
        self.keep(always=False)
        self._stage = stage
        self._report()

    def keep(self, *, always: bool = True) -> None:
        """Write the memory to the folder, unless that is None."""
        if self.folder is not None:
            self.folder.save(self.memory.for_later_fit, always=always)

    def close(self) -> None:
        """End the line of the progress."""
        if isinstance(self.tell, AutoProgressLine):
            self.tell.end()

    def store(self, name: str, seconds: float | None) -> dict[str, Any]:
        """Return the search parameter that stores networks, for long searches only."""
        is_short = seconds is not None and seconds < _WORTH_KEEPING
        if self.folder is None or is_short:
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
        """Run a search of class `kind`; return it if it has trials, else None.

        `options` are further parameters of the search. Its `time_budget` may be exceeded by
        half; then training is stopped.
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
            search.set_params(verbose=self._report)
        params = problem.fit_params(search.estimator)
        in_time: AbstractContextManager[None] = nullcontext()
        if self.clock.budget is not None:
            in_time = fits_within(most / problem.n_largest_folds, time.monotonic() + most)
        try:
            # Each trial records fits that do not converge, so their warnings are ignored.
            with warnings.catch_warnings(record=True, action="ignore") as caught:
                warnings.filterwarnings("always", "Scoring failed")
                warnings.simplefilter("always", FitFailedWarning)
                with in_time:
                    search.fit(problem.X, problem.y, **params)
        except KeyboardInterrupt:
            self._keep(search, model, problem)
            raise
        except ERRORS as error:
            text = str(error)
            # The message on all fits of a search ends with the error of the last.
            self.failures[model.name] = error_line(text) if "fits failed" in text else text
            return None
        trials = self._keep(search, model, problem)
        if not trials:
            if not self.seconds_of(model):
                # Warnings of scikit-learn end with the traceback of the error.
                reasons = [error_line(str(warning.message)) for warning in caught]
                self.failures[model.name] = reasons[-1] if reasons else NO_SCORE
            return None
        self.failures.pop(model.name, None)
        if model.is_network:
            self._keep_part(search, model.name, trials)
        return search

    def _keep_part(self, search: Any, name: str, trials: Sequence[Trial]) -> None:
        """Keep the candidates of the search of a network if it is the model's best."""
        part = search_part(search)
        findings = [f for f in map(_for_users, part.findings) if f is not None]
        names = {int(t.library.candidates[0]): t.name for t in trials if t.models}
        best_name = "" if part.best is None else names.get(part.best.result_row, "")
        self.latest = replace(part, findings=findings, best_name=best_name)
        best = self.memory.searches.get(name, self.latest)
        self.memory.searches[name] = max(best, self.latest, key=_rank)

    def start_workers(self) -> None:
        """Start the workers in the background, because this takes seconds."""
        if self.clock.budget is not None:
            start_meanwhile(self.n_jobs, self.clock.left)

    def _n_workers(self) -> int | None:
        """Return the `n_jobs` of networks: 1 until the workers have started."""
        if self.clock.budget is None or not have_to_start(self.n_jobs):
            return self.n_jobs
        self.start_workers()
        return 1

    def probe(self, model: Model, problem: Problem, n_rows: int, units: int) -> float:
        """Return the seconds of a short training of a model's default in the largest fold.

        Networks have the defaults for all samples, other models the defaults for `n_rows`
        samples. On a busy machine seconds are processor time multiplied by the slowdown.
        """
        problem = problem.sampled(n_rows, holds_all=False)
        if not model.is_network:
            # A network keeps its batch size, which determines the cost of an epoch.
            model = model.on(problem)
        rows = max((train for train, _ in problem.folds), key=len)
        estimator = clone(model.estimator).set_params(**{model.resource: units})
        params = {n: weight[rows] for n, weight in problem.fit_params(estimator).items()}
        X, y = take(problem.X, rows), problem.y[rows]
        # Sampling goes through all rows, so it is not part of the measured training.
        start, processor = time.perf_counter(), time.process_time()
        with warnings.catch_warnings(action="ignore"):
            estimator.fit(X, y, **params)
        expected = slowdown() * (time.process_time() - processor)
        return min(time.perf_counter() - start, expected)

    def _keep(self, search: Any, model: Model, problem: Problem) -> list[Trial]:
        if not hasattr(search, "cv_results_") or not hasattr(search, "models_"):
            return []
        of_model = (t.name for t in self.memory.trials if t.label == model.name)
        # Earlier trials may have been dropped, so their number is not the last number.
        numbers = [int(name.rpartition(" ")[2]) for name in of_model]
        trials = trials_of(search, model, problem, max(numbers, default=0))
        for trial in trials:
            shared = tuple(map(self.with_shared_steps, trial.models))
            place = self.memory.trials if shared else self.memory.others
            place.append(replace(trial, models=shared))
        self._report()
        return trials

    def with_shared_steps(self, model: Pipeline) -> Pipeline:
        """Return the fitted pipeline, with earlier transformers in place of equal ones."""
        firsts = []
        for name, step in model.steps[:-1]:
            if id(step) not in self._shared_steps:
                first = self._first_steps.setdefault(value_fingerprint(step), step)
                self._shared_steps[id(step)] = step, first
            firsts.append((name, self._shared_steps[id(step)][1]))
        return Pipeline([*firsts, model.steps[-1]])

    def _report(self, training: Progress | None = None) -> None:
        """Report the progress; during the `training` of a search every half second."""
        now = self.clock.seconds
        is_soon = training is not None and now - self._last_report < _SECONDS_BETWEEN_NEWS
        if self.tell is None or is_soon:
            return
        self._last_report = now
        counts = [f.name for f in fields(Progress) if f.name.startswith("n_")]
        best = self.best
        self.tell(
            AutoProgress(
                **{name: getattr(training, name, 0) for name in counts},
                stage=self._stage,
                n_trials=len(self.memory.trials),
                best_model="" if best is None else best.name,
                best_score=np.nan if best is None else best.score,
                seconds=now,
                seconds_left=self.clock.left,
            )
        )


def _for_users(finding: Finding) -> Finding | None:
    """Return a finding of a network's search, whose time budget users did not set."""
    if finding.name != _CUT_SHORT:
        return finding
    if finding.outcome != "issue":
        return None
    message = "The time was too short to train this network to the end in all folds."
    return replace(finding, message=message, remedy="Set a larger time_budget.")


def _rank(part: SearchPart) -> tuple[bool, bool, float]:
    """Return a key: complete trainings, then several candidates, then the best score."""
    is_cut = any(f.name == _CUT_SHORT and f.outcome == "issue" for f in part.findings)
    score = -np.inf if part.best is None else part.best.score
    return not is_cut, part.n_configurations > 1, score


class AutoProgressLine(LiveLine):
    """Shows the progress in one line of a terminal, a notebook or a file."""

    def __call__(self, progress: AutoProgress) -> None:
        """Show the progress."""
        self.show(str(progress))
