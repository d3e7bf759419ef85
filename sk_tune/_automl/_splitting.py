# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Rows set aside, the folds of the other rows, and leaks between them."""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from pandas.util import hash_pandas_object
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    check_cv,
)

from sk_tune._automl._problem import Problem
from sk_tune._diagnosis import Finding, find_leaks
from sk_tune._splits import as_column, folds_among, order_of_times, take
from sk_tune._text import listed
from sk_tune._types import Array
from sk_tune._warnings import warn_user
from sk_tune.exceptions import DataWarning, LeakWarning, TableError

Fold = tuple[Array, Array]  # Positions of training and held-out samples.

_N_FOLDS = 5
# Samples per second of the budget above which there is one split instead of folds: five
# models on one split are then worth more than one model on five folds.
_ROWS_PER_SECOND = 400
# The same limit in values, for images and wide tables.
_VALUES_PER_SECOND = 20_000
# The same limit for tables of few rows, where a single held-out part is too small to score.
_VALUES_PER_SECOND_OF_FEW, _FEW_ROWS = 100_000, 500
# Rows and values per second of the budget that can be prepared in a fraction of it. Models
# train on a sample of larger tables.
_MOST_ROWS_PER_SECOND, _MOST_VALUES_PER_SECOND = 5_000, 400_000
_LEAST_SAMPLE = 10_000
# Least number of samples: two to train on and two to hold out.
_LEAST_ROWS = 4
# Samples above which there is one split without a time budget.
_MOST_ROWS_IN_FOLDS = 50_000
_HELD_OUT_SHARE = 0.2
_MOST_HELD_OUT = 20_000
# Least number of samples for a last check, its share of them, and its largest size.
_ROWS_TO_SPARE = 5_000
_SPARED_SHARE, _MOST_SPARED = 0.1, 5_000
# Number of classes in a message.
_N_NAMED = 5


class Split(NamedTuple):
    """Positions of samples: set aside, in folds among the rest, and left out of both."""

    held_out: Array
    folds: Sequence[Fold]
    left_out: Array = np.empty(0, dtype=np.intp)

    def trained_on(self, n_rows: int) -> Array:
        """Return the positions that the folds divide."""
        return np.delete(np.arange(n_rows), np.r_[self.held_out, self.left_out])

    def fitted_at_the_end(self, n_rows: int) -> Array:
        """Return the positions that members are fitted on in the end, all but left out."""
        return np.delete(np.arange(n_rows), self.left_out)

    def is_held_out(self, n_rows: int) -> Array:
        """Return the mask of the samples that a fold holds out."""
        tests = np.concatenate([test for _, test in self.folds])
        return np.isin(np.arange(n_rows), self.trained_on(n_rows)[tests])


def n_set_aside(test_size: float | str, n_rows: int) -> int:
    """Return how many rows are set aside for a last check, by share or by default."""
    if test_size != "auto":
        return math.ceil(float(test_size) * n_rows)
    return min(int(_SPARED_SHARE * n_rows), _MOST_SPARED) if n_rows >= _ROWS_TO_SPARE else 0


def as_groups(groups: Any) -> Array:
    """Return groups, (n,); TableError for several columns, or if a group is missing."""
    array = as_column(groups, "groups")
    missing = np.asarray(pd.isna(array))
    if missing.any():
        raise TableError(
            f"Groups must be given for each row. Got {int(missing.sum())} missing, the "
            f"first in row {int(missing.argmax()) + 1}."
        )
    return array


def warn_of_rare_classes(y: Array) -> None:
    """Warn of classes with one sample, if at least two classes have more."""
    labels, counts = np.unique(y, return_counts=True)
    rare = labels[counts < 2]
    if len(labels) - len(rare) >= 2 and len(rare):
        names = listed([*map(str, rare)], _N_NAMED)
        classes, them = (
            ("this class is", "it") if len(rare) == 1 else ("these classes are", "them")
        )
        warn_user(
            "Each class must have at least 2 rows, one to train on and one to score. Got "
            f"only 1 row of {names}, so no score can show whether {classes} learnt. Add "
            f"rows, or merge {them} with another class or remove {them}.",
            DataWarning,
        )


def split_rows(
    y: Array,
    *,
    cv: Any,
    test_size: float | str,
    is_classification: bool,
    is_r2: bool,
    structure: tuple[Array | None, Array | None],
    time_budget: float | None,
    seed: int,
    row_size: int,
    is_table: bool = False,
) -> Split:
    """Return the samples to set aside, and the folds of the other samples.

    `test_size` and `cv` are the estimator's. "auto" depends on the number of samples, for
    `cv` also on the time budget and on the `row_size` values of a sample. If a table
    (`is_table`) is too large for the budget, only a sample is divided into folds.
    `structure` are groups and times, which no part divides. `is_r2` says that folds are
    scored by R^2, which is undefined for one sample. Raises TableError for too few samples.
    """
    samples = _Samples(y, is_classification, *structure, seed)
    is_given = not isinstance(cv, str | Integral | None)
    # The rows that custom folds keep apart are unknown.
    test_size = 0.0 if test_size == "auto" and is_given else test_size
    held_out = samples.held_out(test_size)
    rows = np.setdiff1d(np.arange(len(y)), held_out)
    rest_samples = samples.take(rows)
    left_out = np.empty(0, dtype=np.intp)
    if is_table and time_budget is not None and not is_given:
        left_out = rest_samples.beyond(most_rows(time_budget, row_size))
        if len(left_out):
            left_out = rows[left_out]
            rest_samples = samples.take(np.setdiff1d(rows, left_out))
    if is_given:
        # Custom folds refer to all samples.
        custom_folds = samples.given_folds(cv)
        folds = [fold for fold in folds_among(rows, custom_folds, len(y)) if len(fold[1])]
    else:
        folds = rest_samples.folds(cv, time_budget, row_size, is_table=is_table)
    rest_samples.check(folds, is_r2=is_r2)
    return Split(held_out, folds, left_out)


def most_rows(time_budget: float, row_size: int = 1) -> int:
    """Return the number of rows of a table that a budget has time to prepare."""
    per_second = min(_MOST_ROWS_PER_SECOND, _MOST_VALUES_PER_SECOND / row_size)
    return max(_LEAST_SAMPLE, int(per_second * time_budget))


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """Samples to split by class and group, or by time."""

    y: Array
    is_classification: bool
    groups: Array | None
    times: Array | None
    seed: int

    def take(self, kept: Array) -> Self:
        """Return the samples at some positions."""
        parts = (None if v is None else v[kept] for v in (self.groups, self.times))
        groups, times = parts
        return replace(self, y=self.y[kept], groups=groups, times=times)

    def held_out(self, test_size: float | str) -> Array:
        """Return ascending positions to set aside for a last check; may be empty."""
        n, n_held = len(self.y), n_set_aside(test_size, len(self.y))
        if not n_held:
            return np.empty(0, dtype=np.intp)
        if n - n_held < _LEAST_ROWS:
            raise TableError(
                f"The 'test_size' parameter must leave at least {_LEAST_ROWS} rows to "
                f"train on. Got test_size={test_size}, which sets {n_held} of {n} aside. "
                "Provide more rows, or reduce test_size."
            )
        self._check_structure(3)
        if self.times is None:
            return np.sort(self._one_split(n_held)[1])
        order, starts = order_of_times(self.times)
        # A cut at the first start would leave only one time for the folds.
        nearest = np.abs(starts[1:] - (n - n_held)).argmin()
        return np.sort(order[starts[1:][nearest] :])

    def beyond(self, most: int) -> Array:
        """Return ascending positions outside of a random sample of `most`; may be empty."""
        if len(self.y) <= most:
            return np.empty(0, dtype=np.intp)
        if self.groups is None:
            return np.sort(replace(self, times=None)._one_split(most)[0])
        # Whole groups in random order; folds need two.
        _, group, sizes = np.unique(self.groups, return_inverse=True, return_counts=True)
        order = np.random.default_rng(self.seed).permutation(len(sizes))
        n_kept = max(2, np.count_nonzero(sizes[order].cumsum() <= most))
        return np.flatnonzero(np.isin(group, order[n_kept:]))

    def folds(
        self, cv: Any, time_budget: float | None, row_size: int, *, is_table: bool
    ) -> list[Fold]:
        """Return `cv` folds, or the default for "auto"."""
        y, groups = self.y, self.groups
        if cv != "auto" and groups is None and self.times is None:
            return self.given_folds(cv)
        n_folds = None if cv == "auto" else _N_FOLDS if cv is None else int(cv)
        self._check_structure(n_folds or 2)
        if self.times is not None:
            return _folds_by_time(self.times, n_folds)
        most = _MOST_ROWS_IN_FOLDS
        if time_budget is not None:
            has_few = is_table and len(y) <= _FEW_ROWS
            n_values = _VALUES_PER_SECOND_OF_FEW if has_few else _VALUES_PER_SECOND
            most = int(min(_ROWS_PER_SECOND, n_values / row_size) * time_budget)
        if n_folds is None and len(y) > most:
            return [self._one_split(min(int(_HELD_OUT_SHARE * len(y)), _MOST_HELD_OUT))]
        splitter = self._splitter(n_folds or _N_FOLDS)
        with warnings.catch_warnings():
            # A class may have fewer samples than there are folds.
            warnings.filterwarnings("ignore", "The least populated class", UserWarning)
            return list(splitter.split(np.zeros(len(y)), y, groups))

    def given_folds(self, cv: Any) -> list[Fold]:
        """Return scikit-learn's folds for a number, a splitter or an iterable."""
        y, rows = self.y, np.arange(len(self.y))
        splitter = check_cv(cv, y, classifier=self.is_classification)
        try:
            # Iterables may contain lists of positions, or masks.
            folds = [
                (rows[np.asarray(train)], rows[np.asarray(test)])
                for train, test in splitter.split(np.zeros(len(y)), y, self.groups)
            ]
            reason = "" if folds else "there is no fold"
        except (ValueError, IndexError) as error:
            folds, reason = [], str(error).rstrip(".")
        if reason:
            raise TableError(
                f"The 'cv' parameter must suit the number of rows. Got cv={cv!r} for "
                f"{len(y)} rows: {reason}. Provide more rows, or use fewer folds."
            )
        return folds

    def check(self, folds: Sequence[Fold], *, is_r2: bool) -> None:
        """Raise TableError for folds with too few samples or classes."""
        y = self.y
        for number, (train, test) in enumerate(folds, start=1):
            where = f"fold {number} of {len(folds)}"
            if self.is_classification and len(np.unique(y[train])) < 2:
                classes, counts = np.unique(y, return_counts=True)
                rarest = np.argsort(counts, kind="stable")[:_N_NAMED]
                rare = ", ".join(f"{counts[k]} of class {classes[k]!s}" for k in rarest)
                raise TableError(
                    "The training rows of each fold must have at least two classes, so "
                    f"two classes must have at least 2 rows each. Got {rare}; {where} "
                    "trains on 1 class. Provide more rows of the rare classes, or use "
                    "fewer folds (cv)."
                )
            if len(train) < 2 or (is_r2 and len(test) < 2):
                raise TableError(
                    "Each fold must have at least 2 training rows, and for R^2 at least "
                    f"2 held-out rows. Got {len(train)} and {len(test)} in {where}, of "
                    f"{len(y)} rows. Provide more rows, or use fewer folds (cv) or "
                    "another scoring."
                )

    def _check_structure(self, least: int) -> None:
        if self.groups is not None and self.times is not None:
            raise TableError(
                "'times' and 'groups' cannot be combined, because folds in time order "
                "cannot keep groups together. Got both. Pass one of them, or custom "
                "folds as 'cv' without 'test_size'."
            )
        for name, values in (("groups", self.groups), ("times", self.times)):
            n = least if values is None else len(np.unique(values))
            if n < least:
                raise TableError(
                    f"Rows must have at least {least} different {name}, one for each "
                    f"part: training rows, held-out rows and rows set aside. Got {n}. "
                    f"Provide more rows, or leave out the {name}."
                )

    def _splitter(self, n_folds: int) -> Any:
        draws = {"shuffle": True, "random_state": self.seed}
        if self.groups is not None:
            n_folds = min(n_folds, len(np.unique(self.groups)))
            if not self.is_classification:
                return GroupKFold(n_folds, **draws)
            most_frequent = int(np.unique(self.y, return_counts=True)[1].max())
            return StratifiedGroupKFold(max(2, min(n_folds, most_frequent)), **draws)
        if not self.is_classification:
            # R^2 needs two held-out samples.
            return KFold(min(n_folds, max(2, len(self.y) // 2)), **draws)
        most_frequent = int(np.unique(self.y, return_counts=True)[1].max())
        if most_frequent < 2:
            return KFold(min(n_folds, len(self.y)), **draws)
        return StratifiedKFold(min(n_folds, most_frequent), **draws)

    def _one_split(self, n_held: int) -> Fold:
        y, kind = self.y, ShuffleSplit
        test_size: float = n_held
        if self.groups is not None:
            n_groups = len(np.unique(self.groups))
            n_held = math.ceil(n_held / len(y) * n_groups)
            kind, test_size = GroupShuffleSplit, min(n_held, n_groups - 1)
        elif self.is_classification:
            counts = np.unique(y, return_counts=True)[1]
            if counts.min() >= 2 and min(n_held, len(y) - n_held) >= len(counts):
                kind = StratifiedShuffleSplit
        splitter = kind(1, test_size=test_size, random_state=self.seed)
        train, test = next(splitter.split(np.zeros(len(y)), y, self.groups))
        return train, test


def _folds_by_time(times: Array, n_folds: int | None) -> list[Fold]:
    """Return folds like ``TimeSeriesSplit``, without dividing samples of one time."""
    order, starts = order_of_times(times)
    n = n_folds or min(_N_FOLDS, len(order) - 1)
    cuts = len(order) - len(order) // (n + 1) * np.arange(n, 0, -1)
    cuts = np.unique([starts[np.abs(starts - cut).argmin()] for cut in cuts])
    if n_folds is not None and len(cuts) < n_folds:
        raise TableError(
            "The 'cv' parameter must be a number of folds that the times allow. Got "
            f"cv={n_folds} for {len(starts) + 1} different times, which allow {len(cuts)} "
            "folds. Use fewer folds."
        )
    ends = [*cuts[1:], len(order)]
    return [(order[:cut], order[cut:end]) for cut, end in zip(cuts, ends, strict=True)]


_FEWEST_ROWS = 500
# Columns to check per second, because some checks take time for each column.
_COLUMNS_PER_SECOND, _FEWEST_COLUMNS = 20, 100
# Findings on duplicates, which need all columns.
_OF_WHOLE_ROWS = ("SKT201", "SKT202")


def guarded(
    problem: Problem,
    time_budget: float | None,
    times: Any = None,
    texts: pd.DataFrame | None = None,
) -> tuple[Finding, ...]:
    """Return a finding of each leak check, on as many samples as there is time for."""
    X, y, groups = problem.X, problem.y, problem.groups
    if isinstance(X, pd.DataFrame):
        # Cells that cannot be hashed cannot be compared.
        objects = [name for name in X.columns if X[name].dtype == object]
        unreadable = [n for n in objects if not X[n].map(pd.api.types.is_hashable).all()]
        X = X.drop(columns=unreadable)
    folds: Any = problem.folds
    rng = np.random.default_rng(problem.seed)
    n_columns = max(1, int(np.prod(X.shape[1:])))
    most_rows, most_columns = len(y), n_columns
    if time_budget is not None:
        most_rows = max(_FEWEST_ROWS, int(_VALUES_PER_SECOND * time_budget / n_columns))
        most_columns = max(_FEWEST_COLUMNS, int(_COLUMNS_PER_SECOND * time_budget))
    if len(y) > most_rows:
        rows = np.sort(rng.choice(len(y), most_rows, replace=False))
        folds = folds_among(rows, folds, len(y))
        # Small folds may be empty now.
        folds = [fold for fold in folds if all(map(len, fold))] or None
        X = take(X, rows)
        y = y[rows]
        groups, times = (None if v is None else v[rows] for v in (groups, times))
        texts = None if texts is None else take(texts, rows)
    structure = {"cv": folds, "groups": groups, "times": times}
    structure["is_classification"] = problem.is_classification
    if n_columns > most_columns:
        columns = np.sort(rng.choice(n_columns, most_columns, replace=False))
        flat = X if hasattr(X, "iloc") else X.reshape(len(X), -1)
        some = flat.iloc[:, columns] if hasattr(X, "iloc") else flat[:, columns]
        findings = find_leaks(some, y, **structure)
        if not any(f.code in _OF_WHOLE_ROWS and f.outcome == "issue" for f in findings):
            return findings
    findings = find_leaks(X, y, **structure)
    if texts is None or texts.empty or not _has_copies(findings):
        return findings
    row_hashes = pd.DataFrame({
        name: hash_pandas_object(part, index=False)
        for name, part in {"row": X, "texts": texts}.items()
    })
    if _has_copies(find_leaks(row_hashes, y, **structure)):
        return findings
    return tuple(_as_twins(f, texts) if f.code == "SKT201" else f for f in findings)


def _has_copies(findings: Iterable[Finding]) -> bool:
    return any(f.code == "SKT201" and f.outcome == "issue" for f in findings)


def _as_twins(copies: Finding, texts: pd.DataFrame) -> Finding:
    """Make the finding a tip, because equal samples differ in dropped text columns."""
    return replace(
        copies,
        outcome="tip",
        severity="low",
        message=(
            f"{copies.message} They differ in text columns that are left out "
            f"({listed([*texts], 3)}), so they may be different cases."
        ),
        remedy="If equal rows are one case that was recorded twice, keep one of them.",
    )


def serious_leaks(findings: Iterable[Finding]) -> list[Finding]:
    """Return the issues of the leak guard that make scores optimistic."""
    leaks = (f for f in findings if f.is_of_leaks and f.outcome == "issue")
    return [f for f in leaks if f.severity != "low"]


def warn_of_leaks(findings: Iterable[Finding]) -> None:
    """Warn of leaks that make scores optimistic."""
    serious = serious_leaks(findings)
    if serious:
        listed = " ".join(f"{f.message} {f.remedy}".strip() for f in serious)
        warn_user(
            f"The leak guard found reasons for optimistic scores. {listed}", LeakWarning
        )
