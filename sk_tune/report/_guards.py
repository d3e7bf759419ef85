# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a search rules out of what makes scores too good, and what it cannot see."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from sk_tune.report._folds import Rows, held_out_rows
from sk_tune.report._records import Check

__all__ = ["leak_checks"]


def leak_checks(
    search: Any, *, n_rows: int | None, has_curves: bool, has_corrected: bool
) -> list[Check]:
    """Return what is known of leaks in a search.

    Parameters
    ----------
    search : estimator
        A fitted search.
    n_rows : int or None
        Rows of the data, if known.
    has_curves : bool
        Whether there are curves by epochs.
    has_corrected : bool
        Whether the best score could be corrected for the choice.

    Returns
    -------
    list of Check
        Each with its outcome and a sentence.
    """
    held = held_out_rows(search)
    checks = [
        _same_folds(search, held),
        _held_out_once(held, n_rows),
        _transformers(search),
    ]
    if has_curves:
        checks += [_monitor(), _epoch(search)]
    checks.append(_best_of_many(has_corrected=has_corrected))
    checks.append(
        Check(
            name="Copies of rows, groups and time",
            outcome="not checked",
            text=(
                "Rows that are copies of each other, belong together or follow in time "
                "must be kept in one fold by the splitter; the search does not look."
            ),
        )
    )
    return checks


def _same_folds(search: Any, held: Sequence[Sequence[Rows | None]]) -> Check:
    name = "All candidates on the same folds"
    if not held:
        return Check(
            name=name,
            outcome="not checked",
            text="This search does not tell which rows it scored.",
        )
    if getattr(search, "resource", None) == "n_samples":
        return Check(
            name=name,
            outcome="by design",
            text=(
                "The folds are drawn once. Each rung takes a part of each fold, the same "
                "part for all of its candidates."
            ),
        )
    n_others = 0
    for own in zip(*held, strict=True):
        rows = [fold for fold in own if fold is not None]
        n_others += sum(not np.array_equal(fold, rows[0]) for fold in rows[1:])
    n_compared = sum(fold is not None for own in held for fold in own)
    if n_others:
        return Check(
            name=name,
            outcome="issue",
            text=f"{n_others} of {n_compared} fits were scored on rows of their own.",
        )
    return Check(
        name=name,
        outcome="passed",
        text=f"The held-out rows of all {n_compared} fits are the same in each fold.",
    )


def _held_out_once(held: Sequence[Sequence[Rows | None]], n_rows: int | None) -> Check:
    name = "Rows held out once"
    complete = [own for own in held if own and all(fold is not None for fold in own)]
    if not complete or n_rows is None:
        return Check(
            name=name,
            outcome="not checked",
            text="It is not known which rows were held out.",
        )
    rows = [fold for fold in complete[-1] if fold is not None]
    counts = np.bincount(np.concatenate(rows), minlength=n_rows)
    never, often = int((counts == 0).sum()), int((counts > 1).sum())
    if not never and not often:
        text = f"Each of {n_rows} rows is in the held-out part of exactly one fold."
        return Check(name=name, outcome="passed", text=text)
    return Check(
        name=name,
        outcome="by design",
        text=(
            f"Of {n_rows} rows, {never} were never held out and {often} in several folds, "
            "as the splitter has it."
        ),
    )


def _transformers(search: Any) -> Check:
    name = "Preparation inside the folds"
    estimator = search.estimator
    if isinstance(estimator, Pipeline):
        steps = [f"{step}" for step, part in estimator.steps[:-1] if part is not None]
        listed = ", ".join(steps) or "no step before the last"
        return Check(
            name=name,
            outcome="by design",
            text=(
                "The steps of the pipeline learn from the training rows of each fold only: "
                f"{listed}."
            ),
        )
    return Check(
        name=name,
        outcome="not checked",
        text=(
            "The estimator is no pipeline. What was fitted to the data before the search, "
            "such as a scaler, has seen the held-out rows."
        ),
    )


def _monitor() -> Check:
    return Check(
        name="Held-out curves stop nothing",
        outcome="by design",
        text=(
            "Networks are scored on the held-out rows after each epoch, but in no fold do "
            "these scores stop or choose anything. Early stopping, where it is on, splits "
            "the training rows once more."
        ),
    )


def _epoch(search: Any) -> Check:
    name = "Choice of the epoch"
    if getattr(search, "epochs", "last") == "best":
        return Check(
            name=name,
            outcome="by design",
            text=(
                "Each candidate has the best epoch of its mean curve over the folds. That "
                "is one more choice by the rows that score it, which the corrected score "
                "does not correct for."
            ),
        )
    return Check(
        name=name,
        outcome="passed",
        text="Each network is scored after its last epoch, which no held-out row chose.",
    )


def _best_of_many(*, has_corrected: bool) -> Check:
    name = "Choice of the best candidate"
    if has_corrected:
        return Check(
            name=name,
            outcome="passed",
            text=(
                "The best of many scores is too good. The corrected score resamples rows "
                "and scores what is best on some of them on the others."
            ),
        )
    return Check(
        name=name,
        outcome="issue",
        text=(
            "The best of many scores is too good, and the correction could not be made. "
            "Score the best estimator on rows that the search did not see."
        ),
    )
