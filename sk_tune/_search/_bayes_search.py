# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Bayesian search: a model of the score proposes the candidates."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted
from skopt.callbacks import check_callback
from skopt.space import Space as SkoptSpace
from skopt.utils import cook_estimator, create_result, normalize_dimensions

from sk_tune._compat import StrOptions
from sk_tune._declaration import COUNT, parameters
from sk_tune._sampler import (
    BayesSampler,
    BoostedQuantiles,
    Sampler,
    TPESampler,
    fill_failed,
)
from sk_tune._search._base_search import BaseSearch
from sk_tune._search._outcomes import guiding_scores
from sk_tune._search._rounds import Rounds
from sk_tune._search._search_parameters import (
    DispatchParameters,
    LearningParameters,
    PlateauParameters,
    SamplerFactory,
    sampler_from,
    space_of,
    warn_of_few_candidates,
)
from sk_tune._search._warm_start import tell_earlier
from sk_tune._space import AnySpace, Candidate, Space, points_of, skopt_space
from sk_tune._types import Features, Seed

_OPTIONS = {"base_estimator", "acq_func", "xi", "kappa", "n_initial_points"}
# Options of scikit-optimize's own optimizer, which is not used here.
_WITHOUT_EFFECT = {
    "acq_optimizer",
    "acq_optimizer_kwargs",
    "avoid_duplicates",
    "initial_point_generator",
    "model_queue_size",
    "n_jobs",
    "random_state",
}


@parameters
class BayesSearchCV(PlateauParameters, LearningParameters, DispatchParameters, BaseSearch):
    """Search by a model of the score, a Gaussian process or trees.

    The models are scikit-optimize's.  Each round proposes several candidates, which train
    together.  A failed candidate counts as the worst so far, and the search continues.

    Parameters
    ----------
    search_spaces : dict, list of dict or list of (dict, int)
        Parameter name -> list of values, scipy distribution, scikit-optimize dimension,
        its short form ``(low, high)`` or ``(low, high, "log-uniform")``, or
        :class:`~sk_tune.Choice` for parameters that depend on others.  With
        ``(dict, n)`` that dict gets `n` candidates.
    optimizer_kwargs : dict, default=None
        As in scikit-optimize: ``base_estimator`` ("GP", "ET", "RF", "GBRT", "dummy" or a
        regressor whose ``predict`` takes ``return_std``), ``acq_func`` ("EI", "PI", "LCB",
        "gp_hedge"), ``acq_func_kwargs`` (``xi``, here in standard deviations of the scores;
        ``kappa``) and ``n_initial_points``.  ``acq_optimizer``, ``acq_optimizer_kwargs``,
        ``avoid_duplicates``, ``initial_point_generator``, ``model_queue_size``, ``n_jobs``
        and ``random_state`` are accepted without effect: the first candidates are a Latin
        hypercube, later candidates come from a pool without repeats, and the single model
        uses one thread and the search's seed.  With ``sampler="tpe"``, only
        ``n_initial_points`` is allowed.
    n_iter : int, default=50
        Number of candidates.
    n_points : int or "auto", default="auto"
        Number of candidates in a round; the model learns after each round.  "auto" is 8 for
        networks and the number of workers for other estimators.
    sampler : {"bayes", "tpe"} or callable, default="bayes"
        "tpe" is Optuna's tree-structured Parzen estimator (extra ``tpe``).  A callable
        is called as ``sampler(space, random_state)`` for each dict of the space and returns
        a :class:`sk_tune.sampler.Sampler`.
    random_state : int, RandomState or None, default=None
        Seed of the candidates.
    {parameters}

    Attributes
    ----------
    total_iterations : int
        Number of candidates of all dicts; also available before ``fit``.
    samplers_ : list of sampler
        One for each dict of the space.
    optimizer_results_ : list of OptimizeResult
        One for each dict, as in scikit-optimize, for ``skopt.plots``; computed on first
        access, with one model fitted to all scores (None for a dict with dependent
        parameters).  Scores are negated, and failed candidates count as the worst.
    {attributes}

    See Also
    --------
    HyperbandSearchCV : Starts many candidates with few epochs.
    RandomizedSearchCV : Draws candidates without a model.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import BayesSearchCV, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=16, max_epochs=10, random_state=0)
    >>> space = {"learning_rate": loguniform(1e-4, 1e-1), "dropout": (0.0, 0.5)}
    >>> search = BayesSearchCV(net, space, n_iter=16, cv=3, random_state=0).fit(X, y)
    >>> bool(search.best_score_ > 0.9)
    True
    """

    search_spaces: Annotated[AnySpace, Mapping, list, tuple] = field(kw_only=False)
    optimizer_kwargs: Annotated[dict[str, Any] | None, dict, None] = field(
        default=None, kw_only=False
    )
    n_iter: Annotated[int, COUNT] = field(default=50, kw_only=False)
    n_points: Annotated[int | Literal["auto"], COUNT, StrOptions({"auto"})] = "auto"
    sampler: Annotated[
        Literal["bayes", "tpe"] | SamplerFactory, StrOptions({"bayes", "tpe"}), callable
    ] = "bayes"
    random_state: Annotated[Seed, "random_state"] = None

    def fit(
        self,
        X: "Features",
        y: "ArrayLike | None" = None,
        *,
        callback: Callable[[Any], object] | Sequence[Callable[[Any], object]] | None = None,
        **params: Any,
    ) -> Self:
        """Search for the best parameters, and fit the estimator with them.

        Parameters
        ----------
        callback : callable, list of callable or None, default=None
            As in scikit-optimize, such as ``skopt.callbacks.DeltaYStopper``: called after
            each round with the ``OptimizeResult`` so far (its ``models`` are empty); a
            callback that returns true ends the search of the current dict.
        **params : dict of str to object
            As in the other searches.

        Raises
        ------
        ValueError
            If a parameter is invalid, or all fits failed.
        KeyboardInterrupt
            On Ctrl-C, after refitting the best candidate so far, if there is one.
        """
        self.__dict__.pop("_optimizer_results", None)
        self._callbacks = list(check_callback(callback) or [])
        try:
            return super().fit(X, y, **params)
        finally:
            del self._callbacks

    @property
    def total_iterations(self) -> int:
        """Number of candidates of all dicts of the space."""
        return sum(n_iter for _, n_iter in self._counted_parts())

    @property
    def optimizer_results_(self) -> list[Any]:
        """One ``OptimizeResult`` for each dict of the space."""
        check_is_fitted(self, "_first_candidates")
        if "_optimizer_results" not in self.__dict__:
            model = (self.optimizer_kwargs or {}).get("base_estimator", "GP")
            model = "GP" if isinstance(model, str) and model.upper() == "AUTO" else model
            bounds = pairwise([*self._first_candidates, len(self.cv_results_["params"])])
            self._optimizer_results = [
                self._optimize_result(space, self.cv_results_, slice(*rows), model)
                for (space, _), rows in zip(space_of(self).parts(), bounds, strict=False)
            ]
        return self._optimizer_results

    def _optimize_result(
        self, space: Space, results: Mapping[str, Any], rows: slice, model: Any = None
    ) -> Any:
        """Return the scores of the candidates of one dict as an ``OptimizeResult``.

        Scores are negated, and NaN, the score of failed candidates, counts as the worst. A
        clone of `model` (scikit-optimize's ``base_estimator``) is fitted to them for plots
        of partial dependence; None and "dummy" mean no model. None if parameters depend on
        others or no candidate was scored.
        """
        candidates = results["params"][rows]
        dimensions = skopt_space(space, candidates)
        scores = guiding_scores(results, self.refit)[rows]
        filled = fill_failed(np.asarray(scores, dtype=float))
        if dimensions is None or filled is None:
            return None
        # scikit-optimize's optimizer does the same.
        skopt_form = SkoptSpace(normalize_dimensions(dimensions))
        for normalized, dimension in zip(skopt_form.dimensions, dimensions, strict=True):
            normalized.name = dimension.name
        points, losses = points_of(dimensions, candidates), -filled
        is_state = isinstance(self.random_state, RandomState)
        seed = None if is_state else self.random_state
        models = []
        if model is not None and not (isinstance(model, str) and model.upper() == "DUMMY"):
            with warnings.catch_warnings(action="ignore"):
                if isinstance(model, str) and model.upper() != "GBRT":
                    # A name of scikit-optimize.
                    new = cook_estimator(model, space=dimensions, random_state=seed)
                else:
                    new = BoostedQuantiles() if isinstance(model, str) else clone(model)
                    if new.get_params().get("random_state", 0) is None:
                        new.set_params(random_state=seed)
                models.append(new.fit(skopt_form.transform(points), losses))
        return create_result(points, losses, skopt_form, seed, models=models)

    def _propose(self, rounds: Rounds, context: Any) -> None:
        parts = self._counted_parts()
        self.samplers_ = [self._make_sampler(space) for space, _ in parts]
        first: list[list[Candidate]] = [[] for _ in parts]
        if self.warm_start_from is not None:
            spaces = [space for space, _ in parts]
            with rounds.session.timed("sampling"):
                learners = zip(self.samplers_, spaces, strict=True)
                first = tell_earlier(self.warm_start_from, learners)
        self._first_candidates = []
        with rounds.task(context, "search", self.total_iterations) as ctx:
            for sampler, (space, n_iter), first_points in zip(
                self.samplers_, parts, first, strict=True
            ):
                self._first_candidates.append(rounds.n_candidates)
                self._search_part(rounds, sampler, n_iter, ctx, first_points, space)
                if rounds.is_over:
                    break

    def _search_part(
        self,
        rounds: Rounds,
        sampler: Sampler,
        n_iter: int,
        ctx: Any,
        first: Sequence[Candidate],
        space: Space,
    ) -> None:
        """Evaluate the candidates of a dict of the space, beginning with `first`."""
        n_points = rounds.n_at_once() if self.n_points == "auto" else int(self.n_points)
        n_requested = n_iter
        while n_iter > 0 and not rounds.is_over:
            with rounds.session.timed("sampling"):
                n_asked = min(n_points, n_iter) - len(first)
                candidates = [*first, *(sampler.ask(n_asked) if n_asked else [])]
                first = ()
            if not candidates:
                if (space.n_points or n_requested) < n_requested:
                    warn_of_few_candidates(space, n_requested)
                return
            n_iter -= len(candidates)
            n_tasks = len(candidates) * self.n_splits_
            with rounds.task(ctx, "trials", n_tasks, is_sequential=False) as trial:
                rounds.evaluate(candidates, callback_ctx=trial)
            rounds.tell(sampler.tell, candidates)
            if self._callbacks:
                rows = slice(self._first_candidates[-1], None)
                result = self._optimize_result(space, rounds.results, rows)
                # All callbacks are called, whatever the first one returns.
                stops = [result is not None and call(result) for call in self._callbacks]
                if any(stops):
                    rounds.has_ended_by_callback = True
                    return

    def _make_sampler(self, space: Space) -> Sampler:
        if not isinstance(self.sampler, str):
            return sampler_from(self.sampler, space, self.random_state)
        options = {
            name: value
            for name, value in (self.optimizer_kwargs or {}).items()
            if name not in _WITHOUT_EFFECT
        }
        options |= options.pop("acq_func_kwargs", {})
        if unknown := set(options) - _OPTIONS:
            raise ValueError(
                "The 'optimizer_kwargs' parameter of BayesSearchCV must only have keys "
                f"among {sorted(_OPTIONS | _WITHOUT_EFFECT)}. Got {sorted(unknown)} as "
                "well."
            )
        if self.sampler == "tpe":
            return TPESampler(space, self.random_state, **options)
        return BayesSampler(space, self.random_state, **options)

    def _n_candidates_planned(self) -> int:
        parts = self._counted_parts()
        return sum(n if s.n_points is None else min(n, s.n_points) for s, n in parts)

    def _counted_parts(self) -> list[tuple[Space, int]]:
        """Return each dict of the space with its number of candidates."""
        parts = space_of(self).parts()
        return [(space, self.n_iter if n is None else n) for space, n in parts]

    def _keep(self, rounds: Rounds) -> None:
        super()._keep(rounds)
        results = dict(self.cv_results_)
        for name in [name for name in results if name.startswith("mean_train_")]:
            # Failed candidates rank last, as in scikit-learn's ranks of test scores.
            losses = np.nan_to_num(-results[name], nan=np.inf)
            ranks = rankdata(losses, method="min").astype(np.int32)
            results[name.replace("mean", "rank", 1)] = ranks
        self.cv_results_ = results
