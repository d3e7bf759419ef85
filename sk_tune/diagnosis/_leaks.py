# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The leak guard: whether scores of a cross-validation can be believed, by its data.

References
----------
.. [1] S. Kapoor, A. Narayanan. Leakage and the reproducibility crisis in
   machine-learning-based science. Patterns 4(9), 2023.  Its kinds L1.2 (scaling), L1.4
   (duplicates), L2 (features) and L3.1, L3.2 (times, groups) are looked for.
"""

import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm
from sklearn.feature_selection import f_classif, f_regression
from sklearn.model_selection import KFold, StratifiedKFold, check_cv
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import check_consistent_length

from sk_tune._splits import as_times
from sk_tune._text import listed
from sk_tune.diagnosis._findings import RULES, Finding, Findings, share
from sk_tune.diagnosis._leak_copies import (
    Bools,
    Floats,
    LeakTable,
    as_frame,
    check_duplicates,
    check_near_duplicates,
    holds_classes,
)

Array = npt.NDArray[Any]


def check_target(table: LeakTable) -> Finding:
    """Look for a column that is the target under another name: an issue if there is one."""
    rule = RULES["target among the features"]
    if table.y.ndim > 1:
        return rule.not_applicable("There are several targets.")
    same = [name for name in table.X.columns if _is_target(table, table.X[name])]
    if not same:
        return rule.passed("No column is the target.", {"columns": table.X.shape[1]})
    return rule.issue(
        "high",
        f"The column {same[0]!r} is the target in other words.",
        {"columns": len(same)},
        f"Drop {', '.join(map(repr, same))}.",
    )


def check_giveaway(table: LeakTable) -> Finding:
    """Look for a column that all but gives the target away, and is not it."""
    rule = RULES["feature that gives the target away"]
    if table.y.ndim > 1 or len(table.y) < 40:
        return rule.not_applicable("It takes one target and 40 rows.")
    rows = np.arange(len(table.y))
    if len(rows) > 5000:
        rows = np.random.default_rng(0).choice(rows, 5000, replace=False)
    y = table.y[rows]
    guessed = float(pd.Series(y).value_counts(normalize=True).iloc[0])
    guessed = guessed if table.is_classification else 0.0
    names = [n for n in _suspects(table, rows) if not _is_target(table, table.X[n])]
    scores = {
        str(name): _score_alone(table.X[name].iloc[rows], y, table.is_classification)
        for name in names
    }
    if not scores:
        return rule.not_applicable("There is no column beside the target.")
    name = max(scores, key=lambda n: scores[n])
    gained = scores[name] - guessed
    # Where a class is rare, so much of guessing's errors must be gone, and so many.
    is_much = gained >= 0.02 or (gained >= 0.75 * (1 - guessed) and gained * len(y) >= 10)
    evidence = {"score": scores[name], "guessing": guessed}
    if scores[name] < 0.995 or not is_much:
        return rule.passed("No column alone predicts the target.", evidence)
    what = "accuracy" if table.is_classification else "R²"
    return rule.issue(
        "high",
        f"The column {name!r} alone predicts the target with {what} {scores[name]:.3f}.",
        evidence,
        f"Ask whether {name!r} is known when the prediction is needed; drop it if not.",
    )


def _suspects(table: LeakTable, rows: Array) -> list[Any]:
    """Return columns that get a tree; of numbers the 100 that go with the target most."""
    numbers = table.numbers
    if numbers.shape[1] <= 100:
        return list(table.X.columns)
    values = numbers.iloc[rows].to_numpy(dtype=np.float64)
    values = np.where(np.isnan(values), np.nanmean(values, axis=0), values)
    varies = np.ptp(values, axis=0) > 0
    score = f_classif if table.is_classification else f_regression
    strength = np.zeros(values.shape[1])
    strength[varies] = np.nan_to_num(score(values[:, varies], table.y[rows])[0])
    strongest = {numbers.columns[i] for i in np.argsort(-strength)[:100]}
    return [n for n in table.X.columns if n in strongest or n not in numbers.columns]


def _is_target(table: LeakTable, column: "pd.Series[Any]") -> bool:
    if table.is_classification:
        codes, kinds = pd.factorize(column)
        targets, classes = pd.factorize(pd.Series(table.y))
        if len(kinds) != len(classes) or (codes < 0).any():
            return False
        return len(np.unique(np.stack([codes, targets]), axis=1).T) == len(classes)
    if not pd.api.types.is_numeric_dtype(column) or column.isna().any():
        return False
    values = column.to_numpy(dtype=np.float64)
    y = table.y.astype(np.float64)
    if values.std() == 0 or y.std() == 0:
        return False
    return bool(abs(np.corrcoef(values, y)[0, 1]) > 1 - 1e-6)


def _score_alone(column: "pd.Series[Any]", y: Array, is_classification: bool) -> float:  # noqa: FBT001
    """Return the cross-validated score of a small tree on one column."""
    if not pd.api.types.is_numeric_dtype(column):
        codes = pd.factorize(column)[0]
        if len(np.unique(codes)) > len(codes) / 4:
            # Names and identities, which a tree cannot learn from.
            return -np.inf
        column = pd.Series(codes)
    values = column.to_numpy(dtype=np.float64).reshape(-1, 1)
    folds = KFold(3, shuffle=True, random_state=0)
    tree: Any = DecisionTreeRegressor(max_leaf_nodes=128, random_state=0)
    if is_classification:
        tree = DecisionTreeClassifier(max_leaf_nodes=16, random_state=0)
        if np.unique(y, return_counts=True)[1].min() >= 3:
            folds = StratifiedKFold(3)
    # scikit-learn's cross_val_score takes twice as long here.
    scores = [
        tree.fit(values[train], y[train]).score(values[test], y[test])
        for train, test in folds.split(values, y)
    ]
    return float(np.mean(scores))


# A number that is this near to 0 or 1 was made so.
_EXACTLY = 1e-5


def check_scaling(table: LeakTable) -> Finding:
    """Look for columns scaled with the samples of all folds: a low issue if most were."""
    rule = RULES["scaled over all rows"]
    numbers: Any = table.numbers.astype(np.float64)
    values = numbers.loc[:, numbers.nunique() > 2].to_numpy()
    # Nobody scales pairs of sine and cosine.
    radius = np.hypot(values[:, :-1], values[:, 1:])
    pairs = (np.abs(radius - 1) < _EXACTLY).all(axis=0)
    on_circle = np.zeros(values.shape[1], dtype=bool)
    on_circle[:-1] |= pairs
    on_circle[1:] |= pairs
    values = values[:, ~on_circle]
    if values.shape[1] == 0 or len(values) < 3:
        return rule.not_applicable("There are no columns of numbers.")
    # RealMLP's smooth clipping, x / sqrt(1 + (x / 3)^2), ends at 3.  A value at the bound
    # itself would have come from an infinite one.
    lowest, highest = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    is_inside = np.maximum(-lowest, highest) <= 3
    clipped = np.clip(np.where(is_inside, values, 0.0) / 3, -1 + 1e-12, 1 - 1e-12)
    unclipped = 3 * clipped / np.sqrt(1 - clipped**2)
    # Where scikit-learn's QuantileTransformer ends its normal distribution.
    end = float(-norm.ppf(1e-7))
    scalings = {
        "mean and deviation": _is_standardised(values),
        "median and quartiles": _has_quartiles(values) | _has_quartiles(unclipped),
        "ends of a normal distribution": (np.abs(lowest + end) < _EXACTLY)
        & (np.abs(highest - end) < _EXACTLY),
    }
    scaling = max(scalings, key=lambda name: scalings[name].mean())
    part = float(scalings[scaling].mean())
    evidence = {"share": part, "columns": values.shape[1]}
    if part < 0.5:
        return rule.passed("Columns are not scaled to one mean and deviation.", evidence)
    return rule.issue(
        "low",
        f"{share(part)} of the columns of numbers have the same {scaling} over all rows, "
        "so the test rows had a part in scaling them.",
        evidence,
        "Start from the data before they were scaled, and put the scaler in the pipeline.",
    )


def _is_standardised(values: Floats) -> Bools:
    means, deviations = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    usual = float(np.median(deviations))
    n = len(values)
    # The variance may be taken with n or n - 1, and any deviation may be common.
    equal = np.abs(deviations / usual - 1) < _EXACTLY
    unit = np.abs(deviations - 1) < _EXACTLY
    unit |= np.abs(deviations * np.sqrt(n / (n - 1)) - 1) < _EXACTLY
    centred = np.abs(means) < _EXACTLY * max(usual, 1e-300)
    scaled: Bools = centred & (unit | (equal & (values.shape[1] > 2)))
    return scaled


def _has_quartiles(values: Floats) -> Bools:
    low, middle, high = np.nanquantile(values, [0.25, 0.5, 0.75], axis=0)
    spread = high - low
    # Where quartiles are equal, RealMLP divides by half the range.
    width = np.nanmax(values, axis=0) - np.nanmin(values, axis=0)
    unit = np.where(spread == 0, np.abs(width - 2), np.abs(spread - 1)) < _EXACTLY
    # Counts, such as 0, 1 and 2, have such quartiles by themselves.
    is_whole = (np.isnan(values) | (values == np.round(values))).all(axis=0)
    scaled: Bools = (np.abs(middle) < _EXACTLY) & unit & ~is_whole
    return scaled


# Standard deviation of normal values by the median absolute deviation, and the distance
# of quartiles by the standard deviation.
_NORMAL_MAD, _NORMAL_IQR = 1.4826, 1.349
_MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class Outliers:
    """The outliers of one column.

    `rows`, (n_samples,), marks them; `furthest` is the largest robust z score, `widened`
    the ratio of the standard deviation to the robust one.
    """

    rows: npt.NDArray[np.bool_]
    furthest: float
    widened: float


def check_outliers(table: LeakTable) -> Finding:
    """Look for single values that are far from all others of their column."""
    rule = RULES["outliers"]
    columns = {repr(name): column for name, column in table.numbers.items()}
    targets: dict[str, pd.Series] = {}
    if not table.is_classification:
        flat = pd.DataFrame(table.y.reshape(len(table.y), -1))
        targets = {
            "the target" if flat.shape[1] == 1 else f"target {k}": flat[k] for k in flat
        }
    found = {name: outliers_of(values) for name, values in {**columns, **targets}.items()}
    looked_at = {name: one for name, one in found.items() if one is not None}
    if not looked_at:
        return rule.not_applicable("There is no column of many different numbers.")
    guilty = {name: one for name, one in looked_at.items() if one.rows.any()}
    furthest = max(one.furthest for one in looked_at.values())
    evidence = {"columns": len(guilty), "furthest": furthest}
    if not guilty:
        return rule.passed("No single values are far from all others.", evidence)
    part = float(np.any([one.rows for one in guilty.values()], axis=0).mean())
    evidence |= {"share": part, "widened": max(o.widened for o in guilty.values())}
    names = sorted(guilty, key=lambda name: -guilty[name].furthest)
    is_in_target = any(name in targets for name in names)
    remedy = "Look at these rows: a typing error, a code for a missing value, or real?"
    if set(names) != set(targets):
        remedy += (
            ' Scale real ones by TablePreparer(numeric="smooth_clip") or RobustScaler.'
        )
    if is_in_target:
        remedy += (
            " Train on a target without a long tail, by TransformedTargetRegressor with a "
            "logarithm or quantiles, or a network with loss='huber' or 'absolute_error', "
            "which errors enter linearly."
        )
    return rule.tip(
        "medium" if is_in_target else "low",
        f"{share(part)} of the rows have values far from all others, up to "
        f"{furthest:.0f} robust standard deviations, in {listed(names, _MOST_NAMES)}.",
        evidence,
        remedy,
    )


def outliers_of(column: "pd.Series[float]") -> Outliers | None:
    """Return which values of a column are outliers; missing and infinite ones are ignored.

    None for columns without a scale: few samples, few different values, or one value that a
    quarter of the samples has.

    >>> ages = pd.Series([*range(20, 70), 999])
    >>> np.flatnonzero(outliers_of(ages).rows).tolist()
    [50]
    """
    values = column.to_numpy(dtype=np.float64)
    is_finite = np.isfinite(values)
    known = values[is_finite]
    kinds, counts = np.unique(known, return_counts=True)
    # Fewer values, or one that so many samples have, are no scale to measure by.
    if len(known) < 20 or len(kinds) <= 10 or counts.max() > len(known) / 4:
        return None
    middle = float(np.median(known))
    deviation = _NORMAL_MAD * float(np.median(np.abs(known - middle)))
    if deviation == 0.0:
        deviation = float(np.subtract(*np.quantile(known, [0.75, 0.25]))) / _NORMAL_IQR
    if deviation == 0.0:
        return None
    z = np.full(len(values), 0.0)
    z[is_finite] = np.abs(known - middle) / deviation
    # What is skewed by nature has a few values far from the median, so they must also stand
    # apart, or make the standard deviation so many times that of the others that these
    # become next to equal once they are standardised.  If there are many, the column is
    # like that.
    far, ordered = 10.0, np.sort(z[is_finite])
    top = ordered[int(0.95 * len(ordered)) :]
    limit = np.inf
    if top[0] < far:
        # The nearest is four times nearer. Nobody is alone among those who are where most
        # are.
        apart = top[1:] >= 4 * np.maximum(top[:-1], 5)
        limit = float(top[1:][apart][0]) if apart.any() else np.inf
        # The second moment about the median of the values that do not stand apart is about
        # the square of their standard deviation.
        if float(np.sqrt(np.mean(ordered[ordered < limit] ** 2))) > 5:
            limit = far
    widened = float(known.std()) / deviation
    return Outliers(rows=z >= limit, furthest=float(z.max()), widened=widened)


# Least share of the test rows whose group or past is in training.
LEAST_SHARE = 0.01
# Names of columns that say who a row is of: the word alone, or with "id" behind it.
_WHO = "patient|subject|customer|client|user|person|member|household|session|group|family"
_IDENTITY = re.compile(rf"(?:{_WHO})s?(?:[ _.-]?(?:id|no|nr|key|code))?|id", re.IGNORECASE)
# Rows that an identity has on average, at least, and different ones, for it to be one.
FEWEST_REPEATS = 2.0
FEWEST_GROUPS = 10


def check_groups(table: LeakTable, groups: Any = None) -> Finding:
    """Look for groups with samples on both sides of a split."""
    rule = RULES["groups across folds"]
    name = None
    if groups is None:
        # A column whose name and values look like an identity.
        for column in table.X.columns:
            n_values = table.X[column].nunique()
            is_named = _IDENTITY.fullmatch(str(column)) is not None
            repeats = len(table.X) / max(1, n_values)
            if is_named and n_values >= FEWEST_GROUPS and repeats >= FEWEST_REPEATS:
                name = str(column)
                break
        else:
            return rule.not_applicable(
                "No groups were given, and no column looks as if it named some."
            )
    values = np.asarray(pd.factorize(table.X[name] if name else pd.Series(groups))[0])
    shared = [np.isin(values[test], values[train]) for train, test in table.folds]
    part = float(np.mean(np.concatenate(shared)))
    evidence = {"share": part, "groups": float(len(np.unique(values)))}
    if part < LEAST_SHARE:
        return rule.passed("No group is on both sides of a split.", evidence)
    remedy = "Split by group: cv=GroupKFold() or StratifiedGroupKFold(), and groups=…"
    if name is None:
        return rule.issue(
            "high",
            f"{share(part)} of the test rows have rows of their group among the training "
            "rows.",
            evidence,
            remedy,
        )
    return rule.tip(
        "medium",
        f"The column {name!r} looks as if it named groups, and {share(part)} of the test "
        "rows have rows of their group among the training rows.",
        evidence,
        f"If new data have new values of it: {remedy}",
    )


def check_times(table: LeakTable, times: Any = None) -> Finding:
    """Look for training samples that are later than the samples they are tested on."""
    rule = RULES["future in the training rows"]
    name, when = None, None if times is None else pd.Series(times).infer_objects()
    if when is None:
        columns = ((column, _as_dates(table.X[column])) for column in table.X.columns)
        dates = ((column, values) for column, values in columns if values is not None)
        name, when = next(dates, (None, None))
    if when is None:
        return rule.not_applicable("No times were given, and no column has dates.")
    rank = when.rank(method="dense").to_numpy()
    late = [rank[test] < np.nanmax(rank[train]) for train, test in table.folds]
    part = float(np.mean(np.concatenate(late)))
    evidence = {"share": part}
    if part < LEAST_SHARE:
        return rule.passed(
            "Training rows are before the rows they are tested on.", evidence
        )
    remedy = "Sort the rows by time and split with cv=TimeSeriesSplit()."
    said = f"{share(part)} of the test rows are older than some training row"
    if name is None:
        return rule.issue("high", f"{said}.", evidence, remedy)
    return rule.tip(
        "medium",
        f"{said}, by the column {name!r}.",
        evidence,
        f"If the network is to predict the future: {remedy}",
    )


# Text that is a date: year, month, day, and maybe a time of day.
_DATE = r"\d{4}-\d{1,2}-\d{1,2}(?:[ T].*)?"


def _as_dates(column: "pd.Series[Any]") -> "pd.Series[Any] | None":
    """Return a column of dates, also of text that begins with the year; None for others."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    text = column.dropna()
    if text.empty or not pd.api.types.is_string_dtype(text):
        return None
    dates = pd.to_datetime(
        text.where(text.str.fullmatch(_DATE)), format="ISO8601", errors="coerce", utc=True
    )
    return None if dates.isna().any() else dates.reindex(column.index)


def find_leaks(
    X: Any,
    y: Any,
    *,
    cv: Any = None,
    groups: Any = None,
    times: Any = None,
    is_classification: bool | None = None,
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
    is_classification : bool or None, default=None
        Whether targets are classes.  If None their values decide: text, truth values and
        few whole numbers are.

    Returns
    -------
    tuple of Finding
        One for each check, with codes from "SKT201": duplicates (with the same target, and
        more than the values of the columns explain) and near duplicates across folds,
        groups on both sides, training rows of the future (by `times` or a column of dates,
        which may be text with the year first), the target among the features, a feature
        that gives it away, scaling over all rows.  The last check is about outliers in
        features and targets of a regression, which are not leaks.

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
    if is_classification is None:
        is_classification = holds_classes(np.asarray(y))
    splitter = check_cv(5 if cv is None else cv, y, classifier=is_classification)
    with warnings.catch_warnings():
        # The check looks for splitters that have no use for groups; their warning is no
        # news.
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        folds = list(splitter.split(np.zeros(len(y)), y, groups))
    table = LeakTable(
        X=as_frame(X), y=np.asarray(y), is_classification=is_classification, folds=folds
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
