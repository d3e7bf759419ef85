# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Members of an ensemble that predict in one call, or alone.

Notation: k members of a group; n rows, C columns of the result.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor

from sk_tune.engine import NetworkStack
from sk_tune.ensemble._inputs import Base, Inputs, Way

__all__ = ["Lone", "Member", "Stacked"]

Array = npt.NDArray[Any]


class Member(NamedTuple):
    """One estimator of an ensemble.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    weight : float
        Of what it predicts.
    features : ndarray of shape (n_own_features,) or None, default=None
        Columns of X that it sees; all if None.
    """

    estimator: Any
    weight: float
    features: Array | None = None


class Lone:
    """A member that predicts alone.

    `classes` are the labels of the ensemble's columns: empty for several labels a sample,
    None for regressors.
    """

    def __init__(self, position: int, member: Member, classes: Array | None) -> None:
        self.positions = [position]
        self._member = member
        self._classes = classes

    def weighted_sum(self, inputs: Inputs, weights: Array) -> Array:
        """Return what the member predicts, (n, C), float64, times its weight, (1,)."""
        return np.asarray(weights[0] * self.each(inputs)[0])

    def each(self, inputs: Inputs) -> list[Array]:
        """Return a list of one: what the member predicts, (n, C), float64."""
        estimator, features = self._member.estimator, self._member.features
        if type(estimator) is Pipeline and len(estimator.steps) > 1:
            own = inputs.transformed(estimator[:-1], features)
            estimator = estimator.steps[-1][1]
        else:
            own = inputs.columns(features)
        if self._classes is None:
            predicted = np.asarray(estimator.predict(own), dtype=np.float64)
            return [predicted.reshape(len(predicted), -1)]
        if len(self._classes) == 0:
            return [_label_probabilities(estimator, own)]
        if hasattr(estimator, "predict_proba"):
            values = np.asarray(estimator.predict_proba(own), dtype=np.float64)
        else:
            values = np.asarray(estimator.predict(own))[:, None] == estimator.classes_
        found = np.zeros((len(values), len(self._classes)))
        found[:, np.searchsorted(self._classes, estimator.classes_)] = values
        return [found]


def _label_probabilities(estimator: Any, X: Any) -> Array:
    """Return the probability of each label of a multilabel problem."""
    if not hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict(X), dtype=np.float64)
    values = estimator.predict_proba(X)
    if isinstance(values, list):
        # A label that is the same in all rows has one column.
        columns = [
            own @ np.asarray(labels, dtype=np.float64)
            for own, labels in zip(values, estimator.classes_, strict=True)
        ]
        return np.column_stack(columns)
    return np.asarray(values, dtype=np.float64)


class Stacked:
    """Members whose networks have one architecture.

    `base` is what their scalers may have in common, `classes` is as in `Lone`, and `dtype`
    the one to compute in, that of the networks if None.
    """

    def __init__(
        self,
        positions: Sequence[int],
        ways: Sequence[Way],
        base: Base | None,
        classes: Array | None,
        dtype: torch.dtype | None,
    ) -> None:
        self.positions = positions
        self._networks: list[Any] = [way.network for way in ways]
        self._dtype = dtype
        self._affine = None if base is None else base.relative(ways)
        self._base = None if self._affine is None else base
        self._ways = list({way.key: way for way in ways}.values())
        keys = [way.key for way in self._ways]
        self._way_of = [keys.index(way.key) for way in ways]
        self._scaled: NetworkStack | None = None
        self._plain: NetworkStack | None = None
        self._classes = classes
        self._columns: Tensor | None = None
        if classes is None:
            self._scale, self._mean = (
                torch.from_numpy(np.stack([getattr(n, name) for n in self._networks]))
                for name in ("target_scale_", "target_mean_")
            )
        elif any(len(n.classes_) < len(classes) for n in self._networks):
            columns = [np.searchsorted(classes, n.classes_) for n in self._networks]
            self._columns = torch.from_numpy(np.stack(columns)).unsqueeze(1)

    def prepare(self, inputs: Inputs) -> bool:
        """Stack the networks, and return whether torch can run them as one.

        This is tried on some of the samples.
        """
        scaled = None if self._base is None else self._base(inputs)
        # Rows that a network refuses are its error, and nothing against stacking.
        rows = self._ways[0](inputs) if scaled is None else scaled
        try:
            if scaled is None:
                self._plain_stack(rows)
            else:
                self._scaled_stack(rows)
        except ValueError:
            return False
        return True

    def weighted_sum(self, inputs: Inputs, weights: Array) -> Array:
        """Return the sum of what k members predict, (n, C), float64, with weights (k,)."""
        factors = torch.from_numpy(weights)

        def summed(outputs: Tensor) -> Tensor:
            own = self._predictions(outputs).mT  # (k, C, rows), as it lies in memory
            return (factors @ own.reshape(len(factors), -1)).view(own.shape[1:]).T

        return torch.cat(self._map(inputs, summed)).numpy()

    def each(self, inputs: Inputs) -> Array:
        """Return what the members predict, (k, n, C), float64, without weights."""
        return torch.cat(self._map(inputs, self._predictions), dim=1).numpy()

    def _map(self, inputs: Inputs, function: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """Return what a function makes of the outputs, some rows at a time."""
        scaled = None if self._base is None else self._base(inputs)
        if scaled is not None:
            return self._scaled_stack(scaled).map(scaled, function, shared=True)
        made = [way(inputs) for way in self._ways]
        stack = self._plain_stack(made[0])
        if len(made) == 1:
            return stack.map(made[0], function, shared=True)
        own = torch.stack([made[i] for i in self._way_of])
        return stack.map(own, function, shared=False)

    def _scaled_stack(self, rows: Tensor) -> NetworkStack:
        """Return the networks as they take what the base has scaled."""
        if self._scaled is None:
            example = rows[:2].view(-1, *self._networks[0].input_shape_)
            self._scaled = self._stack(example, self._affine)
        return self._scaled

    def _plain_stack(self, rows: Tensor) -> NetworkStack:
        """Return the networks as they are."""
        if self._plain is None:
            self._plain = self._stack(rows, None)
        return self._plain

    def _stack(self, rows: Tensor, affine: Any) -> NetworkStack:
        modules = [network.net_.module_ for network in self._networks]
        return NetworkStack(modules, rows, self._dtype, affine=affine)

    def _predictions(self, outputs: Tensor) -> Tensor:
        """Return what outputs mean, (k, rows, C), in float64."""
        if self._classes is None:
            scaled = outputs.cpu().double()
            return scaled * self._scale.unsqueeze(1) + self._mean.unsqueeze(1)
        if len(self._classes) == 0:
            return outputs.sigmoid().cpu().double()
        # With the rows last in memory, as the stack leaves them, it takes a twentieth.
        own = outputs.mT.contiguous().softmax(dim=1).cpu().double().mT
        if self._columns is None:
            return own
        # A class that a member has never seen has no probability.
        aligned = own.new_zeros(*own.shape[:2], len(self._classes))
        return aligned.scatter_(2, self._columns.expand(own.shape), own)
