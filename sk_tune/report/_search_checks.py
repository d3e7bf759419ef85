# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether a search rules out what makes scores too good, and on which folds it scored."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline

from sk_tune.diagnosis import Finding

__all__ = ["folds_of", "leak_checks"]

Rows = npt.NDArray[np.intp]
Fold = tuple[Rows, Rows]
# Outcome and message of a check.
Answer = tuple[Any, str]


def held_out_rows(search: Any) -> list[list[Rows | None]]:
    """Return the samples that each candidate was scored on, by candidate and fold.

    None where it has no predictions; empty for a search that remembers none, as
    scikit-learn's.
    """
    return [list(folds) for folds in getattr(search, "held_out_rows_", ())]


def folds_of(search: Any, X: Any, y: Any, n_rows: int) -> tuple[list[Fold] | None, bool]:
    """Return training and held-out samples of each fold, and whether these are certain.

    The folds are None if they cannot be known without `X`. They are not certain if the
    splitter draws anew each time and the search did not hold every sample out exactly once.
    """
    remembered = _remembered(held_out_rows(search))
    everything = np.arange(n_rows)
    if remembered and np.array_equal(np.sort(np.concatenate(remembered)), everything):
        return [(np.setdiff1d(everything, held), held) for held in remembered], True
    if X is None:
        return None, False
    cv = check_cv(search.cv, y, classifier=is_classifier(search.estimator))
    try:
        drawn, again = (
            [(np.asarray(train), np.asarray(test)) for train, test in cv.split(X, y)]
            for _ in range(2)
        )
    except (TypeError, ValueError):
        # Groups, for example, which a report is not given.
        return None, False
    known = remembered or [held for _, held in again]
    return drawn, all(
        np.array_equal(held, other) for (_, held), other in zip(drawn, known, strict=True)
    )


def _remembered(rows: Sequence[Sequence[Rows | None]]) -> list[Rows]:
    """Return the held-out samples of the last candidate that was scored on all folds.

    The last, because early rungs of a search may use a part of the samples only.
    """
    for folds in reversed(rows):
        known = [held for held in folds if held is not None]
        if folds and len(known) == len(folds):
            return known
    return []


def leak_checks(
    search: Any, *, n_rows: int | None, has_curves: bool, has_corrected: bool
) -> list[Finding]:
    """Return what is known of leaks in a fitted search with `n_rows` samples.

    `has_curves` says whether there are curves by epochs, `has_corrected` whether the best
    score could be corrected for the choice of the best.
    """
    return [
        Finding(code="", name=name, outcome=outcome, severity=None, message=message)
        for name, (outcome, message) in _answers(
            search, n_rows, has_curves=has_curves, has_corrected=has_corrected
        )
    ]


def _answers(
    search: Any, n_rows: int | None, *, has_curves: bool, has_corrected: bool
) -> Iterator[tuple[str, Answer]]:
    held = held_out_rows(search)
    yield "All candidates on the same folds", _same_folds(search, held)
    yield "Rows held out once", _held_out_once(held, n_rows)
    yield "Preparation inside the folds", _transformers(search)
    if has_curves:
        yield (
            "Held-out curves stop nothing",
            (
                "by design",
                "Networks are scored on the held-out rows after each epoch, but in no fold "
                "do these scores stop or choose anything. Early stopping, where it is on, "
                "splits the training rows once more.",
            ),
        )
        yield "Choice of the epoch", _epoch(search)
    yield "Choice of the best candidate", _best_of_many(has_corrected=has_corrected)
    yield (
        "Copies of rows, groups and time",
        (
            "not applicable",
            "Rows that are copies of each other, belong together or follow in time must be "
            "kept in one fold by the splitter; the search does not look.",
        ),
    )


def _same_folds(search: Any, held: Sequence[Sequence[Rows | None]]) -> Answer:
    if not held:
        return "not applicable", "This search does not tell which rows it scored."
    if getattr(search, "resource", None) == "n_samples":
        return (
            "by design",
            "The folds are drawn once. Each rung takes a part of each fold, the same part "
            "for all of its candidates.",
        )
    n_compared = n_others = 0
    for fold in zip(*held, strict=True):
        rows = [held_out for held_out in fold if held_out is not None]
        n_compared += len(rows)
        n_others += sum(not np.array_equal(held_out, rows[0]) for held_out in rows[1:])
    if n_others:
        return "issue", f"{n_others} of {n_compared} fits were scored on rows of their own."
    return (
        "passed",
        f"The held-out rows of all {n_compared} fits are the same in each fold.",
    )


def _held_out_once(held: Sequence[Sequence[Rows | None]], n_rows: int | None) -> Answer:
    rows = _remembered(held)
    if not rows or n_rows is None:
        return "not applicable", "It is not known which rows were held out."
    counts = np.bincount(np.concatenate(rows), minlength=n_rows)
    never, often = int((counts == 0).sum()), int((counts > 1).sum())
    if not never and not often:
        return (
            "passed",
            f"Each of {n_rows} rows is in the held-out part of exactly one fold.",
        )
    return (
        "by design",
        f"Of {n_rows} rows, {never} were never held out and {often} in several folds, as "
        "the splitter has it.",
    )


def _transformers(search: Any) -> Answer:
    if not isinstance(search.estimator, Pipeline):
        return (
            "not applicable",
            "The estimator is no pipeline. What was fitted to the data before the search, "
            "such as a scaler, has seen the held-out rows.",
        )
    steps = [step for step, part in search.estimator.steps[:-1] if part is not None]
    return (
        "by design",
        "The steps of the pipeline learn from the training rows of each fold only: "
        f"{', '.join(steps) or 'no step before the last'}.",
    )


def _epoch(search: Any) -> Answer:
    if getattr(search, "epochs", "last") == "best":
        return (
            "by design",
            "Each candidate has the best epoch of its mean curve over the folds. That is "
            "one more choice by the rows that score it, which the corrected score does not "
            "correct for.",
        )
    return (
        "passed",
        "Each network is scored after its last epoch, which no held-out row chose.",
    )


def _best_of_many(*, has_corrected: bool) -> Answer:
    if has_corrected:
        return (
            "passed",
            "The best of many scores is too good. The corrected score resamples rows and "
            "scores what is best on some of them on the others.",
        )
    return (
        "issue",
        "The best of many scores is too good, and the correction could not be made. Score "
        "the best estimator on rows that the search did not see.",
    )
