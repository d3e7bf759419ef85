# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What rungs grant more of: samples, any parameter, or a network's epochs."""

from collections.abc import Iterable
from typing import Any

from sk_tune._compat import SubsampledSplits

__all__ = [
    "is_epochs",
    "refuse_searched",
    "smallest_samples",
    "subsampled",
]

# Of each class, in the training and held-out rows of each fold, as scikit-learn has it.
_ROWS_OF_A_CLASS = 2


def is_epochs(resource: str) -> bool:
    """Return whether a resource is called as a network's number of epochs is.

    True for "max_epochs" and "net__max_epochs".
    """
    return resource.split("__")[-1] == "max_epochs"


def refuse_searched(resource: str, searched: Iterable[str]) -> None:
    """Raise ValueError if a resource is one of the parameters searched."""
    if resource != "n_samples" and resource in searched:
        raise ValueError(
            f"Cannot use parameter {resource} as the resource since it is part of "
            "the searched parameters."
        )


def smallest_samples(n_folds: int, n_classes: int) -> int:
    """Return the least samples of a rung: enough that folds have some of each class.

    `n_classes` is 1 for what is no classifier.
    """
    return _ROWS_OF_A_CLASS * n_folds * n_classes


def subsampled(search: Any, folds: Any, n_resources: int) -> Any:
    """Return the splitter of a rung.

    One of parts of the folds if samples are the resource.
    """
    if search.resource != "n_samples":
        return folds
    return SubsampledSplits(
        base_cv=folds,
        fraction=n_resources / search._n_samples_orig,
        subsample_test=True,
        random_state=search.random_state,
    )
