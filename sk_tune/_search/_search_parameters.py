# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Parameters that several searches share, each declared and described once."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import ParameterGrid

from sk_tune._compat import StrOptions
from sk_tune._declaration import COUNT, Seconds, parameters
from sk_tune._engine import Progress
from sk_tune._sampler import Sampler
from sk_tune._space import AnySpace, Space, as_space
from sk_tune._text import counted
from sk_tune._types import Folds, Scoring, Seed
from sk_tune._warnings import warn_user
from sk_tune.exceptions import ParameterWarning

# Called with the space and the seed of a search.
SamplerFactory = Callable[[Space, Seed], Sampler]

Grid = Mapping[str, Sequence[Any] | NDArray[Any]]
Kept = int | Literal["best", "all"] | None
_KEPT = StrOptions({"best", "all"})


@parameters
class SearchParameters:
    """How candidates are evaluated.

    Parameters
    ----------
    estimator : estimator
        Estimator to tune, as in scikit-learn.  Networks, alone or as the last step of a
        pipeline, are trained as fleets.
    scoring : str, callable, list, tuple or dict, default=None
        As in scikit-learn; the estimator's ``score`` if None.
    n_jobs : int, default=None
        Worker processes, as in scikit-learn: None is 1 unless
        ``joblib.parallel_config`` says otherwise, -1 uses all cores.
    refit : bool, str or callable, default=True
        Whether to fit the estimator with the best parameters on all samples.  With several
        metrics, the name of the metric that determines the best candidate.
        "one_standard_error", for one metric, chooses the cheapest candidate that is at most
        one standard error (of the mean over folds) below the best score: the network with
        the fewest weights and, among equals, the fewest epochs; for estimators that are not
        networks, the shortest measured fit.  A callable gets ``cv_results_`` and returns
        the best index.
    cv : int, splitter or iterable, default=None
        Folds; 5 if None.  They are drawn once and are the same for all candidates.
    verbose : int or callable, default=0
        1 shows the progress of the search, including the refit, in one line.  With rungs,
        the line shows the best score on the highest rung so far, and its resources ("after
        27 epochs").  Higher values print a line for every fit, as in scikit-learn.  A
        callable gets a ``sk_tune.engine.Progress`` of the networks in training, for example
        of one rung, and nothing is printed.
    error_score : "raise" or float, default=np.nan
        Score of a failed fit.  Unless it is "raise", the search continues, and
        ``cv_results_["failure_reason"]`` gives the reason.
    return_train_score : bool, default=False
        Whether ``cv_results_`` also has scores on the training samples.
    time_budget : float or None, default=None
        Seconds for ``fit``, including the refit.  If the time is too short for all
        candidates, the search tries fewer; halving and Hyperband promote the best
        candidates before they start a new bracket.  If no candidate has time for all
        epochs, the best candidate trains as long as possible.  `cut_short_` and a warning
        describe the omitted parts.  Candidates interrupted at the end of the time have the
        score NaN; the first candidate and the refit train for at least one epoch.  Fits of
        estimators that are not networks cannot be interrupted, so they start only if they
        are expected to end in time.
    target_score : float or None, default=None
        Mean score over folds at which the search ends and refits.  Candidates are then
        evaluated in rounds of 8 networks, or of one candidate for each worker.  With rungs,
        only candidates with the most resources so far count, and the current rung is
        completed.  `cut_short_` describes the omitted parts.  Because of the selection, the
        score on new data is lower, see `expected_score_`.
    select_epoch : {"last", "best"}, default="last"
        Epoch at which networks are scored: the last, or the best epoch of the candidate's
        mean curve over the folds (of the score for accuracy and R^2, otherwise of the
        loss).  All folds and the refit use the same epoch.
    keep_models : int, "best", "all" or None, default=None
        Number of best candidates whose fold estimators are kept in ``models_``.  Candidates
        of the last rung, or with the most resources, come first.  "all" lets
        ``TrialEnsembleClassifier.from_search`` combine candidates without a refit.
    keep_predictions : int, "best", "all", "auto" or None, default="auto"
        Number of best candidates with ``oof_predictions_``; all others have NaN.  "auto"
        keeps all, up to about 128 MiB of predictions; beyond that, candidates are evaluated
        in parts, and only the predictions of the best candidates are kept.  With a number
        or "best", ``expected_score_`` is None.  With None, estimators that are not networks
        predict only for scores; for nearest neighbours, for example, this halves the time.
    store : str, path-like or None, default=None
        File for the finished trainings of networks, created if missing, or URL of a
        PostgreSQL database (``"postgresql://user@host/database"``, extra ``postgresql``).
        A repeated search loads these trainings, and so continues after an interruption.
        Processes that run the same search at the same time share its trainings.  The
        search, the splitter and the network need an integer `random_state`; otherwise each
        run requests different trainings.
    """

    estimator: BaseEstimator = field(kw_only=False)
    scoring: Scoring = None
    n_jobs: int | None = None
    refit: bool | str | Callable[[Mapping[str, Any]], int] = True
    cv: Folds = None
    verbose: Annotated[int | Callable[[Progress], object], "verbose", callable] = 0
    error_score: Literal["raise"] | float = np.nan
    return_train_score: bool = False
    time_budget: Annotated[float | None, Seconds(), None] = None
    target_score: float | None = None
    select_epoch: Annotated[Literal["last", "best"], StrOptions({"last", "best"})] = "last"
    keep_models: Annotated[Kept, _KEPT, COUNT, None] = None
    keep_predictions: Annotated[
        Kept | Literal["auto"], _KEPT, StrOptions({"auto"}), COUNT, None
    ] = "auto"
    store: Annotated[str | os.PathLike[str] | None, str, os.PathLike, None] = None


@parameters
class PlateauParameters:
    """The end of a search that no longer improves.

    Parameters
    ----------
    n_iter_no_change : int or None, default=None
        The search ends after this number of consecutive candidates without an improvement
        of more than one standard error of the difference over folds.  Hyperband can end
        only between brackets, so this has no effect in its default plan with a single
        bracket, nor with asynchronous rungs.  `cut_short_` describes the omitted parts.
    """

    n_iter_no_change: Annotated[int | None, COUNT, None] = None


@parameters
class DispatchParameters:
    """Distribution of tasks without networks to workers.

    Parameters
    ----------
    pre_dispatch : int or str, default="2*n_jobs"
        Number of tasks without networks that are dispatched to joblib's workers in advance.
    """

    pre_dispatch: int | str = "2*n_jobs"


@parameters
class GridParameters:
    """Listed candidates.

    Parameters
    ----------
    param_grid : dict or list of dict
        Parameter name -> list of values; the search tries all combinations of each dict.
    """

    param_grid: Grid | Sequence[Grid] = field(kw_only=False)

    def _n_candidates_planned(self) -> int:
        return len(ParameterGrid(self.param_grid))


@parameters
class DistributionParameters:
    """Random candidates.

    Parameters
    ----------
    param_distributions : dict or list of dict
        Parameter name -> list of values, scipy distribution, scikit-optimize dimension, or
        :class:`~sk_tune.Choice` for parameters that depend on others.
    random_state : int, RandomState or None, default=None
        Seed of the candidates, and of subsamples if the resource is the samples.
    """

    param_distributions: AnySpace = field(kw_only=False)
    random_state: Annotated[Seed, "random_state"] = None


@parameters
class LearningParameters:
    """Earlier results for a search that learns from scores.

    Parameters
    ----------
    warm_start_from : search, dict, optuna study or list of (dict, float), default=None
        Earlier results: a fitted search or its ``cv_results_`` (which ``clone`` does not
        change), an Optuna study, or parameters with scores of the same metric, where
        greater is better.  The sampler learns from the candidates inside the space.  The
        best candidate is evaluated first, because its score comes from other folds.
        ``sampler="random"`` cannot learn.
    """

    warm_start_from: Annotated[object, object] = None


@parameters
class WaitingParameters:
    """Whether a rung is complete before candidates are promoted from it.

    Parameters
    ----------
    asynchronous : bool, default=False
        Whether to promote candidates before their rung is complete (ASHA [Li et al. 2020]).
        A free worker continues the best candidate among the best 1 / `factor` of its rung
        so far, or else starts a new candidate.  Useful with workers of different speed.
        The resource must be the epochs of a network; with several workers, promotions
        depend on the order in which results arrive.
    """

    asynchronous: Annotated[bool, "boolean"] = False


@parameters
class RungParameters(WaitingParameters):
    """Rungs of one bracket of successive halving.

    Parameters
    ----------
    factor : int or float, default=3
        One candidate in `factor` is promoted.
    resource : str, default="n_samples"
        Resource that grows from rung to rung: "n_samples" or a parameter of the estimator.
        "max_epochs" also finds the epochs of the network in a pipeline or a
        TransformedTargetRegressor.
    max_resources : int or "auto", default="auto"
        Largest resource of a rung; "auto" is the number of samples, or the estimator's
        value of `resource`.
    min_resources : int, "smallest" or "exhaust", default="exhaust"
        Resource of the first rung, as in scikit-learn.
    aggressive_elimination : bool, default=False
        Whether to repeat the first rung until the remaining candidates fit the resources,
        as in scikit-learn.

    Attributes
    ----------
    resource_ : str
        Name of the resource's parameter.
    n_resources_ : list of int
        Resources of each evaluated rung.
    n_candidates_ : list of int
        Number of candidates of each evaluated rung.
    n_remaining_candidates_ : int
        Number of candidates that the last rung would promote.
    max_resources_ : int
        Resources of the last rung.
    min_resources_ : int
        Resources of the first rung.
    n_iterations_ : int
        Number of evaluated rungs.
    n_possible_iterations_ : int
        Number of rungs that the resources allow.
    n_required_iterations_ : int
        Number of rungs needed to leave fewer than `factor` candidates in the last rung.
    """

    factor: float = 3
    resource: str = "n_samples"
    max_resources: int | Literal["auto"] = "auto"
    min_resources: int | Literal["smallest", "exhaust"] = "exhaust"
    aggressive_elimination: bool = False
    cv: Folds = 5
    return_train_score: bool = True


def n_distinct(space: Space, n: int) -> int:
    """Return how many of `n` random candidates a space has without repeats."""
    return min(n, space.n_points) if space.is_listed and space.n_points else n


def warn_of_few_candidates(space: Space, n: int, parameter: str = "n_iter") -> None:
    """Warn of a space that has fewer candidates than the `n` of a parameter."""
    warn_user(
        f"The space has {counted(space.n_points or 0, 'candidate')}, fewer than "
        f"{parameter}={n}. Each is evaluated once.",
        ParameterWarning,
    )


def sampler_from(factory: SamplerFactory, space: Space, random_state: Seed) -> Sampler:
    """Return the sampler that a user's callable makes."""
    sampler = factory(space, random_state)
    if not isinstance(sampler, Sampler):
        raise TypeError(
            "The 'sampler' parameter must be a name or a callable that returns an object "
            f"with ask and tell. {factory!r} returned {sampler!r} instead."
        )
    return sampler


def space_of(search: Any, *, may_be_empty: bool = True) -> Space:
    """Return the space of a search of sk_tune, scikit-learn or scikit-optimize."""
    # A tuple lists values in scikit-learn, and the ends of a range in scikit-optimize.
    if hasattr(search, "search_spaces"):
        return as_space(search.search_spaces)
    attribute = "param_grid" if hasattr(search, "param_grid") else "param_distributions"
    described = getattr(search, attribute)
    return as_space(described, tuples_are_ranges=False, may_be_empty=may_be_empty)
