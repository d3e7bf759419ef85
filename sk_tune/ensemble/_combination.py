# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The weighted sum of what several estimators predict, their networks in one call.

Networks of one architecture are stacked, whatever is in front of them; what else there is
runs one by one.  The result is that of a loop over all of them.

Notation: m members, k of them in a stack; n rows, C columns of the result.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor

from sk_tune.backend import value_fingerprint
from sk_tune.engine import NetworkStack, architecture, one_thread
from sk_tune.estimators import (
    NetworkEstimator,
    is_unchanged,
    network_inputs,
)

__all__ = ["Combination", "Member", "network_of"]

Array = npt.NDArray[Any]

# Methods that turn outputs into predictions.
_PREDICTING = ("predict", "predict_proba", "_predictions", "_forward", "_check_X")


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
        sk_tune's, or predicts in another way than these do, or several labels a row.
    """
    last = estimator.steps[-1][1] if type(estimator) is Pipeline else estimator
    if not isinstance(last, NetworkEstimator) or not is_unchanged(last):
        return None
    own = [getattr(type(last), name, None) for name in _PREDICTING]
    if not all(f is None or f.__module__.startswith("sk_tune.") for f in own):
        return None
    is_single = getattr(last, "_target_type", "multiclass") == "multiclass"
    return last if is_single and hasattr(last, "net_") else None


class Combination:
    """Weighted sum of the predictions of some members.

    Parameters
    ----------
    members : sequence of Member
        At least one.
    classes : ndarray of shape (C,) or None
        Labels in the order of the columns of the result, which is of probabilities; each
        member's ``classes_`` are among them.  None adds up what members ``predict``.
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
        self._groups: list[_Stack | _Lone] | None = None
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
        """Return the sum.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n, C) and type float64
            One column for a single target.
        """
        total: Any = 0.0
        with self._lock:
            for group in self._grouped(X):
                weights = np.array([self.members[i].weight for i in group.positions])
                total = total + group.weighted_sum(X, weights)
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
        with self._lock:
            for group in self._grouped(X):
                for i, own in zip(group.positions, group.each(X), strict=True):
                    found[i] = own
        return np.stack(found)

    @property
    def n_stacks(self) -> int:
        """Stacks of several networks that the last prediction used."""
        return sum(isinstance(group, _Stack) for group in self._groups or ())

    def _grouped(self, X: Any) -> list["_Stack | _Lone"]:
        """Return members in groups, anew if one of them has trained since."""
        if self._groups is None or not all(map(_Training.is_current, self._trainings)):
            dtype = None if self.dtype is None else getattr(torch, self.dtype)
            found = [network_of(member.estimator) for member in self.members]
            self._trainings = [_Training(network) for network in found if network]
            self._groups = _groups(self.members, self.classes, X, dtype)
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
    members: Sequence[Member], classes: Array | None, X: Any, dtype: torch.dtype | None
) -> list["_Stack | _Lone"]:
    alike: dict[Any, list[int]] = {}
    for i, member in enumerate(members):
        network = network_of(member.estimator)
        # A lone member is nothing to stack.
        key = ("lone", i) if network is None else _kind(network)
        alike.setdefault(key, []).append(i)
    groups: list[_Stack | _Lone] = []
    for positions in alike.values():
        own = [members[i] for i in positions]
        stack = None
        if len(own) > 1:
            # What torch cannot run as one is not stacked.
            with suppress(ValueError):
                stack = _Stack(positions, own, classes, X, dtype)
        if stack is not None:
            groups.append(stack)
        else:
            groups += [_Lone([i], members[i], classes) for i in positions]
    return groups


def _kind(network: NetworkEstimator) -> Any:
    """Return what networks have in common that are stacked."""
    return (
        type(network),
        network.dtype,
        network.n_outputs_,
        network.input_shape_,
        architecture(network.net_.module_),
    )


class _Lone:
    """A member that predicts alone."""

    def __init__(
        self, positions: Sequence[int], member: Member, classes: Array | None
    ) -> None:
        self.positions = positions
        self._member = member
        self._classes = classes

    def weighted_sum(self, X: Any, weights: Array) -> Array:
        return np.asarray(weights[0] * self.each(X)[0])

    def each(self, X: Any) -> list[Array]:
        estimator, _, features = self._member
        own = X if features is None else X[:, features]
        if self._classes is None:
            predicted = np.asarray(estimator.predict(own), dtype=np.float64)
            return [predicted.reshape(len(predicted), -1)]
        found = np.zeros((own.shape[0], len(self._classes)))
        if hasattr(estimator, "predict_proba"):
            columns = np.searchsorted(self._classes, estimator.classes_)
            found[:, columns] = estimator.predict_proba(own)
        else:
            columns = np.searchsorted(self._classes, estimator.predict(own))
            found[np.arange(len(columns)), columns] = 1.0
        return [found]


class _Source(NamedTuple):
    """What makes the inputs of networks from X."""

    transformers: Pipeline | None
    features: Array | None
    network: NetworkEstimator

    def __call__(self, X: Any) -> Tensor:
        own = X if self.features is None else X[:, self.features]
        if self.transformers is not None:
            own = self.transformers.transform(own)
        return network_inputs(self.network, own)


class _Stack:
    """Members whose networks have one architecture."""

    def __init__(
        self,
        positions: Sequence[int],
        members: Sequence[Member],
        classes: Array | None,
        X: Any,
        dtype: torch.dtype | None,
    ) -> None:
        self.positions = positions
        self._networks: list[Any] = [network_of(m.estimator) for m in members]
        self._sources, self._source_of = _sources(members, self._networks)
        modules = [network.net_.module_ for network in self._networks]
        self._stack = NetworkStack(modules, self._sources[0](X), dtype)
        self._n_columns = 0 if classes is None else len(classes)
        self._columns: Tensor | None = None
        if classes is None:
            self._scale, self._mean = (
                torch.from_numpy(np.stack([getattr(n, name) for n in self._networks]))
                for name in ("target_scale_", "target_mean_")
            )
        elif any(len(n.classes_) < len(classes) for n in self._networks):
            columns = [np.searchsorted(classes, n.classes_) for n in self._networks]
            self._columns = torch.from_numpy(np.stack(columns)).unsqueeze(1)

    def weighted_sum(self, X: Any, weights: Array) -> Array:
        factors, inputs = torch.from_numpy(weights), self._inputs(X)
        with self._threads(inputs):
            parts = [
                torch.einsum("k,knc->nc", factors, own) for own in self._predictions(inputs)
            ]
            return torch.cat(parts).numpy()

    def each(self, X: Any) -> Array:
        inputs = self._inputs(X)
        with self._threads(inputs):
            return torch.cat(list(self._predictions(inputs)), dim=1).numpy()

    def _threads(self, inputs: Tensor) -> Any:
        return one_thread(wanted=self._stack.takes_one_thread(inputs.shape[1]))

    def _predictions(self, inputs: Tensor) -> Iterator[Tensor]:
        """Yield what members predict, (k, some rows, C), in float64."""
        for outputs in self._stack(inputs):
            if self._n_columns == 0:
                scaled = outputs.cpu().double()
                yield scaled * self._scale.unsqueeze(1) + self._mean.unsqueeze(1)
                continue
            # With the rows last in memory, as the stack leaves them, it takes a twentieth.
            own = outputs.mT.contiguous().softmax(dim=1).cpu().double().mT
            if self._columns is not None:
                # A class that a member has never seen has no probability.
                aligned = own.new_zeros(*own.shape[:2], self._n_columns)
                own = aligned.scatter_(2, self._columns.expand(own.shape), own)
            yield own

    def _inputs(self, X: Any) -> Tensor:
        """Return the rows of each network, (k, n, ...)."""
        made = [source(X) for source in self._sources]
        if len(made) == 1:
            return made[0].unsqueeze(0).expand(len(self._networks), *made[0].shape)
        return torch.stack([made[i] for i in self._source_of])


def _sources(
    members: Sequence[Member], networks: Sequence[NetworkEstimator]
) -> tuple[list[_Source], list[int]]:
    """Return the different ways to make inputs, and which one each member has."""
    sources: dict[Any, tuple[int, _Source]] = {}
    source_of = []
    for member, network in zip(members, networks, strict=True):
        transformers = None
        if network is not member.estimator:
            transformers = member.estimator[:-1]
        features = None if member.features is None else member.features.tobytes()
        key = (features, None if transformers is None else value_fingerprint(transformers))
        source = _Source(transformers, member.features, network)
        sources.setdefault(key, (len(sources), source))
        source_of.append(sources[key][0])
    return [source for _, source in sources.values()], source_of
