# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Hyperband and BOHB, cross-validated, with rungs that continue the training."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from sklearn.base import is_classifier

from sk_tune._compat import Interval, StrOptions, num_samples
from sk_tune._declaration import COUNT, parameters
from sk_tune._sampler import (
    BayesSampler,
    FidelitySampler,
    RandomSampler,
    Sampler,
    TPESampler,
    announce,
)
from sk_tune._schedule import (
    AsynchronousBracket,
    Bracket,
    Rung,
    hyperband_brackets,
    one_fold_brackets,
    promoted_in_ratio,
)
from sk_tune._search._asynchronous_rungs import (
    AsynchronousRungs,
    Climb,
    climbs_asynchronously,
)
from sk_tune._search._base_search import BaseSearch
from sk_tune._search._choice import best_of_most
from sk_tune._search._fold_fits import full_name, network_of, own_resources
from sk_tune._search._outcomes import best_first, positions
from sk_tune._search._rounds import Numbered, Rounds, refuse_searched
from sk_tune._search._search_parameters import (
    DistributionParameters,
    LearningParameters,
    PlateauParameters,
    SamplerFactory,
    WaitingParameters,
    n_distinct,
    sampler_from,
    space_of,
)
from sk_tune._search._shaped_rungs import Ladder
from sk_tune._search._warm_start import tell_earlier
from sk_tune._search_record import grants_epochs
from sk_tune._space import Candidate, Space
from sk_tune._text import did_you_mean
from sk_tune._warnings import warn_user
from sk_tune.exceptions import SkTuneWarning

# Largest number of brackets on one fold within a time budget. Together they train about as
# many epochs as Hyperband's.
_MOST_PASSES = 3
# Fewer held-out samples on the first fold cannot rank candidates.
_LEAST_HELD_OUT = 10


@parameters
class HyperbandSearchCV(
    DistributionParameters,
    PlateauParameters,
    LearningParameters,
    WaitingParameters,
    BaseSearch,
):
    """Hyperband: few epochs for many candidates, many epochs for the few best.

    By default, there is one bracket of successive halving: candidates train on the
    first fold (on all folds if it holds out fewer than 10 samples), and one in 24 (at
    least two) reaches the last rung with all folds and all epochs.  An integer `factor`
    selects the brackets of Hyperband, from many candidates with few epochs to few
    candidates with all epochs [1]_.  A promoted candidate continues its training on
    every fold exactly where it stopped; its learning-rate schedule spans
    `max_resources` from the start.

    Parameters
    ----------
    resource : str, default="max_epochs"
        Resource that grows from rung to rung: a parameter of the estimator with integer
        values, or "n_samples".  "max_epochs" also finds the epochs of the network in a
        pipeline or a TransformedTargetRegressor.
    max_resources : int or "auto", default="auto"
        Resource of the last rung of every bracket; "auto" is the estimator's value of
        `resource`, or the number of samples.
    min_resources : int, default=1
        Resource of the first rung of the first bracket; for samples, as in
        scikit-learn's halving, at least 2 for each fold and class.
    factor : int or "auto", default="auto"
        With an integer, one candidate in `factor` is promoted, and all rungs use all folds.
        If the resource is the epochs of a network and `sampler` is "random", "auto" is the
        bracket on one fold, with the number of candidates that Hyperband starts; otherwise
        it is 3.  With a `time_budget`, the search trains up to three of these brackets, the
        last one with as many candidates as the time allows (`asynchronous` rungs then have
        a factor of 3).  For an ensemble, whose members need all folds, a factor of 3 leaves
        more candidates to choose from.
    sampler : {"random", "bayes", "tpe"} or callable, default="random"
        Source of candidates.  "bayes" makes the search BOHB [2]_: a model learns from the
        highest rung with enough candidates.  "tpe" does the same with Optuna's
        tree-structured Parzen estimator (extra ``tpe``).  A callable is called as
        ``sampler(space, random_state)`` and returns a :class:`sk_tune.sampler.Sampler`.
    select_epoch : {"last", "best"}, default="best"
        Epoch at which networks are scored: the last, or the best epoch of the candidate's
        mean curve over the folds of its rung (of the score for accuracy and R^2, otherwise
        of the loss).  All folds and the refit use the same epoch.
    {parameters}

    Attributes
    ----------
    resource_ : str
        Name of the resource's parameter.
    max_resources_ : int
        Resource of the last rungs.
    brackets_ : tuple of Bracket
        Planned rungs with candidates, resources and folds.
    {attributes}

    See Also
    --------
    HalvingRandomSearchCV : One bracket.
    BayesSearchCV : A model, and all epochs for every candidate.

    Notes
    -----
    If the space contains the estimator's values of all searched parameters, the first
    candidate has these values, unless a callable or an earlier search proposes candidates.

    ``cv_results_["n_folds"]`` is the number of folds of a row; scores of the other folds
    are NaN, and means and standard deviations are over the folds with a score.  Rows with
    all folds rank above other rows.  ``expected_score_`` does not use the first fold, on
    which candidates were dropped: it compares the candidates with all folds on the
    remaining folds.

    References
    ----------
    .. [1] L. Li, K. Jamieson, G. DeSalvo, A. Rostamizadeh, A. Talwalkar. Hyperband: a novel
       bandit-based approach to hyperparameter optimization. JMLR 18(185):1-52, 2018.
    .. [2] S. Falkner, A. Klein, F. Hutter. BOHB: robust and efficient hyperparameter
       optimization at scale. ICML 2018.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import HyperbandSearchCV, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=16, max_epochs=9, batch_size=16, random_state=0)
    >>> space = {"learning_rate": loguniform(1e-4, 1e-1)}
    >>> search = HyperbandSearchCV(net, space, cv=3, random_state=0).fit(X, y)
    >>> bool(search.best_score_ > 0.9), search.best_params_["max_epochs"]
    (True, 9)
    """

    resource: Annotated[str, str] = "max_epochs"
    max_resources: Annotated[int | Literal["auto"], COUNT, StrOptions({"auto"})] = "auto"
    min_resources: Annotated[int, COUNT] = 1
    factor: Annotated[
        int | Literal["auto"],
        Interval(Integral, 2, None, closed="left"),
        StrOptions({"auto"}),
    ] = "auto"
    select_epoch: Annotated[Literal["last", "best"], StrOptions({"last", "best"})] = "best"
    sampler: Annotated[
        Literal["random", "bayes", "tpe"] | SamplerFactory,
        StrOptions({"random", "bayes", "tpe"}),
        callable,
    ] = "random"

    _select_best_index = staticmethod(best_of_most)
    _level = "n_resources"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "param_distributions": [Mapping, list, tuple]
    }

    def _check_input_parameters(self, X: Any, y: Any, split_params: Any) -> None:
        super()._check_input_parameters(X, y, split_params)
        self.resource_ = self._resource_name()
        n_samples = 0 if X is None else num_samples(X)
        self._n_samples_orig = n_samples
        least, most = int(self.min_resources), self.max_resources
        if self.resource == "n_samples":
            n_folds = self._checked_cv_orig.get_n_splits(X, y, **split_params)
            n_classes = len(np.unique(y)) if is_classifier(self.estimator) else 1
            # Two samples of each class in each fold, as in scikit-learn.
            least = max(least, 2 * n_folds * n_classes)
            most = n_samples if most == "auto" else most
        elif most == "auto":
            most = own_resources(self.estimator, self.resource_, n_samples)
        self.max_resources_ = int(most)
        # Searches that warm-start from this one need it, even if no candidate has all
        # resources.
        self._full_resources = self.max_resources_
        self.brackets_ = brackets = self._brackets(least)
        if brackets[0].rungs[0].n_folds == 1 and X is not None:
            # A copy: a splitter with a RandomState draws other folds each time.
            splits = deepcopy(self._checked_cv_orig).split(X, y, **split_params)
            if len(positions(next(iter(splits))[1])) < _LEAST_HELD_OUT:
                self.brackets_ = tuple(map(_on_all_folds, brackets))

    def _brackets(self, min_resources: int) -> tuple[Bracket, ...]:
        self._factor: int | None = 3 if self.factor == "auto" else self.factor
        of_epochs = grants_epochs(self.resource_) and network_of(self.estimator) is not None
        is_limited = self.time_budget is not None
        # If a time budget ends asynchronous rungs, there may be no candidate with all
        # folds.
        waits = not (is_limited and self.asynchronous)
        if self.factor == "auto" and of_epochs and waits and self.sampler == "random":
            self._factor = None
            n_passes = _MOST_PASSES if is_limited else 1
            return one_fold_brackets(min_resources, self.max_resources_, n_passes)
        return hyperband_brackets(min_resources, self.max_resources_, self._factor)

    def _resource_name(self) -> str:
        is_samples = self.resource == "n_samples"
        name = self.resource if is_samples else full_name(self.estimator, self.resource)
        if name is not None:
            return name
        hint = did_you_mean(self.resource, self.estimator.get_params())
        hint = hint or " For estimators without epochs, use 'n_samples'."
        raise ValueError(
            f"The 'resource' parameter of HyperbandSearchCV must be 'n_samples' or a "
            f"parameter of {type(self.estimator).__name__}. Got {self.resource!r} instead."
            f"{hint}"
        )

    def _propose(self, rounds: Rounds, context: Any) -> None:
        space = space_of(self, may_be_empty=False)
        refuse_searched(self.resource_, space.names)
        is_asynchronous = climbs_asynchronously(self, self.resource_)
        sampler = self._make_sampler(space)
        first: list[Candidate] = []
        if self.warm_start_from is not None:
            if self.sampler == "random":
                raise ValueError(
                    "warm_start_from needs a sampler that learns: 'bayes', 'tpe' or a "
                    "callable that returns one. Got sampler='random' instead."
                )
            rungs = self.max_resources_, self.resource_
            with rounds.session.timed("sampling"):
                [first] = tell_earlier(self.warm_start_from, [(sampler, space)], *rungs)
        elif isinstance(self.sampler, str):
            defaults = space.candidate_of(self.estimator.get_params())
            first = [] if defaults is None else [defaults]
            announce(sampler, first)
        is_checked = len(self.brackets_) > 1 and not is_asynchronous
        if self.n_iter_no_change is not None and not is_checked:
            warn_user(
                "'n_iter_no_change' has no effect here, because a plateau can end the "
                "search only between consecutive brackets. Use factor=3, which makes "
                "several brackets, and asynchronous=False.",
                SkTuneWarning,
            )
        n_rungs = None if is_asynchronous else sum(len(b.rungs) for b in self.brackets_)
        with rounds.task(context, "search", n_rungs) as ctx:
            if is_asynchronous:
                self._climb_asynchronously(rounds, sampler, first, ctx)
                return
            # Brackets run one after another and take about the same time, so that the first
            # candidate with all resources is known early.
            for bracket in self.brackets_:
                ladder = rounds.ladder(bracket.rungs)
                if rounds.n_candidates and not rounds.can_start(ladder):
                    break
                with rounds.session.timed("sampling"):
                    n_asked = bracket.rungs[0].n_candidates - len(first)
                    candidates = rounds.numbered([*first, *sampler.ask(n_asked)])
                    first = []
                self._climb(rounds, bracket, ladder, candidates, sampler, ctx)
                if rounds.is_over:
                    break

    def _climb_asynchronously(
        self, rounds: Rounds, sampler: Sampler, first: list[Candidate], ctx: Any
    ) -> None:
        def ask() -> Candidate | None:
            return first.pop(0) if first else next(iter(sampler.ask(1)), None)

        def tell(candidate: Candidate, score: float, n_resources: int) -> None:
            sampler.tell([candidate], [score], n_resources)

        climbs = []
        for bracket in self.brackets_:
            rungs = AsynchronousBracket(bracket.rungs, self._factor)
            climbs.append(
                Climb(rungs, ask, self.n_splits_, partial(self._columns, bracket))
            )
        AsynchronousRungs(self, rounds, climbs, context=ctx, tell=tell).climb()

    def _climb(
        self,
        rounds: Rounds,
        bracket: Bracket,
        ladder: Ladder,
        candidates: Sequence[Numbered],
        sampler: Sampler,
        ctx: Any,
    ) -> None:
        position = 0
        while candidates := rounds.in_time(candidates, ladder, position):
            rung = ladder.rungs[position]
            scores = rounds.evaluate_rung(
                candidates, ladder, position, ctx, "rung", **self._columns(bracket, rung)
            )
            params = [candidate for _, candidate in candidates]
            rounds.tell(sampler.tell, params, rung.n_resources)
            if rounds.is_over:
                return
            # Failed candidates are not promoted.
            best = best_first(scores)[: ladder.n_promoted(position)]
            candidates = [candidates[row] for row in best or [0] * rounds.lost_all]
            position += 1

    def _columns(self, bracket: Bracket, rung: Rung) -> dict[str, int]:
        return {"bracket": bracket.index, "n_folds": rung.folds_of(self.n_splits_)}

    def _make_sampler(self, space: Space) -> Sampler:
        if not isinstance(self.sampler, str):
            return sampler_from(self.sampler, space, self.random_state)
        if self.sampler == "random":
            return RandomSampler(space, self.random_state)
        kind = BayesSampler if self.sampler == "bayes" else TPESampler
        make = partial(kind, n_initial_points=0)
        # Detect a missing package now: the first bracket needs no model.
        make(space, 0)
        return FidelitySampler(make, space, self.random_state)

    def _n_promoted(self, n_candidates: int, before: Rung, after: Rung) -> int:
        if self._factor is None:
            return promoted_in_ratio(n_candidates, before, after)
        return n_candidates // self._factor

    def _planned_rungs(self, max_epochs: int) -> Iterator[tuple[int, Sequence[Rung]]]:
        space = space_of(self, may_be_empty=False)
        n_asked = 0
        for bracket in self.brackets_:
            n_left = n_distinct(space, n_asked + bracket.rungs[0].n_candidates) - n_asked
            if n_left < 1:
                return
            n_asked += n_left
            counts = (min(rung.n_candidates, n_left) for rung in bracket.rungs)
            pairs = zip(bracket.rungs, counts, strict=True)
            yield bracket.index, [replace(rung, n_candidates=n) for rung, n in pairs]


def _on_all_folds(bracket: Bracket) -> Bracket:
    rungs = tuple(replace(rung, n_folds=None) for rung in bracket.rungs)
    return replace(bracket, rungs=rungs)
