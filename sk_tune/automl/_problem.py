# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What is to be learnt: rows, targets, folds and a score."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

__all__ = ["Kind", "Problem", "sampling_order"]

Array = npt.NDArray[Any]
Kind = Literal["table", "image", "sequence"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """Samples to learn from and how models are judged on them.

    `folds` are positions of training and held-out samples, the same for all models;
    `sample_weight` is for training; `seed` is the source of all that is drawn.
    """

    X: Any
    y: Array
    kind: Kind
    is_classification: bool
    folds: Sequence[tuple[Array, Array]]
    scoring: Any
    sample_weight: Array | None
    seed: int

    @property
    def n_train(self) -> int:
        """Rows that a model of a fold is trained on."""
        return max(len(train) for train, _ in self.folds)

    @property
    def n_held(self) -> int:
        """Rows that a model of a fold is judged on."""
        return max(len(held) for _, held in self.folds)

    @property
    def n_classes(self) -> int:
        """Different labels; 0 of a regression."""
        return len(np.unique(self.y)) if self.is_classification else 0

    @property
    def n_values(self) -> int:
        """Values of X that a model of a fold is trained on."""
        return int(self.n_train * np.prod(self.X.shape[1:]))

    def sampled(self, n_rows: int) -> Self:
        """Return the problem with at most `n_rows` samples to train on in each fold.

        Held-out samples are the same; training samples are among those of any larger
        sample.
        """
        if n_rows >= self.n_train:
            return self
        part = n_rows / self.n_train
        folds = [
            (np.sort(self._in_order(train)[: max(1, round(part * len(train)))]), held)
            for train, held in self.folds
        ]
        return replace(self, folds=folds)

    def miniature(self, n_rows: int) -> Self:
        """Return the problem with at most `n_rows` samples to train on in each fold.

        As large a share of the held-out samples is kept, and some at least.
        """
        if n_rows >= self.n_train:
            return self
        part = n_rows / self.n_train
        least = 2 * self.n_classes + 2
        return replace(
            self,
            folds=[
                (train, self._in_order(held)[: max(least, round(part * len(held)))])
                for train, held in self.sampled(n_rows).folds
            ],
        )

    def _in_order(self, rows: Array) -> Array:
        return rows[sampling_order(self.y[rows], self.is_classification, self.seed)]

    def fit_params(self, estimator: Any) -> dict[str, Any]:
        """Return what ``fit`` of a search over a pipeline is given besides X and y."""
        if self.sample_weight is None:
            return {}
        return {f"{estimator.steps[-1][0]}__sample_weight": self.sample_weight}


def sampling_order(y: Array, is_classification: bool, seed: int) -> Array:  # noqa: FBT001
    """Return all positions in an order in which the first ones stand for all.

    Of classes two samples of each come first, and after these each class has its share of
    however many.
    """
    order = np.random.default_rng(seed).permutation(len(y))
    if not is_classification:
        return order
    _, codes, counts = np.unique(y[order], return_inverse=True, return_counts=True)
    place = np.empty(len(y), dtype=np.intp)
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    place[np.argsort(codes, kind="stable")] = np.arange(len(y)) - firsts
    quantile = (place + 0.5) / counts[codes]
    return order[np.argsort(np.where(place < 2, place - 2, quantile), kind="stable")]
