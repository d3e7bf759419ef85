# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The weighted sum of what several estimators predict, their networks in one call.

Networks of one architecture are stacked, whatever is in front of them; what else there is
runs one by one.  The result is that of a loop over all of them.

Notation: m members, k of them in a stack; n rows, C columns of the result.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.pipeline import Pipeline

from sk_tune.engine import architecture
from sk_tune.ensemble._groups import Lone, Member, Stacked
from sk_tune.ensemble._inputs import Base, Inputs, Way, common_bases, ways_of
from sk_tune.estimators import NetworkEstimator, is_unchanged
from sk_tune.nets import MLP

__all__ = ["Combination", "Member", "network_of"]

Array = npt.NDArray[Any]

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
