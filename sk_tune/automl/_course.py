# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What is trained in which order until the time is up.

First every kind of model with its defaults; then rounds, in each of which the networks get
a pass of Hyperband, are diagnosed, and boosting draws some candidates.
"""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import clone

from sk_tune.automl._clock import Clock, Deadline
from sk_tune.automl._models import Model
from sk_tune.automl._problem import Problem
from sk_tune.automl._sizes import hyperband_size, measured_cost
from sk_tune.automl._threads import few_threads
from sk_tune.automl._trials import Trial, best_of, trials_of
from sk_tune.diagnosis import AppliedChange, Finding, apply, diagnose
from sk_tune.engine import one_thread
from sk_tune.search import GridSearchCV, HyperbandSearchCV, RandomizedSearchCV

__all__ = ["AutoProgress", "Course", "Memory"]

# Shares of the budget that a default model of each family may take.
_FIRST_SHARES = {"linear": 0.05, "boosting": 0.12}
_FIRST_SHARE_OF_NETWORK = 0.15
# Of what is left, a round takes this part, but not less than these seconds.
_PART_OF_ROUND, _SHORTEST_ROUND = 1 / 3, 3.0
# Of a round, what networks get: more if they are the best so far.
_PART_OF_NETWORKS = {True: 0.65, False: 0.45}
# Units (epochs, iterations) without which a model is not worth its time.
_FEWEST_UNITS = 5
# Values of X of which a linear model takes so little time that nobody needs to measure it.
_FEW_VALUES = 50_000
# Candidates of boosting in a round without a budget.
_BOOSTING_CANDIDATES = 8
_MOST_CANDIDATES = 300
_SECONDS_BETWEEN_NEWS = 0.5
# Trials whose fitted models a search keeps.
_N_KEPT = 8
_ERRORS = (ValueError, TypeError, RuntimeError, ArithmeticError, MemoryError, LookupError)


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
class _Network:
    """A kind of network with what was learnt of it."""

    model: Model
    estimator: Any
    space: dict[str, Any]
    max_epochs: int
    # Of one network of one fold; 0 until it was measured.
    seconds_per_epoch: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Memory:
    """What a later course on the same data can go on from.

    Parameters
    ----------
    seed : int
        Of the earlier fit.
    fingerprint : str
        Of its data.
    trials : list of Trial
        The best of each family.
    networks : list
        What was learnt of the networks.
    n_done : int
        Rounds that were done.
    """

    seed: int
    fingerprint: str
    trials: list[Trial]
    networks: list[_Network]
    n_done: int


@dataclass(slots=True, eq=False)
class Course:
    """Trains models until the time is up or the rounds are done.

    Parameters
    ----------
    problem : Problem
        What is to be learnt.
    clock : Clock
        With the budget.
    reserve : float
        Seconds to leave for what comes after.
    n_rounds : int or None
        Rounds at most; None as many as the time allows.
    sampler : str
        Of the Hyperband passes.
    heals : bool
        Whether networks are diagnosed and the findings followed.
    tell : callable or None
        Called with an ``AutoProgress``.
    trials : list of Trial
        What was trained.
    findings : list of Finding
        Of the networks, those of the last diagnosis of each.
    changes : list of AppliedChange
        What followed from them.
    failures : dict of str to str
        What could not be trained, and why.
    """

    problem: Problem
    clock: Clock
    reserve: float
    n_rounds: int | None
    sampler: str
    heals: bool
    tell: Callable[[AutoProgress], object] | None
    trials: list[Trial] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    changes: list[AppliedChange] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    was_interrupted: bool = False
    networks: list[_Network] = field(default_factory=list)
    n_done: int = 0
    _stage: str = ""
    _told: float = -math.inf

    def run(self, models: Sequence[Model]) -> None:
        """Train.

        Parameters
        ----------
        models : sequence of Model
            In the order of the first trainings; the first is always trained.
        """
        try:
            with one_thread(), few_threads(self.problem.n_values):
                known = {trial.family for trial in self.trials}
                for model in models:
                    if model.family not in known:
                        self._try_default(model)
                self._run_rounds([m for m in models if m.family == "boosting"])
        except KeyboardInterrupt:
            # What there is is kept; who calls raises it again.
            self.was_interrupted = True

    def go_on_from(self, memory: Memory) -> None:
        """Take over what an earlier course on the same data found.

        Parameters
        ----------
        memory : Memory
            Of that course.
        """
        self.trials = list(memory.trials)
        self.networks = list(memory.networks)
        self.n_done = memory.n_done

    def memory(self, seed: int, fingerprint: str) -> Memory:
        """Return what a later course on the same data can go on from.

        Parameters
        ----------
        seed : int
            Of this fit.
        fingerprint : str
            Of its data.

        Returns
        -------
        Memory
            With the best trials of each family.
        """
        families = dict.fromkeys(trial.family for trial in self.trials)
        own = [[t for t in self.trials if t.family == family] for family in families]
        return Memory(
            seed=seed,
            fingerprint=fingerprint,
            trials=[trial for trials in own for trial in best_of(trials, _N_KEPT)],
            networks=self.networks,
            n_done=self.n_done,
        )

    def _run_rounds(self, boosting: list[Model]) -> None:
        part, first, networks = _PART_OF_ROUND, self.n_done, self.networks
        while networks or boosting:
            left = self.clock.left - self.reserve
            n_done = self.n_done
            if left < _SHORTEST_ROUND / 3 or n_done - first == self.n_rounds:
                return
            seconds = min(left, max(part * left, _SHORTEST_ROUND))
            before = len(self.trials)
            share = self._part_of_networks() if boosting else 1.0
            for network in networks:
                self._run_network(network, share * seconds / len(networks), n_done)
            for model in boosting:
                rest = seconds if not networks else (1 - share) * seconds
                self._run_boosting(model, rest, n_done)
            self.n_done += 1
            if len(self.trials) == before and self.n_rounds is None:
                if seconds >= left:
                    # Nothing can be trained in what is left.
                    return
                part = 1.0

    def _part_of_networks(self) -> float:
        best = max(self.trials, key=lambda trial: trial.score, default=None)
        return _PART_OF_NETWORKS[best is not None and best.family in {"MLP", "CNN", "RNN"}]

    def _try_default(self, model: Model) -> None:
        """Train a model with its defaults; note what rounds need of a network."""
        self.begin(f"{model.family}, default")
        estimator, units, per_unit = model.estimator, model.most_resources, 0.0
        is_cheap = model.family == "linear" and self.problem.n_values < _FEW_VALUES
        if model.resource and self.clock.budget is not None and not is_cheap:
            try:
                units, per_unit = self._affordable(model)
            except _ERRORS as error:
                self.failures[model.family] = str(error)
                return
            if units < _FEWEST_UNITS:
                self.failures[model.family] = "It takes too long for this budget."
                return
        grid = dict(model.grid)
        if model.resource:
            estimator = clone(estimator).set_params(**{model.resource: units})
            grid[model.resource] = [units]
        search = GridSearchCV(
            estimator,
            grid,
            time_budget=self._seconds(_FIRST_SHARES.get(model.family, math.inf)),
            **self._common(estimator, is_network=model.is_network),
        )
        began = time.monotonic()
        self._fit(search, model)
        if not model.is_network:
            return
        seconds = time.monotonic() - began
        self.networks.append(
            _Network(
                model=model,
                estimator=estimator,
                space=dict(model.space),
                max_epochs=units,
                seconds_per_epoch=min(
                    seconds / (units * len(self.problem.folds)), per_unit or math.inf
                ),
            )
        )

    def _seconds(self, share: float) -> float | None:
        seconds = min(self.clock.share(share), self.clock.left - self.reserve)
        return None if math.isinf(seconds) else max(seconds, 1e-3)

    def _affordable(self, model: Model) -> tuple[int, float]:
        """Return the epochs or iterations that the budget allows a default model."""
        share = _FIRST_SHARES.get(model.family, _FIRST_SHARE_OF_NETWORK)
        cost = measured_cost(
            model.estimator,
            model.resource,
            *self.problem.first_fold,
            limit=(self.clock.left - self.reserve) / 3,
        )
        left = self.clock.left - self.reserve
        n_folds = len(self.problem.folds)
        units = cost.units(
            min(self.clock.share(share), left) / n_folds, model.most_resources
        )
        # Rather few than none, if there is time for these.
        few = min(_FEWEST_UNITS, model.most_resources)
        if units < few and cost.once + few * cost.per_unit < left / 2 / n_folds:
            units = few
        return units, cost.per_unit

    def _run_network(self, network: _Network, seconds: float, n_done: int) -> None:
        """Give a kind of network a pass of Hyperband, and learn from it."""
        model = network.model
        self.begin(f"{model.family}, round {n_done + 1}")
        n_folds = len(self.problem.folds)
        epochs = seconds / (n_folds * max(network.seconds_per_epoch, 1e-9))
        least, most = hyperband_size(epochs, network.max_epochs)
        if most < _FEWEST_UNITS:
            return
        search = HyperbandSearchCV(
            network.estimator,
            network.space,
            resource=model.resource,
            min_resources=least,
            max_resources=most,
            sampler=self.sampler,
            random_state=self.problem.seed + n_done + 1,
            **self._common(network.estimator, is_network=True),
        )
        began = time.monotonic()
        is_fitted = self._fit(search, model, seconds=seconds)
        spent = time.monotonic() - began
        if not is_fitted:
            return
        n_epochs = search.ledger_.epochs_trained
        if n_epochs:
            network.seconds_per_epoch = spent / n_epochs
        if self.heals:
            self._heal(network, search)

    def _heal(self, network: _Network, search: Any) -> None:
        """Change space and network as the diagnosis of a search says."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                findings = diagnose(search)
                applied = apply(findings, search)
        except (ValueError, TypeError):
            # Of networks without curves nothing can be said.
            return
        self.findings = [*findings]
        self.changes += applied.changes
        network.space = dict(applied.target.param_distributions)
        network.estimator = applied.target.estimator
        wanted = applied.target.max_resources
        if wanted > search.max_resources_:
            network.max_epochs = max(network.max_epochs, wanted)

    def _run_boosting(self, model: Model, seconds: float, n_done: int) -> None:
        self.begin(f"{model.family}, round {n_done + 1}")
        known = [t for t in self.trials if t.family == model.family]
        if not known:
            return
        fastest = min(t.seconds for t in known)
        if fastest > seconds:
            return
        units = known[0].models[0].get_params()[model.resource]
        estimator = clone(model.estimator).set_params(**{model.resource: units})
        search = RandomizedSearchCV(
            estimator,
            model.space,
            n_iter=_BOOSTING_CANDIDATES if math.isinf(seconds) else _MOST_CANDIDATES,
            time_budget=None if math.isinf(seconds) else max(seconds, 1e-3),
            random_state=self.problem.seed + n_done + 1,
            **self._common(estimator, is_network=False),
        )
        self._fit(search, model)

    def _common(self, estimator: Any, *, is_network: bool) -> dict[str, Any]:
        """Return what all searches have in common."""
        return {
            "cv": self.problem.folds,
            "scoring": self.problem.scoring,
            "refit": False,
            "keep_models": _N_KEPT,
            # Boosting and linear algebra use all cores by threads.
            "n_jobs": self.problem.n_jobs if is_network else None,
        }

    def _fit(self, search: Any, model: Model, *, seconds: float = math.inf) -> bool:
        """Run a search and keep its trials; return whether it has results."""
        reserve = self.reserve
        if not math.isinf(seconds):
            # A pass that takes far longer than was thought is cut.
            reserve = max(reserve, self.clock.left - 1.5 * seconds)
        deadline = Deadline(self.clock, reserve, lambda _: self._report(often=True))
        if self.clock.budget is not None or self.tell is not None:
            search.set_params(progress=deadline)
        params = self.problem.fit_params(search.estimator)
        try:
            with warnings.catch_warnings():
                # Of fits that fail or do not converge the trials tell.
                warnings.simplefilter("ignore")
                search.fit(self.problem.X, self.problem.y, **params)
        except KeyboardInterrupt:
            if not deadline.has_ended:
                self._keep(search, model)
                raise
        except _ERRORS as error:
            self.failures[model.family] = str(error)
            return False
        return self._keep(search, model)

    def _keep(self, search: Any, model: Model) -> bool:
        if not hasattr(search, "cv_results_") or not hasattr(search, "models_"):
            return False
        n_before = sum(trial.family == model.family for trial in self.trials)
        own = trials_of(
            search,
            model.family,
            is_classification=self.problem.is_classification,
            n_before=n_before,
        )
        self.trials += own
        self._report()
        return bool(own)

    def begin(self, stage: str) -> None:
        """Tell what comes next.

        Parameters
        ----------
        stage : str
            What is done now.
        """
        self._stage = stage
        self._report()

    def _report(self, *, often: bool = False) -> None:
        """Tell where it stands; what comes often only now and then."""
        now = time.monotonic()
        if self.tell is None or (often and now - self._told < _SECONDS_BETWEEN_NEWS):
            return
        self._told = now
        best = max(self.trials, key=lambda trial: trial.score, default=None)
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
