# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Runs searches against a clock, keeps their trials, and tells how far it is."""

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.exceptions import FitFailedWarning
from sklearn.pipeline import Pipeline

from sk_tune._text import LiveLine
from sk_tune.automl._blend import Trial, trials_of
from sk_tune.automl._models import Model, fits_within
from sk_tune.automl._problem import Problem
from sk_tune.automl._resources import Clock, Workers
from sk_tune.backend import value_fingerprint
from sk_tune.report import SearchPart, search_part
from sk_tune.search import GridSearchCV
from sk_tune.training import processes_per_cpu

__all__ = [
    "ERRORS",
    "N_KEPT",
    "AutoProgress",
    "AutoProgressLine",
    "Runner",
    "SharedSteps",
    "line_of",
    "progress_text",
]


class SharedSteps:
    """Fitted transformers that have come so far."""

    def __init__(self) -> None:
        self._of_digest: dict[Any, Any] = {}
        # Steps by identity; kept, so that no other one gets the number.
        self._known: dict[int, tuple[Any, Any]] = {}

    def shared(self, model: Pipeline) -> Pipeline:
        """Return a fitted pipeline with earlier transformers in the place of equal ones."""
        *transformers, last = model.steps
        return Pipeline([*((name, self._first(step)) for name, step in transformers), last])

    def _first(self, step: Any) -> Any:
        """Return the first of all transformers that have learnt the same."""
        if id(step) not in self._known:
            first = self._of_digest.setdefault(value_fingerprint(step), step)
            self._known[id(step)] = step, first
        return self._known[id(step)][1]


# Errors of a model that do not end the course.
ERRORS = (ValueError, TypeError, RuntimeError, ArithmeticError, MemoryError, LookupError)
# Trials whose fitted models a search keeps.
N_KEPT = 8
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
class Runner:
    """Runs searches against a clock and keeps what they leave.

    `reserve` are seconds to leave for what comes after; `tell` is called with an
    ``AutoProgress``. Of `others` only predictions are left; `failures` has why a model
    could not be trained; `searches` has what the best search of each kind of network tried,
    `latest` what the latest one did.
    """

    clock: Clock
    reserve: float
    tell: Callable[[AutoProgress], object] | None
    workers: Workers
    trials: list[Trial] = field(default_factory=list)
    others: list[Trial] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    searches: dict[str, SearchPart] = field(default_factory=dict)
    latest: SearchPart | None = None
    _steps: SharedSteps = field(default_factory=SharedSteps)
    _stage: str = ""
    _told: float = -math.inf

    @property
    def left(self) -> float:
        """Seconds that may be spent."""
        return self.clock.left - self.reserve

    @property
    def best(self) -> Trial | None:
        """The trial with the highest score."""
        return max(self.trials, key=lambda trial: trial.score, default=None)

    def seconds_of(self, model: Model) -> list[float]:
        """Return the seconds that each trial of a model took in all folds."""
        return [trial.seconds for trial in self.trials if trial.label == model.name]

    def begin(self, stage: str) -> None:
        """Tell what comes next."""
        self._stage = stage
        self._report()

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
            keep_models=N_KEPT,
            # Boosting and linear algebra use all cores by threads.
            n_jobs=self.workers.n_jobs if model.is_network else None,
            **options,
        )
        if self.tell is not None:
            search.set_params(progress=lambda _: self._report(often=True))
        params = problem.fit_params(search.estimator)
        try:
            with warnings.catch_warnings(record=True) as told:
                # Trials tell of fits that do not converge.
                warnings.simplefilter("ignore")
                warnings.filterwarnings("always", "Scoring failed")
                warnings.simplefilter("always", FitFailedWarning)
                with self._within(most, len(problem.folds)):
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
                self._keep_part(search_part(search), model.name)
            return search
        if not self.seconds_of(model):
            # A warning of scikit-learn ends with the line of the error.
            reasons = [str(warning.message).strip().splitlines()[-1] for warning in told]
            self.failures[model.name] = reasons[-1] if reasons else _NO_SCORE
        return None

    def _within(self, seconds: float, n_folds: int) -> AbstractContextManager[None]:
        if self.clock.budget is None:
            return nullcontext()
        return fits_within(seconds / n_folds, time.monotonic() + seconds)

    def probe(self, model: Model, problem: Problem, n_rows: int, units: int) -> float:
        """Return the seconds of short trainings of a model's defaults; nothing is kept.

        A network has the defaults of all samples and is trained in all folds, other models
        those of so few samples and the first fold. As large a part of the held-out samples
        is predicted. The seconds are those of the wall clock, or of the processor by the
        load of the machine if these are fewer: the clock goes on while others compute.
        """
        problem = problem.miniature(n_rows)
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search.fit(problem.X, problem.y, **problem.fit_params(model.estimator))
        expected = processes_per_cpu() * (time.process_time() - processor)
        return min(time.perf_counter() - start, expected)

    def _keep(self, search: Any, model: Model, problem: Problem) -> bool:
        if not hasattr(search, "cv_results_") or not hasattr(search, "models_"):
            return False
        found = trials_of(
            search,
            model.family,
            is_classification=problem.is_classification,
            # Only the best of earlier trials may be there.
            n_before=max(
                (trial.number for trial in self.trials if trial.family == model.family),
                default=0,
            ),
            n_rows=problem.n_train,
            label=model.name,
        )
        self.others += [trial for trial in found if not trial.models]
        self.trials += [
            replace(trial, models=tuple(map(self._steps.shared, trial.models)))
            for trial in found
            if trial.models
        ]
        self._report()
        return bool(found)

    def _keep_part(self, part: SearchPart, name: str) -> None:
        """Keep what a search tried, if it is better than what is kept of its kind."""
        self.latest, known = part, self.searches.get(name)
        if known is None or _rank(part) > _rank(known):
            self.searches[name] = part

    def _report(self, *, often: bool = False) -> None:
        """Tell where it stands; what comes often only now and then."""
        now = time.monotonic()
        if self.tell is None or (often and now - self._told < _SECONDS_BETWEEN_NEWS):
            return
        self._told = now
        best = self.best
        self.tell(
            AutoProgress(
                stage=self._stage,
                n_trials=len(self.trials),
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

    def end(self) -> None:
        """Show the last state, and leave it."""
        self._line.end(self._text)


@contextmanager
def line_of(listener: object) -> Iterator[None]:
    """Leave the line that shows how far a fit is where it ends, if that is the listener."""
    try:
        yield
    finally:
        if isinstance(listener, AutoProgressLine):
            listener.end()
