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
    """Return whether a resource is by its name a network's number of epochs.

    Parameters
    ----------
    resource : str
        Name of a parameter, of a step of a pipeline too.

    Returns
    -------
    bool
        True for "max_epochs" and "net__max_epochs".
    """
    return resource.split("__")[-1] == "max_epochs"


def refuse_searched(resource: str, searched: Iterable[str]) -> None:
    """Refuse a resource that is one of the parameters searched.

    Parameters
    ----------
    resource : str
        "n_samples", or the name of a parameter.
    searched : iterable of str
        Names of the parameters that vary.

    Raises
    ------
    ValueError
        If it is among them.
    """
    if resource != "n_samples" and resource in searched:
        raise ValueError(
            f"Cannot use parameter {resource} as the resource since it is part of "
            "the searched parameters."
        )


def smallest_samples(n_folds: int, n_classes: int) -> int:
    """Return how many samples a rung has at least.

    Parameters
    ----------
    n_folds : int
        Of the search.
    n_classes : int
        1 for what is no classifier.

    Returns
    -------
    int
        Enough that folds have rows of each class.
    """
    return _ROWS_OF_A_CLASS * n_folds * n_classes


def subsampled(search: Any, folds: Any, n_resources: int) -> Any:
    """Return the splitter of a rung.

    Parameters
    ----------
    search : estimator
        A halving or Hyperband search whose input was checked.
    folds : splitter
        Of the search.
    n_resources : int
        What the rung grants.

    Returns
    -------
    splitter
        `folds`, or one that gives parts of them if samples are the resource.
    """
    if search.resource != "n_samples":
        return folds
    return SubsampledSplits(
        base_cv=folds,
        fraction=n_resources / search._n_samples_orig,
        subsample_test=True,
        random_state=search.random_state,
    )
