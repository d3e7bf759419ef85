# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Samples that are set aside, the folds of the others, and leaks between them."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
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

from sk_tune._metric import Metric
from sk_tune._splits import folds_among
from sk_tune.automl._problem import Problem
from sk_tune.diagnosis import Finding, find_leaks
from sk_tune.exceptions import TableError, warn_user
from sk_tune.report import data_fingerprint

__all__ = [
    "Split",
    "are_same",
    "as_groups",
    "check_folds",
    "check_scores",
    "guarded",
    "held_out_rows",
    "make_folds",
    "serious_leaks",
    "split_rows",
    "warn_of_leaks",
    "warn_of_rare_classes",
]

Array = npt.NDArray[Any]

_N_FOLDS = 5
# Samples for each second of the budget from which on a model is trained once instead of
# once for each fold: five trainings of one are worth less than five others then.
_ROWS_PER_SECOND = 400
# The same for values, where a sample has many: of images and of wide tables.
_VALUES_PER_SECOND = 20_000
# Samples without which not even two can be learnt from and two be held out.
_LEAST_ROWS = 4
# Samples from which on there is one split without a budget.
_MOST_ROWS_IN_FOLDS = 50_000
_HELD_OUT_SHARE = 0.2
_MOST_HELD_OUT = 20_000
# Samples from which on some can be spared for a last check, and how many these are.
_ROWS_TO_SPARE = 5_000
_SPARED_SHARE, _MOST_SPARED = 0.1, 5_000
# Classes that a message names.
_N_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """The samples that are set aside, and the folds of the others.

    `held` are positions among all samples, `folds` among the others; `asked` are the
    parameters that they follow from, besides the time.
    """

    held: Array
    folds: Sequence[tuple[Array, Array]]
    asked: tuple[Any, ...]

    def equals(self, other: "Split") -> bool:
        """Return whether another split of the data has the same samples in each part."""
        if len(self.folds) != len(other.folds):
            return False
        parts = [(self.held, other.held)]
        for fold, others in zip(self.folds, other.folds, strict=True):
            parts += zip(fold, others, strict=True)
        return all(np.array_equal(one, two) for one, two in parts)


def check_scores(y: Array, folds: Sequence[tuple[Array, Array]], metric: Metric) -> None:
    """Raise TableError if the folds have too few classes for a metric.

    No model at all could get a score, which else shows when the time is spent.
    """
    classes, codes = np.unique(y, return_inverse=True)
    for number, (train, held) in enumerate(folds, start=1):
        present = np.unique(y[held])
        if len(present) == len(classes):
            continue
        # A guess that is the same for all samples, for which some metrics are undefined.
        guess = np.tile(
            np.bincount(codes[train], minlength=len(classes)) / len(train), (len(held), 1)
        )
        truth = np.eye(len(classes))[codes[held]]
        reason = _undefined(metric, y[held], guess, classes)
        if not reason or not _undefined(metric, y[held], truth, classes):
            continue
        lacking = np.setdiff1d(classes, present)[:_N_NAMED].tolist()
        raise TableError(
            f"The scoring must be defined in each fold. Fold {number} lacks {lacking}, and "
            f"scoring it gives: {reason}. Choose another scoring, fewer folds, or groups "
            "that have all classes."
        )


def _undefined(metric: Metric, y: Array, probabilities: Array, classes: Array) -> str:
    """Return why a metric gives no number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            score = metric(y, metric.response(probabilities, classes))
        except ValueError as error:
            return str(error).partition("\n")[0]
    return "" if np.isfinite(score) else "no number"


def as_groups(groups: Any) -> Array:
    """Return groups that can be told apart; TableError if one is missing."""
    array = np.asarray(groups)
    missing = np.asarray(pd.isna(array))
    if missing.any():
        raise TableError(
            f"Groups must be given for each row. Got {int(missing.sum())} missing, the "
            f"first in row {int(missing.argmax()) + 1}."
        )
    return array


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
    before: Split | None = None,
) -> Split:
    """Return the samples to set aside, and the folds of the others.

    They are those of ``held_out_rows`` and ``make_folds``; `structure` are groups and
    times. `before` is the split of an earlier fit that is resumed: it is taken if the same
    is asked for, else ValueError. Raises TableError if there are too few samples.
    """
    told = (None if values is None else data_fingerprint(values) for values in structure)
    asked = (cv, test_size, *told)
    if before is not None and are_same(asked, before.asked):
        # The time decides about "auto", too, and trials of other folds cannot be averaged.
        return before
    groups, times = structure
    common: dict[str, Any] = {"is_classification": is_classification, "seed": seed}
    if test_size == "auto" and _are_given(cv):
        # It is not known what such folds keep apart.
        test_size = 0.0
    held = held_out_rows(y, test_size=test_size, groups=groups, times=times, **common)
    kept = np.setdiff1d(np.arange(len(y)), held)
    if _are_given(cv):
        # They are of all samples.
        given = _given_folds(y, cv, is_classification, groups)
        folds = [fold for fold in folds_among(kept, given, len(y)) if len(fold[1])]
    else:
        groups, times = (None if values is None else values[kept] for values in structure)
        folds = make_folds(
            y[kept],
            cv=cv,
            groups=groups,
            times=times,
            time_budget=time_budget,
            row_size=row_size,
            **common,
        )
    check_folds(y[kept], folds, is_classification=is_classification, is_r2=is_r2)
    split = Split(held=held, folds=folds, asked=asked)
    if before is not None and not split.equals(before):
        raise ValueError(
            "To go on with an earlier fit an estimator must be fitted on the folds of the "
            f"fit before, which had {len(before.folds)}. Got {len(folds)} by {cv=} and "
            f"{test_size=}. Leave 'cv', 'test_size', groups and times as they were, or "
            "use warm_start=False, and another 'store' if there is one."
        )
    return split


def are_same(asked: tuple[Any, ...], before: tuple[Any, ...]) -> bool:
    """Return whether parameters are those of before; objects are the same only if one."""
    return all(
        value is other or (isinstance(value, str | float | int) and value == other)
        for value, other in zip(asked, before, strict=True)
    )


def warn_of_rare_classes(y: Array) -> None:
    """Warn of classes with one sample, if there are others to learn."""
    labels, counts = np.unique(y, return_counts=True)
    rare = labels[counts < 2]
    if len(labels) - len(rare) >= 2 and len(rare):
        listed = ", ".join(map(str, rare[:_N_NAMED]))
        warn_user(
            "Each class must have at least 2 rows to be learnt from some and judged by "
            f"others. Got 1 of {len(rare)} classes, such as {listed}: no score is of "
            "such a row's class learnt. Give more of these, or remove or merge them."
        )


def held_out_rows(
    y: Array,
    *,
    test_size: float | str,
    is_classification: bool,
    groups: Array | None,
    times: Array | None = None,
    seed: int,
) -> Array:
    """Return ascending positions, maybe none, to set aside for a last check.

    `test_size` is a share; "auto" spares a tenth of 5,000 samples or more, but no more than
    5,000. Groups and times are kept whole, and the share as nearly; with times the last
    samples are set aside, and classes are in both parts otherwise.
    """
    n = len(y)
    if test_size == "auto":
        n_spared = min(int(_SPARED_SHARE * n), _MOST_SPARED) if n >= _ROWS_TO_SPARE else 0
    else:
        n_spared = int(np.ceil(float(test_size) * n))
    if not n_spared:
        return np.empty(0, dtype=np.intp)
    if n - n_spared < _LEAST_ROWS:
        raise TableError(
            f"The 'test_size' parameter must leave at least {_LEAST_ROWS} rows to learn "
            f"from. Got test_size={test_size}, which sets {n_spared} of {n} aside. Give "
            "more rows or a smaller test_size."
        )
    _check_structure(groups, times, 3)
    if times is not None:
        order, starts = _in_time(times)
        # The first place leaves one time for all folds.
        nearest = np.abs(starts[1:] - (n - n_spared)).argmin()
        return np.sort(order[starts[1:][nearest] :])
    _, held = _one_split(y, n_spared, is_classification, groups, seed)
    return np.sort(held)


def make_folds(
    y: Array,
    *,
    cv: Any,
    is_classification: bool,
    groups: Array | None,
    times: Array | None = None,
    time_budget: float | None,
    seed: int,
    row_size: int = 1,
) -> list[tuple[Array, Array]]:
    """Return the folds, training and held-out positions, that all models are judged on.

    `cv` is as in scikit-learn; "auto" is 5 folds, or one held-out part if samples, of
    `row_size` values, are many for the budget. These, and a number of folds, are by group
    if there are groups; with times each fold is later than what is trained on. Raises
    TableError if there are too few samples for them.
    """
    if _are_given(cv) or (cv != "auto" and groups is None and times is None):
        return _given_folds(y, cv, is_classification, groups)
    n_folds = None if cv == "auto" else _N_FOLDS if cv is None else int(cv)
    _check_structure(groups, times, n_folds or 2)
    if times is not None:
        return _folds_by_time(times, n_folds)
    most = _MOST_ROWS_IN_FOLDS
    if time_budget is not None:
        most = int(min(_ROWS_PER_SECOND, _VALUES_PER_SECOND / row_size) * time_budget)
    if n_folds is None and len(y) > most:
        n_held = min(int(_HELD_OUT_SHARE * len(y)), _MOST_HELD_OUT)
        return [_one_split(y, n_held, is_classification, groups, seed)]
    splitter = _splitter(y, is_classification, groups, seed, n_folds or _N_FOLDS)
    with warnings.catch_warnings():
        # The class may be too rare for each fold to have some.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(splitter.split(np.zeros(len(y)), y, groups))


def check_folds(
    y: Array,
    folds: Sequence[tuple[Array, Array]],
    *,
    is_classification: bool,
    is_r2: bool,
) -> None:
    """Raise TableError for folds in which nothing can be learnt or judged.

    A classifier needs two classes to train on; `is_r2` says that folds are judged by R^2,
    which one sample does not have.
    """
    for number, (train, held) in enumerate(folds, start=1):
        where = f"fold {number} of {len(folds)}"
        labels = np.unique(y[train])
        if is_classification and len(labels) < 2:
            classes, counts = np.unique(y, return_counts=True)
            rarest = np.argsort(counts, kind="stable")[:_N_NAMED]
            rare = ", ".join(f"{counts[k]} of class {classes[k]!s}" for k in rarest)
            raise TableError(
                "Models must be trained on two classes or more in each fold, so two must "
                f"have at least 2 rows each. Got {rare}, by which {where} is trained on "
                f"{len(labels)} class. Give more rows of the rare classes, or fewer "
                "folds by cv."
            )
        if len(train) < 2 or (is_r2 and len(held) < 2):
            raise TableError(
                "Each fold must have 2 rows or more to learn from, and for R^2 2 rows or "
                f"more to be judged by. Got {len(train)} and {len(held)} in {where}, of "
                f"{len(y)} rows. Give more rows or fewer folds by cv, or another scoring."
            )


def _are_given(cv: Any) -> bool:
    """Return whether folds are given by the user, and no number of them."""
    return not isinstance(cv, str | Integral | None)


def _given_folds(
    y: Array,
    cv: Any,
    is_classification: bool,  # noqa: FBT001
    groups: Array | None,
) -> list[tuple[Array, Array]]:
    splitter, rows = check_cv(cv, y, classifier=is_classification), np.arange(len(y))
    try:
        # Lists of positions and masks are as good as arrays.
        folds = [
            (rows[np.asarray(train)], rows[np.asarray(held)])
            for train, held in splitter.split(np.zeros(len(y)), y, groups)
        ]
    except (ValueError, IndexError) as error:
        raise TableError(_unsuited(cv, y, str(error).rstrip("."))) from error
    if not folds:
        raise TableError(_unsuited(cv, y, "there is no fold"))
    return folds


def _unsuited(cv: Any, y: Array, why: str) -> str:
    return (
        f"The 'cv' parameter must suit the rows. Got cv={cv!r} for {len(y)} rows: {why}. "
        "Give more rows or fewer folds."
    )


def _check_structure(groups: Array | None, times: Array | None, least: int) -> None:
    if groups is not None and times is not None:
        raise TableError(
            "'times' must be given without 'groups': parts in the order of time cannot be "
            "chosen by anything else. Give one of them, or folds of your own as 'cv' and "
            "no 'test_size'."
        )
    for name, values in (("groups", groups), ("times", times)):
        if values is not None and len(np.unique(values)) < least:
            raise TableError(
                f"Rows must be of at least {least} {name}, as many as there are parts to "
                f"learn from, to judge by and to set aside. Got {len(np.unique(values))}. "
                f"Give more rows, or no {name}."
            )


def _in_time(times: Array) -> tuple[Array, Array]:
    """Return rows in the order of time, and the places where a later time begins."""
    order = np.argsort(times, kind="stable")
    in_order = times[order]
    return order, np.flatnonzero(in_order[1:] != in_order[:-1]) + 1


def _folds_by_time(times: Array, n_folds: int | None) -> list[tuple[Array, Array]]:
    """Return the folds of ``TimeSeriesSplit``, as nearly as rows of one time allow."""
    order, starts = _in_time(times)
    n = n_folds or min(_N_FOLDS, len(order) - 1)
    cuts = len(order) - len(order) // (n + 1) * np.arange(n, 0, -1)
    cuts = np.unique([starts[np.abs(starts - cut).argmin()] for cut in cuts])
    if n_folds is not None and len(cuts) < n_folds:
        raise TableError(
            "The 'cv' parameter must be a number of folds that the times allow. Got "
            f"cv={n_folds} for {len(starts) + 1} different times, of which {len(cuts)} "
            "folds can be made. Give fewer folds."
        )
    ends = [*cuts[1:], len(order)]
    return [(order[:cut], order[cut:end]) for cut, end in zip(cuts, ends, strict=True)]


def _splitter(
    y: Array,
    is_classification: bool,  # noqa: FBT001
    groups: Array | None,
    seed: int,
    n_folds: int,
) -> Any:
    if groups is not None:
        n_folds = min(n_folds, len(np.unique(groups)))
        if is_classification:
            return StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        return GroupKFold(n_folds, shuffle=True, random_state=seed)
    # Numbers are judged by how they differ, which takes two of them.
    n_folds = min(n_folds, len(y) if is_classification else max(2, len(y) // 2))
    if is_classification:
        most_frequent = int(np.unique(y, return_counts=True)[1].max())
        if most_frequent >= 2:
            n_folds = min(n_folds, most_frequent)
            return StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    return KFold(n_folds, shuffle=True, random_state=seed)


def _one_split(
    y: Array,
    n_held: int,
    is_classification: bool,  # noqa: FBT001
    groups: Array | None,
    seed: int,
) -> tuple[Array, Array]:
    if groups is not None:
        kind: Any = GroupShuffleSplit(1, test_size=n_held / len(y), random_state=seed)
    elif is_classification and _can_stratify(y, n_held):
        kind = StratifiedShuffleSplit(1, test_size=n_held, random_state=seed)
    else:
        kind = ShuffleSplit(1, test_size=n_held, random_state=seed)
    train, held = next(kind.split(np.zeros(len(y)), y, groups))
    return train, held


def _can_stratify(y: Array, n_held: int) -> bool:
    counts = np.unique(y, return_counts=True)[1]
    return bool(counts.min() >= 2 and min(n_held, len(y) - n_held) >= len(counts))


_FEWEST_ROWS = 500
# Columns that are looked at for each second, because some checks take a time for each.
_COLUMNS_PER_SECOND, _FEWEST_COLUMNS = 20, 100
# Findings, of duplicates, that need all columns.
_OF_WHOLE_ROWS = ("SKT201", "SKT202")


def guarded(
    problem: Problem, groups: Any, time_budget: float | None, times: Any = None
) -> tuple[Finding, ...]:
    """Return a finding of each check of the leak guard.

    Of data that are large for the budget only some samples and columns are looked at.
    """
    X, y = _readable(problem.X), problem.y
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
        # Small folds may have nothing left.
        folds = [fold for fold in folds if all(map(len, fold))] or None
        X = X.iloc[rows].reset_index(drop=True) if hasattr(X, "iloc") else X[rows]
        y = y[rows]
        groups, times = (None if v is None else v[rows] for v in (groups, times))
    structure = {"cv": folds, "groups": groups, "times": times}
    if n_columns > most_columns:
        columns = np.sort(rng.choice(n_columns, most_columns, replace=False))
        flat = X if hasattr(X, "iloc") else X.reshape(len(X), -1)
        some = flat.iloc[:, columns] if hasattr(X, "iloc") else flat[:, columns]
        findings = find_leaks(some, y, **structure)
        if not any(f.code in _OF_WHOLE_ROWS and f.outcome == "issue" for f in findings):
            return findings
    return find_leaks(X, y, **structure)


def serious_leaks(findings: Iterable[Finding]) -> list[Finding]:
    """Return the leak guard's issues of more than low severity.

    They make scores too good.
    """
    return [
        f
        for f in findings
        if f.is_of_leaks and f.outcome == "issue" and f.severity != "low"
    ]


def warn_of_leaks(findings: Iterable[Finding]) -> None:
    """Warn of leaks that make scores too good, if there are any."""
    serious = serious_leaks(findings)
    if serious:
        listed = " ".join(f"{f.message} {f.remedy}".strip() for f in serious)
        warn_user(f"The leak guard found what makes scores too good. {listed}")


def _readable(X: Any) -> Any:
    """Return a table without columns of what can be neither compared nor hashed."""
    if not isinstance(X, pd.DataFrame):
        return X
    unreadable = [
        name
        for name in X.columns
        if X[name].dtype == object and not X[name].map(pd.api.types.is_hashable).all()
    ]
    return X.drop(columns=unreadable)
