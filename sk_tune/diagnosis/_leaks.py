# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The leak guard: whether scores of a cross-validation can be believed, by its data.

References
----------
.. [1] S. Kapoor, A. Narayanan. Leakage and the reproducibility crisis in
   machine-learning-based science. Patterns 4(9), 2023.  Its kinds L1.2 (scaling), L1.4
   (duplicates), L2 (features) and L3.1, L3.2 (times, groups) are looked for.
"""

import warnings
from typing import Any

import numpy as np
from sklearn.model_selection import check_cv
from sklearn.utils import check_consistent_length

from sk_tune._splits import as_times
from sk_tune.diagnosis._leak_checks import as_leak_table, holds_classes
from sk_tune.diagnosis._leak_duplicates import check_duplicates, check_near_duplicates
from sk_tune.diagnosis._leak_features import check_giveaway, check_target
from sk_tune.diagnosis._leak_outliers import check_outliers
from sk_tune.diagnosis._leak_scaling import check_scaling
from sk_tune.diagnosis._leak_splits import check_groups, check_times
from sk_tune.diagnosis._records import Finding

__all__ = ["find_leaks"]


def find_leaks(
    X: Any, y: Any, *, cv: Any = None, groups: Any = None, times: Any = None
) -> tuple[Finding, ...]:
    """Look for ways in which test rows got into training, and for outliers.

    Parameters
    ----------
    X : array-like or frame of shape (n_samples, n_features) or (n_samples, ...)
        Features as they go into cross-validation.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    cv : int, splitter or iterable, default=None
        Folds, as in scikit-learn; 5 if None.
    groups : array-like of shape (n_samples,) or None, default=None
        What belongs together, such as the patient of each row.
    times : array-like of shape (n_samples,) or None, default=None
        When each row was: numbers or dates; text is read as dates that begin with the year.

    Returns
    -------
    tuple of Finding
        One for each check, with codes from "SKT201": duplicates and near duplicates across
        folds, groups on both sides, training rows of the future, the target among
        the features, a feature that gives it away, scaling over all rows.  Last are
        outliers in features and in the targets of a regression, which are no leak but as
        easily unseen.

    Raises
    ------
    ValueError
        If X, y, groups and times are not of one length, or a time is missing or text that
        is no date.

    Notes
    -----
    The kinds of leakage are those of Kapoor and Narayanan (2023) that data can show.  What
    passes is not proven to be without leaks.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune.diagnosis import find_leaks
    >>> X, y = load_iris(return_X_y=True)
    >>> [f.name for f in find_leaks(X, y) if f.outcome == "issue"]
    []
    >>> leaking = np.column_stack([X, 10 * y])
    >>> [f.message for f in find_leaks(leaking, y) if f.outcome == "issue"]
    ["The column 'column 4' is the target in other words."]
    """
    check_consistent_length(X, y, groups, times)
    is_classification = holds_classes(np.asarray(y))
    splitter = check_cv(5 if cv is None else cv, y, classifier=is_classification)
    with warnings.catch_warnings():
        # That a splitter has no use for groups is what is looked for.
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        folds = list(splitter.split(np.zeros(len(y)), y, groups))
    table = as_leak_table(X, y, is_classification=is_classification, folds=folds)
    return (
        check_duplicates(table),
        check_near_duplicates(table),
        check_groups(table, groups),
        check_times(table, None if times is None else as_times(times)),
        check_target(table),
        check_giveaway(table),
        check_scaling(table),
        check_outliers(table),
    )
