# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The leak guard: checks of data and folds for leaks that inflate scores.

References
----------
.. [1] S. Kapoor, A. Narayanan. Leakage and the reproducibility crisis in
   machine-learning-based science. Patterns 4(9), 2023.  The checks cover its kinds L1.2
   (scaling), L1.4 (duplicates), L2 (features) and L3.1, L3.2 (times, groups).
"""

import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pandas.api.types import is_numeric_dtype
from scipy.stats import norm
from sklearn.model_selection import check_cv
from sklearn.utils import check_consistent_length

from sk_tune._cell_formats import TextFormat, best_format, different_cells
from sk_tune._diagnosis._findings import RULES, Finding, Findings, share
from sk_tune._diagnosis._giveaways import check_giveaway, check_target, repeats
from sk_tune._diagnosis._leak_copies import (
    LeakTable,
    as_frame,
    check_duplicates,
    check_near_duplicates,
    holds_classes,
)
from sk_tune._plain_numbers import percentiles, unique_counts
from sk_tune._splits import as_times
from sk_tune._text import listed
from sk_tune._types import Array, Bools, Features, Floats, Folds

# Tolerance for a statistic to be 0 or 1 by construction.
_EXACTLY = 1e-5


def check_scaling(table: LeakTable) -> Finding:
    """Check for columns scaled over the samples of all folds: a low issue if most are."""
    rule = RULES["scaled over all rows"]
    numbers: Any = table.numbers.astype(np.float64)
    values = numbers.to_numpy()
    values = values[:, unique_counts(values) > 2]
    # Pairs of sine and cosine are not scaled columns.
    radius = np.hypot(values[:, :-1], values[:, 1:])
    pairs = (np.abs(radius - 1) < _EXACTLY).all(axis=0)
    on_circle = np.zeros(values.shape[1], dtype=bool)
    on_circle[:-1] |= pairs
    on_circle[1:] |= pairs
    values = values[:, ~on_circle]
    if values.shape[1] == 0 or len(values) < 3:
        return rule.not_applicable("There are no numeric columns.")
    # RealMLP's smooth clipping, x / sqrt(1 + (x / 3)^2), ends at 3.  Only infinity would be
    # mapped to the bound itself.
    lowest, highest = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    is_inside = np.maximum(-lowest, highest) <= 3
    clipped = np.clip(np.where(is_inside, values, 0.0) / 3, -1 + 1e-12, 1 - 1e-12)
    unclipped = 3 * clipped / np.sqrt(1 - clipped**2)
    # Largest value of scikit-learn's QuantileTransformer with a normal distribution.
    end = float(-norm.ppf(1e-7))
    scalings = {
        "mean and standard deviation": _is_standardised(values),
        "median and quartiles": _has_quartiles(values) | _has_quartiles(unclipped),
        "limits (those of QuantileTransformer)": (np.abs(lowest + end) < _EXACTLY)
        & (np.abs(highest - end) < _EXACTLY),
    }
    scaling = max(scalings, key=lambda name: scalings[name].mean())
    part = float(scalings[scaling].mean())
    evidence = {"share": part, "columns": values.shape[1]}
    if part < 0.5:
        return rule.passed(
            "Most columns do not have a common mean and standard deviation.", evidence
        )
    return rule.issue(
        "low",
        f"{share(part)} of the numeric columns have the same {scaling} over all rows, so "
        "the scaling used test rows.",
        evidence,
        "Start from unscaled data, and put the scaler in the pipeline.",
    )


def _is_standardised(values: Floats) -> Bools:
    means, deviations = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    usual = float(np.median(deviations))
    n = len(values)
    # The variance may divide by n or n - 1, and any common deviation counts.
    equal = np.abs(deviations / usual - 1) < _EXACTLY
    unit = np.abs(deviations - 1) < _EXACTLY
    unit |= np.abs(deviations * np.sqrt(n / (n - 1)) - 1) < _EXACTLY
    centred = np.abs(means) < _EXACTLY * max(usual, 1e-300)
    scaled: Bools = centred & (unit | (equal & (values.shape[1] > 2)))
    return scaled


def _has_quartiles(values: Floats) -> Bools:
    low, middle, high = percentiles(values, [25, 50, 75])
    spread = high - low
    # Where quartiles are equal, RealMLP divides by half the range.
    width = np.nanmax(values, axis=0) - np.nanmin(values, axis=0)
    unit = np.where(spread == 0, np.abs(width - 2), np.abs(spread - 1)) < _EXACTLY
    # Counts such as 0, 1 and 2 have these quartiles by nature.
    is_whole = (np.isnan(values) | (values == np.round(values))).all(axis=0)
    scaled: Bools = (np.abs(middle) < _EXACTLY) & unit & ~is_whole
    return scaled


# Ratios for normal values: standard deviation to median absolute deviation, and distance of
# the quartiles to standard deviation.
_NORMAL_MAD, _NORMAL_IQR = 1.4826, 1.349
_MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class Outliers:
    """The outliers of one column."""

    rows: Bools  # (n_samples,)
    furthest: float  # largest robust z score
    widened: float  # ratio of the standard deviation to its robust estimate


def check_outliers(table: LeakTable) -> Finding:
    """Check for single values that are far from the rest of their column."""
    rule = RULES["outliers"]
    columns = {repr(name): column for name, column in table.numbers.items()}
    targets: dict[str, pd.Series] = {}
    if not table.is_classification:
        flat = pd.DataFrame(table.y.reshape(len(table.y), -1))
        is_one = flat.shape[1] == 1
        targets = {"the target" if is_one else f"target {k}": flat[k] for k in flat}
    by_column = {n: outliers_of(values) for n, values in {**columns, **targets}.items()}
    checked = {name: outliers for name, outliers in by_column.items() if outliers}
    if not checked:
        return rule.not_applicable("No column has many different numbers.")
    with_outliers = {name: o for name, o in checked.items() if o.rows.any()}
    furthest = max(outliers.furthest for outliers in checked.values())
    evidence = {"columns": len(with_outliers), "furthest": furthest}
    if not with_outliers:
        return rule.passed("No value is far from the rest of its column.", evidence)
    part = float(np.any([o.rows for o in with_outliers.values()], axis=0).mean())
    evidence |= {"share": part, "widened": max(o.widened for o in with_outliers.values())}
    names = sorted(with_outliers, key=lambda name: -with_outliers[name].furthest)
    is_in_target = any(name in targets for name in names)
    remedy = "Check these rows for data entry errors and placeholders for missing values."
    if set(names) != set(targets):
        remedy += (
            ' Scale true outliers with TablePreparer(numeric="smooth_clip") or '
            "RobustScaler."
        )
    if is_in_target:
        remedy += (
            " For the target, use TransformedTargetRegressor with a logarithm or "
            "quantiles, or a network with loss='huber' or 'absolute_error', which grow "
            "only linearly with large errors."
        )
    return rule.tip(
        "medium" if is_in_target else "low",
        f"{share(part)} of the rows have values far from the rest of their column, up to "
        f"{furthest:.0f} robust standard deviations, in {listed(names, _MOST_NAMES)}.",
        evidence,
        remedy,
    )


def outliers_of(column: "pd.Series[float]") -> Outliers | None:
    """Return the outliers of a column; None if its values do not define a scale.

    >>> ages = pd.Series([*range(20, 70), 999])
    >>> np.flatnonzero(outliers_of(ages).rows).tolist()
    [50]
    """
    values = column.to_numpy(dtype=np.float64)
    is_finite = np.isfinite(values)
    finite = values[is_finite]
    kinds, counts = np.unique(finite, return_counts=True)
    # Few different or very frequent values do not define a scale.
    if len(finite) < 20 or len(kinds) <= 10 or counts.max() > len(finite) / 4:
        return None
    middle = float(np.median(finite))
    deviation = _NORMAL_MAD * float(np.median(np.abs(finite - middle)))
    if deviation == 0.0:
        deviation = float(np.subtract(*np.quantile(finite, [0.75, 0.25]))) / _NORMAL_IQR
    if deviation == 0.0:
        return None
    z = np.full(len(values), 0.0)
    z[is_finite] = np.abs(finite - middle) / deviation
    # Skewed columns have a few values far from the median by nature. Outliers must also lie
    # beyond a gap, or inflate the standard deviation until all standardised values
    # become nearly equal. Many such values are part of the distribution.
    far, ordered = 10.0, np.sort(z[is_finite])
    top = ordered[int(0.95 * len(ordered)) :]
    limit = np.inf
    if top[0] < far:
        # A gap: the next smaller value is at most a quarter as far from the median.
        # Distances below 5 count as 5, because gaps near the bulk do not matter.
        has_gap = top[1:] >= 4 * np.maximum(top[:-1], 5)
        limit = float(top[1:][has_gap][0]) if has_gap.any() else np.inf
        # The second moment about the median of the values before the gap is about the
        # square of their standard deviation.
        if float(np.sqrt(np.mean(ordered[ordered < limit] ** 2))) > 5:
            limit = far
    widened = float(finite.std()) / deviation
    return Outliers(rows=z >= limit, furthest=float(z.max()), widened=widened)


# Least share of test rows with their group or their future in training.
LEAST_SHARE = 0.01
# Names of identity columns: the word alone, or followed by "id".
_WHO = "patient|subject|customer|client|user|person|member|household|session|group|family"
_IDENTITY = re.compile(rf"(?:{_WHO})s?(?:[ _.-]?(?:id|no|nr|key|code))?|id", re.IGNORECASE)


def check_groups(table: LeakTable, groups: Any = None) -> Finding:
    """Check for groups with samples on both sides of a split."""
    rule, name = RULES["groups across folds"], None
    if groups is None:
        names = filter(lambda n: _IDENTITY.fullmatch(str(n)), table.X.columns)
        name = next((n for n in names if repeats(table.X[n])), None)
        if name is None:
            return rule.not_applicable(
                "No groups were passed, and no column looks like a group identifier."
            )
        groups = table.X[name]
    values = np.asarray(pd.factorize(pd.Series(groups))[0])
    shared = [np.isin(values[test], values[train]) for train, test in table.folds]
    part = float(np.mean(np.concatenate(shared)))
    evidence = {"share": part, "groups": float(len(np.unique(values)))}
    if part < LEAST_SHARE:
        return rule.passed("No group is on both sides of a split.", evidence)
    remedy = "Split by group: cv=GroupKFold() or StratifiedGroupKFold(), and groups=…"
    text = f"{share(part)} of the test rows belong to a group that is also in the training"
    if name is None:
        return rule.issue("high", f"{text} rows.", evidence, remedy)
    return rule.tip(
        "medium",
        f"The column {str(name)!r} looks like a group identifier, and {text} rows.",
        evidence,
        f"If new data will have new values of {str(name)!r}: {remedy}",
    )


def check_times(table: LeakTable, times: Any = None) -> Finding:
    """Check for training samples that are later than the samples they are tested on."""
    rule, source = RULES["future in the training rows"], ""
    when = None if times is None else pd.Series(times).infer_objects()
    if when is None:
        # In wide tables, access to a column takes most of the time.
        names = table.X.columns[~table.X.dtypes.map(is_numeric_dtype).to_numpy(bool)]
        dates = ((name, _as_dates(table.X[name])) for name in names)
        name, column_dates = next((pair for pair in dates if pair[1]), ("", None))
        if column_dates is not None:
            when, text_format = column_dates
            source = f"the column {str(name)!r}{text_format}"
    if when is None:
        return rule.not_applicable("No times were passed, and no column has dates.")
    rank = when.rank(method="dense").to_numpy()
    late = [rank[test] < np.nanmax(rank[train]) for train, test in table.folds]
    part = float(np.mean(np.concatenate(late)))
    evidence = {"share": part}
    if part < LEAST_SHARE:
        return rule.passed(
            "All training rows precede the test rows of their fold.", evidence
        )
    remedy = "Sort the rows by time and split with cv=TimeSeriesSplit()."
    message = f"{share(part)} of the test rows are older than a training row"
    if not source:
        return rule.issue("high", f"{message}.", evidence, remedy)
    message += f", according to {source}."
    return rule.tip(
        "medium", message, evidence, f"If the model will predict the future: {remedy}"
    )


# Distinct cells that show whether text may be dates.
_FIRST_CELLS = 50


def _as_dates(column: "pd.Series[Any]") -> "tuple[pd.Series[Any], str] | None":
    """Return a column as dates, with an unusual format of its text; None if not dates."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return column, ""
    if not pd.api.types.is_string_dtype(column.dropna()):
        return None
    cells, counts = different_cells(column)
    if _date_format(cells[:_FIRST_CELLS], counts[:_FIRST_CELLS]) is None:
        return None
    text_format = _date_format(cells, counts)
    if text_format is None:
        return None
    text = "" if text_format.is_usual else f" ({text_format})"
    return text_format.read(column), text


def _date_format(cells: "pd.Series[Any]", counts: Array) -> TextFormat | None:
    """Return the format of distinct cells of text, None if some are not dates."""
    best = best_format(cells, counts) if len(cells) else None
    if best is None or best[0].kind != "date" or best[1].any():
        return None
    return best[0]


def find_leaks(
    X: Features,
    y: ArrayLike,
    *,
    cv: Folds = None,
    groups: ArrayLike | None = None,
    times: ArrayLike | None = None,
    is_classification: bool | None = None,
) -> tuple[Finding, ...]:
    """Check data and folds for leaks of test rows into training, and for outliers.

    Parameters
    ----------
    X : array-like or frame of shape (n_samples, n_features) or (n_samples, ...)
        Features as passed to cross-validation.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    cv : int, splitter or iterable, default=None
        Folds, as in scikit-learn; 5 if None, or fewer if there are too few samples.
    groups : array-like of shape (n_samples,) or None, default=None
        Group of each row, such as its patient.
    times : array-like of shape (n_samples,) or None, default=None
        Time of each row: numbers or dates; text is read as dates that begin with the year.
    is_classification : bool or None, default=None
        Whether targets are classes.  If None, the values decide: text, booleans and few
        different integers are classes.

    Returns
    -------
    tuple of Finding
        One finding per check, with codes from "SKT201": duplicates and near duplicates
        across folds, groups on both sides of a split, future training rows (by `times`, or
        a column of dates), the target among the features, a feature that gives it away,
        scaling over all rows, and outliers, which are not leaks.

    Raises
    ------
    ValueError
        If X, y, groups and times differ in length, samples of X have unequal lengths, or a
        time is missing or is not a date.

    Notes
    -----
    The checks cover the kinds of leakage in Kapoor and Narayanan (2023) that data can show.
    Passed checks do not prove the absence of leaks.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import find_leaks
    >>> X, y = load_iris(return_X_y=True)
    >>> [f.name for f in find_leaks(X, y) if f.outcome == "issue"]
    []
    >>> leaking = np.column_stack([X, 10 * y])
    >>> [f.message for f in find_leaks(leaking, y) if f.outcome == "issue"]
    ["The column 'column 4' is the target in another encoding."]
    """
    check_consistent_length(X, y, groups, times)
    targets = np.asarray(y)
    if is_classification is None:
        is_classification = holds_classes(targets)
    is_stratified = is_classification
    if cv is None:
        labels = is_classification and targets.ndim == 1
        n_most = pd.Series(targets).value_counts().max() if labels else len(targets)
        is_stratified &= n_most > 1
        cv = int(np.clip(n_most, 2, 5))
    splitter = check_cv(cv, y, classifier=is_stratified)
    with warnings.catch_warnings():
        # The check of groups reports splitters that ignore groups; their warning is
        # redundant.
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        folds = list(splitter.split(np.zeros(len(targets)), y, groups))
    table = LeakTable(
        X=as_frame(X), y=targets, is_classification=is_classification, folds=folds
    )
    return Findings((
        check_duplicates(table),
        check_near_duplicates(table),
        check_groups(table, groups),
        check_times(table, None if times is None else as_times(times)),
        check_target(table),
        check_giveaway(table),
        check_scaling(table),
        check_outliers(table),
    ))
