# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Drop-in replacements of scikit-learn's grid, random and halving searches.

All candidates are evaluated in one round, or by successive halving with rungs that continue
the training.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any, Literal

import numpy as np
from sklearn import model_selection
from sklearn.model_selection import ParameterGrid

from sk_tune._compat import halving_searches, num_samples
from sk_tune._declaration import parameters
from sk_tune._sampler import RandomSampler
from sk_tune._schedule import (
    AsynchronousBracket,
    HalvingSchedule,
    Rung,
    halving_schedule,
    n_promoted,
)
from sk_tune._search._asynchronous_rungs import (
    AsynchronousRungs,
    Climb,
    climbs_asynchronously,
)
from sk_tune._search._base_search import BaseSearch
from sk_tune._search._choice import best_of_most
from sk_tune._search._fold_fits import full_name, own_resources
from sk_tune._search._rounds import Numbered, Rounds, refuse_searched
from sk_tune._search._search_parameters import (
    DispatchParameters,
    DistributionParameters,
    GridParameters,
    PlateauParameters,
    RungParameters,
    n_distinct,
    space_of,
    warn_of_few_candidates,
)
from sk_tune._search._shaped_rungs import Ladder
from sk_tune._space import Candidate
from sk_tune._types import Seed


@parameters
class GridSearchCV(  # type: ignore[misc]
    GridParameters,
    PlateauParameters,
    DispatchParameters,
    BaseSearch,
    model_selection.GridSearchCV,
):
    """Search over all combinations of listed values.

    Drop-in for scikit-learn's class of this name.  All networks of all folds train
    together; other estimators are evaluated as in scikit-learn.

    {parameters and attributes}

    See Also
    --------
    RandomizedSearchCV : For more combinations than can be tried.
    HyperbandSearchCV : Gives few epochs to many candidates first.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import GridSearchCV, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=16, max_epochs=10, batch_size=16, random_state=0)
    >>> search = GridSearchCV(net, {"learning_rate": [1e-4, 1e-2]}, cv=3).fit(X, y)
    >>> search.best_params_
    {'learning_rate': 0.01}
    >>> search.learning_curves_.shape
    (60, 7)
    """


@parameters
class RandomizedSearchCV(  # type: ignore[misc]
    DistributionParameters,
    PlateauParameters,
    DispatchParameters,
    BaseSearch,
    model_selection.RandomizedSearchCV,
):
    """Search over candidates that are drawn at random.

    Drop-in for scikit-learn's class of this name, with the same candidates for the same
    `random_state`.  All networks of all folds train together; other estimators are
    evaluated as in scikit-learn.

    Parameters
    ----------
    n_iter : int, default=10
        Number of candidates.
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    HyperbandSearchCV : Gives few epochs to many candidates first.
    BayesSearchCV : Learns from the scores.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import MLPClassifier, RandomizedSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=16, max_epochs=10, batch_size=16, random_state=0)
    >>> space = {"learning_rate": loguniform(1e-4, 1e-1)}
    >>> search = RandomizedSearchCV(net, space, n_iter=8, cv=3, random_state=0).fit(X, y)
    >>> bool(search.best_score_ > 0.9)
    True
    """

    n_iter: int = 10

    def _propose(self, rounds: Rounds, context: Any) -> None:
        space = space_of(self)
        candidates = RandomSampler(space, self.random_state).ask(self.n_iter)
        if len(candidates) < self.n_iter:
            warn_of_few_candidates(space, self.n_iter)
        n_tasks = len(candidates) * self.n_splits_
        with rounds.task(context, "search", n_tasks, is_sequential=False) as ctx:
            rounds.evaluate(candidates, callback_ctx=ctx)

    def _n_candidates_planned(self) -> int:
        return n_distinct(space_of(self), self.n_iter)


@parameters
class _Halving(RungParameters, BaseSearch):
    """The rungs of a halving search.

    Drop-in for scikit-learn's class of this name.  The resource is samples, a parameter of
    the estimator, or a network's epochs (``resource="max_epochs"``).  With epochs, promoted
    candidates continue training in every fold exactly where they stopped, and the
    learning-rate schedule spans all rungs.  Rungs are counted in integers, so that no rung
    is lost at exact powers of `factor`.
    """

    _select_best_index = staticmethod(best_of_most)
    _level = "iter"

    def _check_input_parameters(self, X: Any, y: Any, split_params: Any) -> None:
        if isinstance(self.scoring, list | tuple | set | dict):
            raise ValueError(
                f"The 'scoring' parameter of {type(self).__name__} must be one metric, "
                f"which decides the promotions. Got {self.scoring!r} instead."
            )
        self.resource_: str = full_name(self.estimator, self.resource) or self.resource
        # scikit-learn neither looks for the network in a pipeline nor for its epochs.
        named = copy(self)
        named.resource = self.resource_
        if self.max_resources == "auto" and self.resource_ in self.estimator.get_params():
            n_samples = 0 if X is None else num_samples(X)
            named.max_resources = own_resources(self.estimator, self.resource_, n_samples)
        super(_Halving, named)._check_input_parameters(X, y, split_params)
        self.min_resources_: int = named.min_resources_
        self.max_resources_: int = named.max_resources_

    def _run_search(self, evaluate_candidates: Any, *, callback_ctx: Any = None) -> None:
        candidates: Sequence[Candidate] = list(self._generate_candidate_params())
        refuse_searched(self.resource_, {name for c in candidates for name in c})
        schedule = self._halving_schedule(len(candidates))
        self.min_resources_ = schedule.min_resources
        self.n_required_iterations_ = schedule.n_required_iterations
        self.n_possible_iterations_ = schedule.n_possible_iterations
        if self.verbose:
            for name in ("n_iterations", "n_required_iterations", "n_possible_iterations"):
                print(f"{name}: {getattr(schedule, name)}")  # noqa: T201
            names = ("min_resources_", "max_resources_", "aggressive_elimination", "factor")
            for name in names:
                print(f"{name}: {getattr(self, name)}")  # noqa: T201
        # Searches that warm-start from this one need it, even if no candidate has all
        # resources.
        self._full_resources = schedule.rungs[-1].n_resources
        self._run_rounds(
            evaluate_candidates,
            lambda rounds: self._climb(rounds, candidates, schedule, callback_ctx),
        )

    def _climb(
        self,
        rounds: Rounds,
        candidates: Sequence[Candidate],
        schedule: HalvingSchedule,
        context: Any,
    ) -> None:
        is_asynchronous = climbs_asynchronously(self, self.resource_)
        # Asynchronous rungs have no fixed number of candidates.
        n_rungs = None if is_asynchronous else schedule.n_iterations
        with rounds.task(context, "search", n_rungs) as ctx:
            if is_asynchronous:
                new = iter(candidates)
                bracket = AsynchronousBracket(schedule.rungs, self.factor)
                climb = Climb(bracket, lambda: next(new, None), self.n_splits_)
                AsynchronousRungs(self, rounds, [climb], context=ctx).climb()
                return
            ladder, iteration = rounds.ladder(schedule.rungs), 0
            entering: Sequence[Numbered] = rounds.numbered(candidates)
            while entering := rounds.in_time(entering, ladder, iteration):
                entering = self._promoted(rounds, entering, ladder, iteration, ctx)
                if rounds.is_over:
                    break
                iteration += 1

    def _promoted(
        self,
        rounds: Rounds,
        candidates: Sequence[Numbered],
        ladder: Ladder,
        iteration: int,
        ctx: Any,
    ) -> Sequence[Numbered]:
        if self.verbose:
            if rounds.session.line is not None:
                rounds.session.line.clear()
            print("-" * 10)  # noqa: T201
            print(f"iter: {iteration}")  # noqa: T201
            print(f"n_candidates: {len(candidates)}")  # noqa: T201
            print(f"n_resources: {ladder.rungs[iteration].n_resources}")  # noqa: T201
        name = "halving-iteration"
        scores = rounds.evaluate_rung(candidates, ladder, iteration, ctx, name)
        if rounds.lost_all:
            return candidates[:1]
        # Candidates without a score are promoted if too few have one, as in scikit-learn.
        order = np.roll(np.argsort(scores), np.count_nonzero(np.isnan(scores)))
        n_dropped = max(0, len(order) - ladder.n_promoted(iteration))
        promoted = [candidates[k] for k in order[n_dropped:]]
        # The best is last, as in scikit-learn, but first if the time may run out.
        return promoted if self.time_budget is None else promoted[::-1]

    def _keep(self, rounds: Rounds) -> None:
        super()._keep(rounds)
        results = self.cv_results_
        _, first, counts = np.unique(results["iter"], return_index=True, return_counts=True)
        self.n_candidates_ = counts.tolist()
        self.n_iterations_ = len(counts)
        self.n_resources_ = np.asarray(results["n_resources"])[first].tolist()
        self.n_remaining_candidates_ = n_promoted(self.n_candidates_[-1], self.factor)

    def _n_promoted(self, n_candidates: int, before: Rung, after: Rung) -> int:
        return n_promoted(n_candidates, self.factor)

    def _halving_schedule(self, n_candidates: int) -> HalvingSchedule:
        is_exhaustive = self.min_resources == "exhaust"
        return halving_schedule(
            n_candidates,
            max_resources=self.max_resources_,
            min_resources="exhaust" if is_exhaustive else self.min_resources_,
            smallest_resources=self.min_resources_,
            factor=self.factor,
            aggressive_elimination=self.aggressive_elimination,
        )

    def _planned_rungs(self, max_epochs: int) -> list[tuple[None, Sequence[Rung]]]:
        return [(None, self._halving_schedule(self._n_candidates_planned()).rungs)]


@parameters
class HalvingGridSearchCV(  # type: ignore[misc]
    GridParameters, _Halving, halving_searches.HalvingGridSearchCV
):
    """Successive halving over all combinations of listed values.

    {description}

    Parameters
    ----------
    random_state : int, RandomState or None, default=None
        Seed of subsamples.
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    HyperbandSearchCV : Several brackets of this, from many short to few long.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import HalvingGridSearchCV, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=16, batch_size=16, random_state=0)
    >>> grid = {"learning_rate": [1e-4, 1e-3, 1e-2], "dropout": [0.0, 0.2, 0.4]}
    >>> search = HalvingGridSearchCV(
    ...     net, grid, resource="max_epochs", max_resources=9, cv=3
    ... ).fit(X, y)
    >>> search.n_candidates_, search.n_resources_
    ([9, 3, 1], [1, 3, 9])
    """

    random_state: Seed = None

    def _generate_candidate_params(self) -> list[Candidate]:
        candidates = list(ParameterGrid(self.param_grid))
        if self.time_budget is not None:
            # The time may run out after the first candidates, which should not come from a
            # corner of the grid.
            np.random.default_rng(0).shuffle(candidates)
        return candidates


@parameters
class HalvingRandomSearchCV(  # type: ignore[misc]
    DistributionParameters, _Halving, halving_searches.HalvingRandomSearchCV
):
    """Successive halving over candidates that are drawn at random.

    {description}

    Parameters
    ----------
    n_candidates : int or "exhaust", default="exhaust"
        Candidates of the first rung.  With "exhaust", the number is chosen so that the last
        rung uses up the resources.
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    HyperbandSearchCV : Several brackets of this, from many short to few long.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import HalvingRandomSearchCV, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=16, batch_size=16, random_state=0)
    >>> space = {"learning_rate": [1e-4, 1e-3, 1e-2], "dropout": [0.0, 0.2, 0.4]}
    >>> search = HalvingRandomSearchCV(
    ...     net, space, resource="max_epochs", max_resources=9, cv=3, random_state=0
    ... ).fit(X, y)
    >>> search.n_candidates_, search.n_resources_
    ([9, 3, 1], [1, 3, 9])
    """

    n_candidates: int | Literal["exhaust"] = "exhaust"
    min_resources: int | Literal["smallest", "exhaust"] = "smallest"

    def _generate_candidate_params(self) -> list[Candidate]:
        space = space_of(self)
        candidates = RandomSampler(space, self.random_state).ask(
            self._n_candidates_planned()
        )
        if self.n_candidates != "exhaust" and len(candidates) < self.n_candidates:
            warn_of_few_candidates(space, self.n_candidates, "n_candidates")
        return candidates

    def _n_candidates_planned(self) -> int:
        n_candidates = self.n_candidates
        if n_candidates == "exhaust":
            n_candidates = self.max_resources_ // self.min_resources_
        return n_distinct(space_of(self), n_candidates)
