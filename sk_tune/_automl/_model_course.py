# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The order in which models are trained within the time budget.

First, each model is trained with its defaults, on a sample if all rows take too
long.  Rounds follow: the best model of a sample is trained on more rows, networks for
images and sequences get a pass of Hyperband and are diagnosed, and networks for tables and
boosting try random candidates.

Costs of fits are measured first, so that no training starts without time for it.
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from sklearn.base import clone

from sk_tune._automl._blend import Trial, best_of
from sk_tune._automl._growth import grow
from sk_tune._automl._models import Model
from sk_tune._automl._problem import Problem
from sk_tune._automl._refits import refitted
from sk_tune._automl._resources import (
    Cost,
    affordable,
    few_threads,
    hyperband_size,
    measured_cost,
)
from sk_tune._automl._runner import ERRORS, NO_SCORE, Memory, ModelKind, Runner
from sk_tune._diagnosis import AppliedChange, Finding, apply_remedies
from sk_tune._sampler import Sampler
from sk_tune._search import GridSearchCV, HyperbandSearchCV, RandomizedSearchCV
from sk_tune._training import one_thread, slowdown

# Shares of the budget for a default model of each family.
_FIRST_SHARES = {"linear": 0.08, "boosting": 0.2}
# The same for the linear model of a wide table, where it is often the best.
_FIRST_SHARE_OF_WIDE = 0.3
# The same for networks: more on images and sequences, where other models are weaker.
_FIRST_SHARES_OF_NETWORK = {"table": 0.2, "image": 0.35, "sequence": 0.35}
# Part of such a share for measuring the cost of fits.
_SHARE_TO_MEASURE = 0.4
# Share of the budget that must be left to retry a model that seemed too slow.
_SHARE_TO_TRY_AGAIN = 0.3
# Part of the remaining time for a round, and its least seconds.
_PART_OF_ROUND, _SHORTEST_ROUND = 1 / 3, 3.0
# Part of a round for networks: more if a network is the best model so far.
_PART_OF_NETWORKS = {True: 0.65, False: 0.45}
# Time for one network, as a multiple of the average.
_SLACK = 1.2
# Part of a round for training the best model on more samples, or for longer.
_PART_OF_LARGER = 0.5
# Least growth of samples times epochs that justifies another training.
_GROWTH = 1.5
# Least number of samples of a training: in total, and for each class.
_LEAST_ROWS, _LEAST_ROWS_OF_CLASS = 100, 10
# Candidates get more samples or epochs only if a round has time for this many of them.
_CANDIDATES_OF_ROUND = 4
# Time to predict a sample, as a multiple of the time to train on a sample.
_COST_OF_HELD_OUT = 1 / 3
# Relative time of a table network with half of its members, measured with 8, 4 and 2.
_COST_OF_HALF = 0.65
# Numbers of values of X below which models are trained without measuring their cost.
# Boosting ends when its time is up.
_FEW_VALUES = {"linear": 50_000, "boosting": 1_000_000}
# The same for the linear model of a wide table, which takes few iterations.
_FEW_VALUES_IF_WIDE = 2_000_000
# Random candidates in a round, without and with a time budget.
_N_CANDIDATES, _MOST_CANDIDATES = 8, 300
# Slowdown by other programs from which the machine counts as busy.
_SLOWDOWN_OF_BUSY = 1.5
# Part of an estimated budget that is for refits, the ensemble and the last check.
_PART_FOR_THE_END = 0.25
_TOO_LONG = "Training takes too long for this budget."


@dataclass(slots=True, eq=False, kw_only=True)
class ModelCourse:
    """Trains models until the time is up or the rounds are done.

    `final` is the problem with the rows set aside, for refits. `n_rounds` is None to
    continue until the time is up. `sampler` draws candidates of Hyperband. With
    `follows_findings` each search of networks is diagnosed, and `changes` are the applied
    remedies.
    """

    problem: Problem
    final: Problem
    runner: Runner
    n_rounds: int | None
    sampler: str | Callable[..., Sampler]
    follows_findings: bool
    changes: list[AppliedChange] = field(default_factory=list)
    was_interrupted: bool = False
    # Estimated time budget with which a model that takes too long would be trained.
    _budgets: dict[str, float] = field(default_factory=dict)
    # Names of trials that were already trained on more samples, or for longer.
    _enlarged: set[str] = field(default_factory=set)
    # Number of models of each family.
    _n_models: Counter[str] = field(default_factory=Counter)

    @property
    def memory(self) -> Memory:
        """Trials and state of the fit so far."""
        return self.runner.memory

    @property
    def findings(self) -> list[Finding]:
        """Findings about the best search of each network model, with its name."""
        searches = self.memory.searches if self.follows_findings else {}
        return [
            replace(finding, subject=name)
            for name, part in searches.items()
            for finding in part.findings
        ]

    @property
    def late_models(self) -> dict[str, float]:
        """Models without time, with the budget that each needs; infinite if unknown."""
        return {
            name: self._budgets.get(name, math.inf)
            for name, reason in self.runner.failures.items()
            if reason in {_TOO_LONG, NO_SCORE}
        }

    def run(self, models: Sequence[Model]) -> None:
        """Train models in the given order, then rounds; the first model always trains."""
        try:
            has_end = self.runner.clock.budget is not None
            is_busy = has_end and slowdown() > _SLOWDOWN_OF_BUSY
            with one_thread(), few_threads(self.problem.n_values, is_busy=is_busy):
                self._run_defaults(models)
                self._run_rounds()
        except KeyboardInterrupt:
            # The caller combines the trials so far and raises KeyboardInterrupt again.
            self.was_interrupted = True

    def refits(self, trials: Iterable[Trial]) -> dict[str, Any]:
        """Fit trials on all rows, in order, while there is time; return the models."""
        models, runner = dict[str, Any](), self.runner
        has_refits = runner.share_of_refit > 0 and not self.was_interrupted
        try:
            for trial in dict.fromkeys(trials) if has_refits else ():
                is_fixed = trial.n_rows < self.problem.n_train or trial.family == "dummy"
                model = None if is_fixed else refitted(trial, self.final, runner)
                if model is not None:
                    models[trial.name] = model
        except KeyboardInterrupt:
            self.was_interrupted = True
        return models

    def _run_defaults(self, models: Sequence[Model]) -> None:
        runner = self.runner
        self._n_models.update(model.family for model in models)
        # An interrupted fit may have trials of a model, but no measured cost.
        labels = {t.label for t in self.memory.trials}
        labels -= {m.name for m in models if m.resource} - self.memory.kinds.keys()
        if any(model.is_network for model in models):
            # The workers start while other models are trained.
            runner.start_workers()
        for model in models:
            is_needed = model.name not in labels and not self._is_replaced(model)
            if is_needed and self._has_time(model):
                self._try_default(model)
        for model in models:
            # Imports and other processes can make a measurement too long.
            is_late = runner.failures.get(model.name) == _TOO_LONG
            if is_late and runner.left > runner.clock.share(_SHARE_TO_TRY_AGAIN):
                del runner.failures[model.name]
                self._try_default(model)

    def _try_default(self, model: Model) -> None:
        """Train a model with its defaults, on as many samples as there is time for."""
        runner, n_train = self.runner, self.problem.n_train
        runner.begin(f"{model.name}, default")
        n_rows, units, cost = n_train, model.most_resources, None
        if model.resource and runner.clock.budget is not None and not self._is_cheap(model):
            try:
                model, n_rows, units, cost = self._affordable_default(model)
            except ERRORS as error:
                runner.failures[model.name] = str(error)
                return
            if not n_rows:
                runner.failures[model.name] = _TOO_LONG
                self._budgets[model.name] = self._sufficient_budget(model, cost)
                return
        problem = self.problem.sampled(n_rows)
        if n_rows < n_train:
            model = model.on(problem)
            units = min(units, model.most_resources)
        grid, estimator = dict(model.grid), clone(model.estimator)
        if model.resource:
            estimator.set_params(**{model.resource: units})
            grid[model.resource] = [units]
        began = runner.clock.seconds
        limit = runner.clock.share(self._first_share(model))
        if cost is not None and model.is_narrow:
            limit = max(limit, cost.seconds(n_rows, units))
        limit = min(limit, runner.left)
        seconds = None if math.isinf(limit) else max(limit, 1e-3)
        store = runner.store(model.name, seconds) if model.is_network else {}
        search = runner.run(
            GridSearchCV, estimator, grid, model, problem, time_budget=seconds, **store
        )
        if not model.resource:
            return
        kind = ModelKind(model, n_rows, units, cost, estimator, dict(model.space))
        self.memory.kinds[model.name] = kind
        if model.is_network:
            n_epochs = units * len(problem.folds)
            if search is not None:
                # Fits that were stopped have fewer epochs.
                n_epochs = search.ledger_.epochs_trained or n_epochs
            spent = (runner.clock.seconds - began) / n_epochs
            per_unit = math.inf if cost is None else cost.seconds_per_unit(n_rows)
            kind.seconds_per_epoch = min(spent, per_unit / len(problem.folds) or math.inf)

    def _is_replaced(self, model: Model) -> bool:
        """Return whether a better network makes a fallback unnecessary."""
        trials, n_train = self.memory.trials, self.problem.n_train
        return model.is_fallback and any(
            t.is_network and t.n_rows == n_train for t in trials
        )

    def _has_time(self, model: Model) -> bool:
        """Return whether there is time to measure the cost of a model."""
        is_quick = model.family == "linear" and self._is_cheap(model)
        if model.family == "dummy" or is_quick or self.runner.left > 0:
            return True
        self.runner.failures[model.name] = _TOO_LONG
        return False

    def _is_cheap(self, model: Model) -> bool:
        is_wide = model.family == "linear" and self.problem.is_wide
        few = _FEW_VALUES_IF_WIDE if is_wide else _FEW_VALUES.get(model.family, 0)
        return self.problem.n_values < few

    def _first_share(self, model: Model) -> float:
        if model.is_network:
            return _FIRST_SHARES_OF_NETWORK[self.problem.kind]
        if model.family == "linear" and self.problem.is_wide:
            return _FIRST_SHARE_OF_WIDE
        # Packages of boosting get more time together, but less each.
        share = _FIRST_SHARES.get(model.family, math.inf)
        return share / math.sqrt(self._n_models[model.family])

    def _affordable_default(self, model: Model) -> tuple[Model, int, int, Cost]:
        """Return a default model, its samples, epochs or iterations, and its cost.

        Table networks get fewer members before they get fewer epochs.
        """
        runner = self.runner
        share = runner.clock.share(self._first_share(model))
        began = runner.clock.seconds
        n_train, n_fits = self.problem.n_train, self.problem.n_largest_folds
        cost = measured_cost(
            partial(runner.probe, model, self.problem),
            n_train,
            limit=_SHARE_TO_MEASURE * min(share, runner.left),
            is_enough=lambda cost: (
                n_fits * cost.seconds(n_train, model.most_resources) < share / 2
            ),
        ).times(n_fits)
        spent = runner.clock.seconds - began
        # A training on few samples is better than none.  Networks may also get few epochs,
        # because they are stopped when their time is up.
        enough, half = model.enough_resources, runner.left / 2
        least = 1 if model.is_network else enough
        first = min(share - spent, runner.left)
        if model.is_narrow:
            if cost.seconds(n_train, model.most_resources) > first:
                model, cost = model.with_half_the_members(), cost.times(_COST_OF_HALF)
            first, enough = half, math.ceil(model.most_resources / 2)
        for seconds, fewest in ((first, enough), (half, enough), (half, least)):
            n_rows, units = self._affordable(model, cost, seconds, fewest)
            if n_rows:
                break
        return model, n_rows, units, cost

    def _sufficient_budget(self, model: Model, cost: Cost) -> float:
        """Return the time budget with which a model would need half of the time left."""
        seconds = cost.seconds(self.problem.n_train, model.enough_resources)
        return (self.runner.clock.seconds + 2 * seconds) / (1 - _PART_FOR_THE_END)

    def _affordable(
        self, model: Model, cost: Cost, seconds: float, enough: int
    ) -> tuple[int, int]:
        least = max(_LEAST_ROWS, _LEAST_ROWS_OF_CLASS * self.problem.n_classes)
        n_rows, units = affordable(
            cost,
            seconds,
            n_rows=self.problem.n_train,
            least_rows=least,
            most=model.most_resources,
            enough=enough,
        )
        if n_rows == self.problem.n_train:
            # Boosting ends when it no longer improves, or when its time is up.
            is_boosting = model.family == "boosting"
            return n_rows, model.most_resources if is_boosting else units
        if not model.is_network:
            return n_rows, units
        # The measurement had few held-out samples; training predicts all in each epoch.
        more = _COST_OF_HELD_OUT * max(len(test) for _, test in self.problem.folds)
        n_rows = int((n_rows - more) / (1 - more / self.problem.n_train))
        return (n_rows, units) if n_rows >= least else (0, 0)

    def _run_rounds(self) -> None:
        runner, part, first = self.runner, _PART_OF_ROUND, self.memory.n_done
        searched = [kind for kind in self.memory.kinds.values() if kind.space]
        networks = [kind for kind in searched if kind.model.is_network]
        boosting = [kind for kind in searched if not kind.model.is_network]
        while networks or boosting:
            seconds_left, is_last = runner.left, self.memory.n_done - first == self.n_rounds
            if is_last or seconds_left < _SHORTEST_ROUND / 10:
                return
            seconds = min(seconds_left, max(part * seconds_left, _SHORTEST_ROUND))
            n_trials = len(self.memory.trials)
            ends = runner.clock.seconds + seconds
            self._enlarge_best(_PART_OF_LARGER * seconds)
            seconds = ends - runner.clock.seconds if math.isfinite(seconds) else seconds
            is_network = runner.best is not None and runner.best.is_network
            share = _PART_OF_NETWORKS[is_network] if boosting else 1.0
            for kind in networks:
                seconds_of_kind = share * seconds / len(networks)
                if kind.model.is_narrow and (took := runner.seconds_of(kind.model)):
                    # One more network may take the time of several rounds.
                    one = _SLACK * sum(took) / len(took)
                    seconds_of_kind = max(seconds_of_kind, min(one, seconds_left / 2))
                self._run_network(kind, seconds_of_kind)
            for n_left, kind in zip(range(len(boosting), 0, -1), boosting, strict=True):
                # The networks may have exceeded their time, or left some of it.
                spare = ends - runner.clock.seconds if math.isfinite(seconds) else seconds
                self._run_boosting(kind, min(max(spare, 0.0) / n_left, runner.left))
            self.memory.n_done += 1
            if len(self.memory.trials) == n_trials and self.n_rounds is None:
                if seconds >= seconds_left / 2:
                    self._enlarge_best(runner.left)
                    return
                part = 1.0
        self._enlarge_best(runner.left)

    def _enlarge_best(self, seconds: float) -> None:
        """Train the best model of a sample on more samples or for longer, if affordable."""
        kinds = self.memory.kinds
        tuned = [trial for trial in self.memory.trials if trial.label in kinds]
        for trial in best_of([t for t in tuned if t.name not in self._enlarged], 1):
            kind = kinds[trial.label]
            units = trial.params.get(kind.model.resource, kind.units)
            larger = self._larger(kind, seconds, trial.n_rows, units)
            if larger is None:
                return
            model, n_rows, units = larger
            params = {**trial.params, model.resource: units}
            self._enlarged.add(trial.name)
            self.runner.begin(f"{model.name}, {n_rows} rows")
            self.runner.run(
                GridSearchCV,
                model.estimator,
                {name: [value] for name, value in params.items()},
                model,
                self.problem.sampled(n_rows),
                time_budget=seconds if math.isfinite(seconds) else None,
            )

    def _enlarge_kind(self, kind: ModelKind, seconds: float) -> None:
        """Give candidates more samples or epochs, if there is time for several of them."""
        each = seconds / _CANDIDATES_OF_ROUND
        larger = self._larger(kind, each, kind.n_rows, kind.units)
        if larger is None or kind.cost is None:
            return
        earlier_cost = max(kind.cost.seconds_per_unit(kind.n_rows), 1e-9)
        has_more_rows = larger[1] > kind.n_rows
        kind.model, kind.n_rows, kind.units = larger
        kind.seconds_per_epoch *= kind.cost.seconds_per_unit(kind.n_rows) / earlier_cost
        if has_more_rows:
            kind.estimator, kind.space = clone(kind.model.estimator), dict(kind.model.space)
        kind.estimator.set_params(**{kind.model.resource: kind.units})
        if kind.next_search is not None:
            kind.next_search.set_params(
                estimator=kind.estimator,
                param_distributions=kind.space,
                max_resources=kind.units,
            )
            # The target has no score: scores with other sizes do not show the effect of a
            # remedy.
            kind.next_search = apply_remedies((), kind.next_search).target

    def _larger(
        self, kind: ModelKind, seconds: float, n_rows: int, units: int
    ) -> tuple[Model, int, int] | None:
        """Return the model, samples and units of a much larger training, or None."""
        model = kind.model.on(self.problem)
        is_full = n_rows >= self.problem.n_train and units >= model.most_resources
        if kind.cost is None or is_full:
            return None
        more_rows, more_units = self._affordable(
            model, kind.cost, seconds, kind.model.enough_resources
        )
        if more_rows < n_rows or more_rows * more_units < _GROWTH * n_rows * units:
            return None
        model = kind.model.on(self.problem.sampled(more_rows))
        return model, more_rows, min(more_units, model.most_resources)

    def _run_network(self, kind: ModelKind, seconds: float) -> None:
        """Try random candidates, or run a Hyperband pass and follow its findings."""
        model, runner = kind.model, self.runner
        if kind.pass_begun is None:
            self._enlarge_kind(kind, seconds)
        if model.can_grow and self._is_random(model):
            seconds -= grow(kind, runner, self.problem, seconds)
        # A resumed pass has the same networks only with the same resources.
        size = kind.pass_begun or self._size_of_pass(kind, seconds)
        if size is None:
            return
        kind.pass_begun = size
        if store := runner.store(model.name, seconds):
            runner.keep()
        runner.begin(f"{model.name}, round {self.memory.n_done + 1}")
        is_timed, began = math.isfinite(seconds), runner.clock.seconds
        search_class: Any = RandomizedSearchCV
        options: dict[str, Any] = {
            "n_iter": _MOST_CANDIDATES if is_timed else _N_CANDIDATES
        }
        if not self._is_random(model):
            search_class, options = HyperbandSearchCV, {"sampler": self.sampler}
            # Members need all folds, which more candidates have with this factor.
            options |= {"resource": model.resource, "factor": 3, "select_epoch": "last"}
            options |= zip(("min_resources", "max_resources"), size, strict=True)
        search = runner.run(
            search_class,
            kind.estimator,
            kind.space,
            model,
            self.problem.sampled(kind.n_rows),
            random_state=self.problem.seed + kind.n_done + 1,
            time_budget=seconds if is_timed else None,
            **options,
            **store,
        )
        kind.n_done, kind.pass_begun = kind.n_done + 1, None
        if search is None:
            return
        n_epochs = search.ledger_.epochs_trained
        if n_epochs:
            kind.seconds_per_epoch = (runner.clock.seconds - began) / n_epochs
        if self.follows_findings and not model.is_narrow:
            self._follow_findings(kind, search)

    def _is_random(self, model: Model) -> bool:
        return model.is_narrow and self.sampler == "random"

    def _size_of_pass(self, kind: ModelKind, seconds: float) -> tuple[int, int] | None:
        """Return the least and most epochs of candidates; None without time for one."""
        if self._is_random(kind.model):
            # Networks that stop early take less time than their epochs.
            took = self.runner.seconds_of(kind.model)
            is_late = bool(took) and sum(took) / len(took) > seconds
            return None if is_late else (kind.units, kind.units)
        n_folds = len(self.problem.folds)
        epochs = seconds / (n_folds * max(kind.seconds_per_epoch, 1e-9))
        least, most = hyperband_size(epochs, kind.units)
        if most < (enough := min(kind.model.enough_resources, kind.units)):
            if seconds < self.runner.left / 2:
                return None
            # Nothing else can be trained, so try networks and stop them when time is up.
            least = most = enough
        return least, most

    def _follow_findings(self, kind: ModelKind, search: Any) -> None:
        """Apply a remedy to space and network, or take back one that lowered the score."""
        part = self.runner.latest
        if part is None:
            return
        options: dict[str, Any]
        options = {"resource": kind.model.resource, "max_resources": kind.units}
        upcoming = kind.next_search
        upcoming = upcoming or HyperbandSearchCV(kind.estimator, kind.space, **options)
        upcoming.best_score_ = search.best_score_
        with warnings.catch_warnings(action="ignore"):
            applied = apply_remedies(part.findings, upcoming)
        name = kind.model.name
        self.changes += [replace(change, subject=name) for change in applied.changes]
        kind.next_search = target = applied.target
        kind.space, kind.estimator = dict(target.param_distributions), target.estimator
        kind.units = target.max_resources

    def _run_boosting(self, kind: ModelKind, seconds: float) -> None:
        self._enlarge_kind(kind, seconds)
        self.runner.begin(f"{kind.model.name}, round {self.memory.n_done + 1}")
        took = self.runner.seconds_of(kind.model)
        # Start the last candidate only if even a slow candidate would end in time.
        spare = max(took, default=math.inf) - sum(took) / max(len(took), 1)
        if not took or min(took) + spare > seconds:
            return
        is_timed = math.isfinite(seconds)
        self.runner.run(
            RandomizedSearchCV,
            kind.estimator,
            kind.space,
            kind.model,
            self.problem.sampled(kind.n_rows),
            n_iter=_MOST_CANDIDATES if is_timed else _N_CANDIDATES,
            time_budget=seconds - spare if is_timed else None,
            random_state=self.problem.seed + kind.n_done + 1,
        )
        kind.n_done += 1
