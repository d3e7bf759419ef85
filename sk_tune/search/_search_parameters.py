# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Parameters that several searches share, each declared and described once."""

import os
from collections.abc import Callable
from dataclasses import field
from typing import Annotated, Any

import numpy as np

from sk_tune._compat import StrOptions
from sk_tune._declaration import COUNT, parameters
from sk_tune.estimators import Seconds
from sk_tune.space import Space, as_space

_KEPT = StrOptions({"none", "best", "all"})


@parameters
class SearchParameters:
    """How candidates are evaluated.

    Parameters
    ----------
    estimator : estimator
        What to tune: any of scikit-learn's kind.  Networks, alone or as the last step of a
        pipeline, are trained as fleets.
    scoring : str, callable, list, tuple or dict, default=None
        As in scikit-learn; the estimator's ``score`` if None.
    n_jobs : int, default=None
        Worker processes, as in scikit-learn: None is 1 unless
        ``joblib.parallel_config`` says otherwise, -1 uses all cores.
    refit : bool, str or callable, default=True
        Whether to fit the estimator with the best parameters on all samples; the name of
        the metric that decides, if there are several; or what returns the best index.
    cv : int, splitter or iterable, default=None
        Folds; 5 if None.  They are drawn once and are the same for all candidates.
    verbose : int, default=0
        1 shows how far the search is, the refit included, in a line that is updated; more
        prints what scikit-learn prints.
    error_score : "raise" or float, default=np.nan
        Score of a fit that fails.  Unless "raise", the search goes on, and
        ``cv_results_["failure_reason"]`` says why.
    return_train_score : bool, default=False
        Whether ``cv_results_`` has scores on the training rows too.
    time_budget : float or None, default=None
        Seconds for ``fit``, the refit included.  The search tries fewer candidates if the
        time is too short for all; halving and Hyperband promote the best ones first, and
        start no bracket for which they expect too little time.  If no candidate has time
        for all epochs, the best one trains as long as possible.  `cut_short_` and a warning
        say what was left out.  Candidates that the end of the time interrupts have NaN for
        their scores; the first one and the refit have one epoch at least.  A fit of an
        estimator that is not a network cannot be interrupted: it starts only if it is
        expected to end in time.
    progress : bool, callable or None, default=None
        True shows the line of ``verbose=1`` and nothing else.  With rungs its best score is
        that of the highest rung with scores, which it names ("after 27 epochs").  A
        callable is called with a ``sk_tune.engine.Progress`` of the networks that train at
        present, for example those of one rung.
    epochs : {"last", "best"}, default="last"
        Which epoch of a network is scored: the last, or the best of its mean curve over
        the folds (of the score for accuracy and R^2, else of the loss), for which the
        refit then trains.  No fold chooses an epoch for itself.
    keep_models : int or {"none", "best", "all"}, default="none"
        Of how many candidates, the best ones, the estimators fitted in the folds are kept
        in ``models_``; those of the last rung, or with the most resources, come first.
    keep_predictions : int or {"none", "best", "all"}, default="all"
        Of how many candidates, the best ones, ``oof_predictions_`` has more than NaN.  Less
        than all takes less memory, and there is no ``corrected_score_``, which chooses
        among all candidates.  With "none", what is no network predicts for its score only,
        which halves the time of nearest neighbours, say.
    race : bool, default=False
        Whether a candidate stops before it was on all folds if it is clearly worse than
        the best one that was given as much: a paired t-test over at least 3 folds at a
        level of 5 %, with the variance corrected for overlapping training sets.  It has
        NaN for the rest.  With ``epochs="best"`` the folds before the first test choose.
    store : str, path-like or None, default=None
        File that keeps each finished training of a network, made if there is none.  The
        same search run again takes from it what is there, and so goes on where it was
        interrupted.  Needs an integer `random_state` of the search, the splitter and the
        network, without which another run asks for other trainings.
    """

    estimator: Any = field(kw_only=False)
    scoring: Any = None
    n_jobs: int | None = None
    refit: Any = True
    cv: Any = None
    verbose: int = 0
    error_score: Any = np.nan
    return_train_score: bool = False
    time_budget: Annotated[float | None, Seconds(), None] = None
    progress: Annotated[bool | Callable[..., object] | None, "boolean", callable, None] = (
        None
    )
    epochs: Annotated[str, StrOptions({"last", "best"})] = "last"
    keep_models: Annotated[Any, _KEPT, COUNT] = "none"
    keep_predictions: Annotated[Any, _KEPT, COUNT] = "all"
    race: Annotated[bool, "boolean"] = False
    store: Annotated[str | os.PathLike[str] | None, str, os.PathLike, None] = None


@parameters
class DispatchParameters:
    """How tasks that train no network are handed to workers.

    Parameters
    ----------
    pre_dispatch : int or str, default="2*n_jobs"
        Tasks handed to joblib's workers in advance, for what is no network.
    """

    pre_dispatch: int | str = "2*n_jobs"


@parameters
class GridParameters:
    """Candidates that are listed.

    Parameters
    ----------
    param_grid : dict or list of dict
        Parameter name -> list of values; all combinations of each dict are tried.
    """

    param_grid: Any = field(kw_only=False)


@parameters
class DistributionParameters:
    """Candidates that are drawn.

    Parameters
    ----------
    param_distributions : dict or list of dict
        Parameter name -> list of values, scipy distribution, scikit-optimize dimension, or
        :class:`~sk_tune.search.Choice` for parameters that depend on others.
    random_state : int, RandomState or None, default=None
        Source of the candidates, and of subsamples where rungs grant more samples.
    """

    param_distributions: Any = field(kw_only=False)
    random_state: Annotated[Any, "random_state"] = None


@parameters
class LearningParameters:
    """What a search that learns from scores knows before it starts.

    Parameters
    ----------
    warm_start_from : search, dict, optuna study or list of (dict, float), default=None
        What is known already: a fitted search or its ``cv_results_`` (which ``clone``
        leaves alone), a study of Optuna, or parameters with scores of the same metric, of
        which greater are better.  The sampler learns from what is in the space; the best of
        it is evaluated first, since its score is that of other folds.  With
        ``sampler="random"`` there is nothing that could learn.
    """

    warm_start_from: Annotated[Any, object] = None


@parameters
class WaitingParameters:
    """Whether a rung is complete before candidates are promoted from it.

    Parameters
    ----------
    asynchronous : bool, default=False
        Whether no rung is waited for (ASHA [Li et al. 2020]): a worker that is free trains
        on the best candidate, if it is one of the best in `factor` that its rung has so
        far, else a new one.  For workers of different speed.  The resource has to be a
        network's epochs; with several workers the order in which results arrive decides
        who is promoted.
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
        What rungs grant more of: "n_samples" or a parameter of the estimator.
    max_resources : int or "auto", default="auto"
        What no rung exceeds; "auto" is the number of samples, of which it has to be.
    min_resources : int, "smallest" or "exhaust", default="exhaust"
        What the first rung grants, as in scikit-learn.
    aggressive_elimination : bool, default=False
        Whether the first rung is repeated, from the start, until the candidates suit the
        resources.

    Attributes
    ----------
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
        Number of rungs that leave fewer than `factor` candidates in the last one.
    """

    factor: float = 3
    resource: str = "n_samples"
    max_resources: Any = "auto"
    min_resources: Any = "exhaust"
    aggressive_elimination: bool = False
    cv: Any = 5
    return_train_score: bool = True


def space_of(search: Any, *, may_be_empty: bool = True) -> Space:
    """Return the space of a search of sk_tune, scikit-learn or scikit-optimize."""
    # scikit-learn takes a tuple for values, scikit-optimize for the ends of a range.
    if hasattr(search, "search_spaces"):
        return as_space(search.search_spaces)
    attribute = "param_grid" if hasattr(search, "param_grid") else "param_distributions"
    return as_space(
        getattr(search, attribute), tuples_are_ranges=False, may_be_empty=may_be_empty
    )
