# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn: checks, scorers, tasks of searches, and fitted trees."""

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Self

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.callback import AutoPropagatedCallback
from sklearn.metrics._scorer import _MultimetricScorer, _PassthroughScorer, _Scorer
from sklearn.model_selection import _search

# Unlike ``sklearn.experimental``, this module does not make them importable elsewhere.
from sklearn.model_selection import _search_successive_halving as halving_searches
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._search_successive_halving import (
    _SubsampleMetaSplitter as SubsampledSplits,
)
from sklearn.model_selection._validation import (
    _warn_or_raise_about_fit_failures as warn_or_raise_about_failures,
)
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    RealNotInt,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_feature_names_in as check_feature_names_in
from sklearn.utils.validation import _check_method_params as method_params
from sklearn.utils.validation import _check_sample_weight as check_sample_weight
from sklearn.utils.validation import _num_samples as num_samples

_IMMUTABLE = {bool, float, int, str, type(None)}


class EstimatorBase(BaseEstimator):  # type: ignore[misc]
    """A scikit-learn estimator that is quickly cloned.

    scikit-learn inspects the signature of ``__init__`` in every ``get_params``, and copies
    each parameter.
    """

    @classmethod
    def _get_param_names(cls) -> list[str]:
        hashable: Any = cls  # mypy considers classes unhashable.
        return list(_parameter_names(hashable))

    def __sklearn_clone__(self) -> Self:
        params = self.get_params(deep=False)
        is_plain = all(type(value) in _IMMUTABLE for value in params.values())
        # Other attributes, such as callbacks, are scikit-learn's case.
        if is_plain and vars(self) == params:
            twin = type(self)(**params)
            if vars(twin) == params:
                return twin
        return super().__sklearn_clone__()  # type: ignore[no-any-return]


@functools.cache
def _parameter_names(cls: Any) -> tuple[str, ...]:
    return tuple(BaseEstimator._get_param_names.__func__(cls))


def output_container(transformer: Any) -> str:
    """Return the container set by ``set_output``: "default", "pandas" or "polars"."""
    return str(_get_output_config("transform", transformer)["dense"])


def scorer_parts(scorer: Any) -> dict[str, Any] | None:
    """Return the arguments of ``make_scorer`` by name; None for other scorers."""
    if not isinstance(scorer, _Scorer):
        return None
    return {
        "function": scorer._score_func,
        "sign": scorer._sign,
        "options": scorer._kwargs,
        "response_method": scorer._response_method,
        "pos_label": scorer._get_pos_label(),
    }


def passed_through_estimator(scorer: Any) -> Any:
    """Return the estimator if a scorer just calls its ``score``, else None."""
    return scorer._estimator if isinstance(scorer, _PassthroughScorer) else None


def weights_of_scorer(scorer: Any, given: Mapping[str, Any]) -> Any:
    """Return the sample weights that a search passes to one of several scorers, if any."""
    if get_config()["enable_metadata_routing"]:
        request = get_routing_for_object(scorer).score.requests.get("sample_weight")
        # A request is the name of the weights, or True; None and False request none.
        return given.get("sample_weight" if request is True else request)
    accepts = getattr(scorer, "_accept_sample_weight", None)
    return given.get("sample_weight") if accepts is not None and accepts() else None


def scorers_in(scorer: Any) -> list[Any] | None:
    """Return a search's scorers if all of them depend on predictions only, else None."""
    if isinstance(scorer, _MultimetricScorer):
        scorers = list(scorer._scorers.values())
        return scorers if all(type(each) is _Scorer for each in scorers) else None
    return [scorer] if type(scorer) in {_Scorer, _PassthroughScorer} else None


def with_metrics(scorer: Any, change: Callable[[Any], Any]) -> Any:
    """Return a copy of a scorer of ``scorers_in``, with its metrics changed."""
    changed = copy.copy(scorer)
    if isinstance(scorer, _MultimetricScorer):
        scorers = scorer._scorers.items()
        changed._scorers = {name: with_metrics(each, change) for name, each in scorers}
    elif isinstance(scorer, _Scorer):
        changed._score_func = change(scorer._score_func)
    return changed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldTask:
    """One candidate on one fold, as submitted to joblib by scikit-learn's searches."""

    estimator: Any  # unfitted, possibly shared by tasks
    X: Any  # of all samples, as y and params
    y: Any
    train: Any  # positions, the same object for all candidates
    test: Any
    parameters: Mapping[str, Any]
    fit_params: Mapping[str, Any]
    candidate: int  # position in the call, as `fold`
    fold: int
    scorer: Any = None
    score_params: Mapping[str, Any] = field(default_factory=dict)
    scores_train: bool = False
    callback_context: Any = None

    def samples(self, rows: Any, estimator: Any = None) -> tuple[Any, Any]:
        """Return X and y at the positions `rows`; of the training columns if pairwise."""
        estimator = self.estimator if estimator is None else estimator
        # Torch does not take index arrays of negative stride.
        positions, train = map(np.ascontiguousarray, (rows, self.train))
        X, y = _safe_split(estimator, self.X, self.y, positions, train)
        return X, y


# Options of the function that fits and scores a candidate on a fold.
_FOLD_OPTIONS = frozenset({
    *("train", "test", "parameters", "fit_params", "candidate_progress", "split_progress"),
    *("scorer", "score_params", "return_train_score"),
})


def fold_task(task: Any) -> FoldTask | None:
    """Return the content of a joblib task of one of scikit-learn's searches, else None."""
    items: Sequence[Any] = getattr(task, "items", ())
    if len(items) != 1:
        return None
    function, arguments, options = items[0]
    if getattr(function, "__name__", "") != "_fit_and_score" or len(arguments) != 3:
        return None
    try:
        return FoldTask(
            estimator=arguments[0],
            X=arguments[1],
            y=arguments[2],
            train=options["train"],
            test=options["test"],
            parameters=options["parameters"],
            fit_params=options["fit_params"] or {},
            candidate=options["candidate_progress"][0],
            fold=options["split_progress"][0],
            scorer=options["scorer"],
            score_params=options["score_params"] or {},
            scores_train=options["return_train_score"],
            callback_context=options.get("callback_ctx"),
        )
    except (KeyError, TypeError):
        return None


def knows_fold_tasks() -> bool:
    """Return whether ``fold_task`` supports this version of scikit-learn's searches."""
    options = inspect.signature(_search._fit_and_score).parameters
    return _FOLD_OPTIONS.issubset(options)


def run_fitted_by(task: Any, estimator: Any, X: Any, scorer: Any) -> list[Any]:
    """Return the results of a search's task for another estimator, X and scorer."""
    # Without joblib's settings of the task, which are for estimators with parallel parts.
    function, (_, _, y), options = task.items[0]
    return [function(estimator, X, y, **{**options, "scorer": scorer})]


def callbacks_see_fits(task: FoldTask) -> bool:
    """Return whether callbacks, such as progress bars, observe the steps of fits."""
    if any(isinstance(each, AutoPropagatedCallback) for each in callbacks_of(task)):
        return True
    steps = [step for _, step in getattr(task.estimator, "steps", ())]
    return any(getattr(each, "_skl_callbacks", None) for each in (task.estimator, *steps))


def callbacks_of(task: FoldTask) -> Sequence[Any]:
    """Return the callbacks that observe a task."""
    return getattr(task.callback_context, "_callbacks", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class BoostedTrees:
    """The trees of scikit-learn's fitted histogram gradient boosting."""

    trees: list[tuple[Any, Any]]  # nodes, and which of 256 codes go left
    baseline: Any  # (1, n_outputs), added to the trees' sum
    order: Any  # of X's columns in the trees
    codes: dict[int, Any]  # values by categorical column, in that order


def boosted_trees(model: Any) -> BoostedTrees:
    """Return the trees of a fitted histogram gradient boosting."""
    order, codes = np.arange(model.n_features_in_), {}
    if model._preprocessor is not None:
        is_category = np.asarray(model.is_categorical_)
        order = np.concatenate([np.flatnonzero(is_category), np.flatnonzero(~is_category)])
        encoder = model._preprocessor.named_transformers_["encoder"]
        codes = dict(enumerate(encoder.categories_))
    every_tree = chain.from_iterable(model._predictors)
    trees = [(tree.nodes, _bits(tree.raw_left_cat_bitsets)) for tree in every_tree]
    baseline = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(1, -1)
    return BoostedTrees(trees=trees, baseline=baseline, order=order, codes=codes)


def _bits(words: Any) -> Any:
    """Return 32-bit words as Booleans, the lowest bit first."""
    octets = np.ascontiguousarray(words, dtype="<u4").view(np.uint8)
    return np.unpackbits(octets, axis=1, bitorder="little").astype(bool).reshape(-1, 256)
