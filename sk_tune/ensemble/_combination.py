# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The weighted sum of what several estimators predict, their networks in one call.

Networks of one architecture are stacked, whatever is in front of them; what else there is
runs one by one.  The result is that of a loop over all of them.

Notation: m members, k of them in a stack; n rows, C columns of the result.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor

from sk_tune.engine import NetworkStack, architecture
from sk_tune.ensemble._member_inputs import Base, Inputs, Way, common_bases, ways_of
from sk_tune.estimators import NetworkEstimator, is_unchanged
from sk_tune.nets import MLP

__all__ = ["Combination", "Lone", "Member", "Stacked", "network_of"]

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


# Methods that turn outputs into predictions.
_PREDICTING = ("predict", "predict_proba", "_predictions", "_forward", "_check_X")


def network_of(estimator: Any) -> NetworkEstimator | None:
    """Return the fitted network that predicts for an estimator, if there is one.

    Parameters
    ----------
    estimator : estimator
        Any.

    Returns
    -------
    NetworkEstimator or None
        The estimator itself or the last step of a pipeline; None if it is no network of
        sk_tune's, or predicts in another way than these do.
    """
    last = estimator.steps[-1][1] if type(estimator) is Pipeline else estimator
    if not isinstance(last, NetworkEstimator) or not is_unchanged(last):
        return None
    own = [getattr(type(last), name, None) for name in _PREDICTING]
    if not all(f is None or f.__module__.startswith("sk_tune.") for f in own):
        return None
    return last if hasattr(last, "net_") else None


class Combination:
    """Weighted sum of the predictions of some members.

    Parameters
    ----------
    members : sequence of Member
        At least one.
    classes : ndarray of shape (C,) or None
        Labels in the order of the columns of the result, which is of probabilities; each
        member's ``classes_`` are among them.  Empty for several labels a row, which members
        then know all.  None adds up what members ``predict``.
    dtype : {"float64"} or None, default=None
        In which stacked networks compute; their own if None.
    """

    def __init__(
        self,
        members: Sequence[Member],
        classes: Array | None = None,
        *,
        dtype: str | None = None,
    ) -> None:
        self.members = tuple(members)
        self.classes = classes
        self.dtype = dtype
        self._forget()

    def _forget(self) -> None:
        self._groups: list[Stacked | Lone] | None = None
        self._trainings: list[_Training] = []
        # A stack computes in memory of its own, which threads must not share.
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        # Stacked weights are copies, which are made when they are needed.
        own = ("_groups", "_trainings", "_lock")
        return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __call__(self, X: Any) -> Array:
        """Return the weighted sum, (n, C), float64, with one column for a single target."""
        total: Any = 0.0
        inputs = Inputs(X)
        with self._lock:
            for group in self._grouped(inputs):
                weights = np.array([self.members[i].weight for i in group.positions])
                total = total + group.weighted_sum(inputs, weights)
        return np.asarray(total)

    def each(self, X: Any) -> Array:
        """Return what each member predicts.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (m, n, C) and type float64
            Without weights.
        """
        found: list[Any] = [None] * len(self.members)
        inputs = Inputs(X)
        with self._lock:
            for group in self._grouped(inputs):
                for i, own in zip(group.positions, group.each(inputs), strict=True):
                    found[i] = own
        return np.stack(found)

    @property
    def n_stacks(self) -> int:
        """Stacks of several networks that the last prediction used."""
        return sum(
            isinstance(group, Stacked) and len(group.positions) > 1
            for group in self._groups or ()
        )

    def _grouped(self, inputs: Inputs) -> list[Stacked | Lone]:
        """Return members in groups, anew if one of them has trained since."""
        if self._groups is None or not all(map(_Training.is_current, self._trainings)):
            dtype = None if self.dtype is None else getattr(torch, self.dtype)
            found = [network_of(member.estimator) for member in self.members]
            self._trainings = [_Training(network) for network in found if network]
            self._groups = _groups(self.members, self.classes, inputs, dtype)
        return self._groups


class _Training:
    """Where a network stood when it was stacked."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._net = network.net_
        self._module = network.net_.module_
        self._n_steps = network.net_.n_steps_
        self._weights = list(self._module.state_dict(keep_vars=True).values())
        self._n_changes = self._count()

    def is_current(self) -> bool:
        """Return whether nobody has trained or altered the network since."""
        net = self._network.net_
        return (
            net is self._net
            and net.module_ is self._module
            and net.n_steps_ == self._n_steps
            and self._count() == self._n_changes
        )

    def _count(self) -> int:
        # Torch counts the changes of each tensor.
        return sum(tensor._version for tensor in self._weights)


def _groups(
    members: Sequence[Member],
    classes: Array | None,
    inputs: Inputs,
    dtype: torch.dtype | None,
) -> list[Stacked | Lone]:
    networks = [network_of(member.estimator) for member in members]
    found = [(n, m) for n, m in zip(networks, members, strict=True) if n is not None]
    made = iter(ways_of([n for n, _ in found], [m for _, m in found]))
    ways = [None if network is None else next(made) for network in networks]
    bases = common_bases([way for way in ways if way is not None])
    alike: dict[Any, list[int]] = {}
    for i, way in enumerate(ways):
        key = ("lone", i) if way is None else _kind(way)
        alike.setdefault(key, []).append(i)
    groups: list[Stacked | Lone] = []
    for positions in alike.values():
        own = [way for way in (ways[i] for i in positions) if way is not None]
        stacked = _stacked(positions, own, bases, classes, inputs, dtype)
        if stacked is None:
            groups += [Lone(i, members[i], classes) for i in positions]
        else:
            groups.append(stacked)
    return groups


def _stacked(
    positions: Sequence[int],
    ways: Sequence[Way],
    bases: dict[Any, Base],
    classes: Array | None,
    inputs: Inputs,
    dtype: torch.dtype | None,
) -> Stacked | None:
    """Return members as a stack, if torch can run them as one and it is worth it."""
    # A lone network is faster without skorch, but vmap would cost more than that.
    is_worth_it = len(ways) > 1 or (ways and isinstance(ways[0].network.net_.module_, MLP))
    if not is_worth_it:
        return None
    stacked = Stacked(positions, ways, bases.get(ways[0].head_key), classes, dtype)
    return stacked if stacked.prepare(inputs) else None


def _kind(way: Way) -> Any:
    """Return what networks have in common that are stacked."""
    network: Any = way.network
    return (
        type(network),
        network.dtype,
        network.n_outputs_,
        network.input_shape_,
        architecture(network.net_.module_),
    )
