# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether the rows of a fold that is unlike the others do harm to these."""

from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.model_selection import check_cv, cross_val_score

from sk_tune.diagnosis._check import CHECKS
from sk_tune.diagnosis._records import Finding
from sk_tune.diagnosis._summary import estimate

__all__ = ["try_without_fold"]

# That the score rises.  The fold was found to be unlike the others before this is asked,
# and good rows would be missed: without them the score falls more often than it rises.
CONFIDENCE = 0.75


def try_without_fold(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    fold: int,
    cv: Any = None,
    groups: Any = None,
    scoring: Any = None,
) -> Finding:
    """Tell whether the other folds are better off without the rows of one fold.

    Parameters
    ----------
    estimator : estimator
        Trained twice for each other fold, with and without the rows.
    X : array-like or frame of shape (n_samples, ...)
        Features.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    fold : int
        The fold that is unlike the others, as ``evidence["fold"]`` of the finding that
        says so.
    cv : int, splitter or iterable, default=None
        Folds, as in scikit-learn; 5 if None.
    groups : array-like of shape (n_samples,) or None, default=None
        What belongs together, for the splitter.
    scoring : str, callable or None, default=None
        As in scikit-learn; the estimator's own score if None.

    Returns
    -------
    Finding
        An issue if the score on the other folds rises although there are fewer rows to
        train on, with a confidence of three in four at least: the rows are faulty, or of
        no use for the others.  Passed otherwise: they are rare, and worth keeping.

    Raises
    ------
    ValueError
        If there is no such fold, or there are less than three.

    See Also
    --------
    diagnose : Tells that a fold is unlike the others.

    Notes
    -----
    Costs ``2 * (F - 1)`` fits for F folds; within ``sk_tune.fleet()`` they are trained
    together.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn.model_selection import KFold
    >>> from sk_tune.diagnosis import try_without_fold
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 3))
    >>> y = X.sum(axis=1) + 0.1 * rng.normal(size=100)
    >>> y[:20] += 3.0  # measured by another instrument
    >>> finding = try_without_fold(LinearRegression(), X, y, fold=0, cv=KFold(5))
    >>> finding.code, finding.outcome
    ('SKT116', 'issue')
    """
    splitter = check_cv(5 if cv is None else cv, y, classifier=is_classifier(estimator))
    splits = list(splitter.split(X, y, groups))
    if len(splits) < 3 or not 0 <= fold < len(splits):
        raise ValueError(
            "The 'fold' parameter of try_without_fold must be one of at least three folds, "
            f"counted from 0. Got {fold!r} of {len(splits)} instead."
        )
    left_out = splits[fold][1]
    others = [
        (train, test)
        for number, (train, test) in enumerate(splits)
        if number != fold and not np.isin(test, left_out).any()
    ]
    without = [(np.setdiff1d(train, left_out), test) for train, test in others]
    # In one call, so that all networks can be trained together.
    scores = cross_val_score(estimator, X, y, cv=[*others, *without], scoring=scoring)
    before, after = scores[: len(others)], scores[len(others) :]
    gain = estimate(after - before)
    evidence = {
        "fold": fold,
        "score": float(before.mean()),
        "score_without": float(after.mean()),
        "gain": gain.mean,
        "gain_error": gain.error,
    }
    check = CHECKS["fold that does harm"]
    if gain.n > 1 and gain.at_least(CONFIDENCE) > 0:
        return check.issue(
            "medium",
            f"Without the rows of fold {fold} the score on the other folds rises by "
            f"{gain.mean:.2g} (standard error {gain.error:.1g}).",
            evidence,
            "Find out what is wrong with these rows, and leave them out until you know.",
        )
    return check.passed(
        f"Without the rows of fold {fold} the other folds do no better: keep them.",
        evidence,
    )
