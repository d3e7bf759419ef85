# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The weighted sum of the predictions of several estimators, networks in one call.

Networks of one architecture are stacked, whatever transformers precede them; other members
run in turn.  The result equals a loop over all members.

Notation: m members, k of them in a stack; n samples, C columns of the result.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor

from sk_tune._ensemble._member_inputs import (
    CommonScaling,
    Inputs,
    Preparation,
    preparation_of,
)
from sk_tune._estimators import NetworkEstimator, is_unchanged
from sk_tune._fleets import NetworkStack, architecture
from sk_tune._nesting import last_step
from sk_tune._nets import MLP
from sk_tune._scores import as_columns, with_all_classes
from sk_tune._training import middle_of, one_thread
from sk_tune._types import Array

# Methods that convert outputs to predictions.
_PREDICTING = ("predict", "predict_proba", "_predictions", "_forward", "_check_X")


class Member(NamedTuple):
    """A fitted estimator, its weight, and the positions of its columns, None for all."""

    estimator: Any
    weight: float
    features: Array | None = None


def stackable_network(estimator: Any) -> NetworkEstimator | None:
    """Return the fitted network at the end of an estimator if it can be stacked, else None.

    It is the estimator or the last step of a pipeline: a network of sk_tune that trains and
    predicts as its class does.
    """
    # A derived pipeline may predict otherwise.
    last = last_step(estimator) if type(estimator) is Pipeline else estimator
    if not isinstance(last, NetworkEstimator) or not is_unchanged(last):
        return None
    methods = [getattr(type(last), name, None) for name in _PREDICTING]
    if not all(f is None or f.__module__.startswith("sk_tune.") for f in methods):
        return None
    return last if hasattr(last, "net_") else None


def quantiles_of(members: Sequence[Member]) -> tuple[float, ...]:
    """Return the levels of the quantiles that all members predict, else none."""
    lasts = (last_step(member.estimator) for member in members)
    levels = {tuple(getattr(last, "quantiles_", ())) for last in lasts}
    return levels.pop() if len(levels) == 1 else ()


class Combination:
    """Weighted sum of the predictions of at least one member.

    `classes`, (C,), are the labels of the columns, which are then probabilities; each
    member's ``classes_`` are among them.  They are empty for multilabel targets.  With
    None, the results of ``predict`` are summed.  Stacked networks compute in `dtype`, or in
    their own.
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

    def is_of(self, members: Sequence[Member]) -> bool:
        """Return whether this is the weighted sum of the same members."""
        keys = [[(id(m.estimator), m.weight) for m in of] for of in (self.members, members)]
        return keys[0] == keys[1]

    def _forget(self) -> None:
        self._groups: list[_Stacked | _Lone] | None = None
        # Networks, their weights, and their training states at the time of stacking.
        self._trained: list[tuple[Any, list[Tensor], tuple[Any, ...]]] = []
        # A stack computes in buffers that threads must not share.
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        # Stacked weights are copies, rebuilt on demand.
        return {name: vars(self)[name] for name in ("members", "classes", "dtype")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __call__(self, X: Any, *, quantiles: bool = False) -> Array:
        """Return the weighted sum, (n, C), float64; ValueError if quantiles differ."""
        if quantiles and not quantiles_of(self.members):
            raise ValueError(
                "return_quantiles=True needs networks with loss='quantile' and equal "
                "quantiles. Got other members."
            )
        total: Any = 0.0
        inputs = Inputs(X)
        with self._lock:
            for group in self._current_groups(inputs):
                weights = np.array([self.members[i].weight for i in group.positions])
                total = total + group.weighted_sum(inputs, weights, quantiles=quantiles)
        return np.asarray(total)

    def each(self, X: Any) -> Array:
        """Return the prediction of each member, (m, n, C), float64, without weights."""
        predictions: dict[int, Array] = {}
        inputs = Inputs(X)
        with self._lock:
            for group in self._current_groups(inputs):
                predictions |= zip(group.positions, group.each(inputs), strict=True)
        return np.stack([predictions[i] for i in range(len(self.members))])

    @property
    def n_stacks(self) -> int:
        """Number of stacks of several networks in the last prediction."""
        return sum(
            isinstance(group, _Stacked) and len(group.positions) > 1
            for group in self._groups or ()
        )

    def _current_groups(self, inputs: Inputs) -> list["_Stacked | _Lone"]:
        """Return members in groups, rebuilt if a member has been trained since."""
        is_current = all(
            _training_state(network, weights) == state
            for network, weights, state in self._trained
        )
        if self._groups is not None and is_current:
            return self._groups
        self._trained, preparations = [], {}
        members_by_form: dict[Any, list[int]] = {}
        for i, member in enumerate(self.members):
            network, form = stackable_network(member.estimator), i
            if network is not None:
                form = _form(network)
                weights = list(network.net_.module_.state_dict(keep_vars=True).values())
                state = _training_state(network, weights)
                self._trained.append((network, weights, state))
                preparations[i] = preparation_of(network, member.estimator, member.features)
            members_by_form.setdefault(form, []).append(i)
        # Of stacks that differ in scalers only, the first has the common scaling.
        scalings = {
            preparation.head_key: CommonScaling(preparation, preparation.tail)
            for preparation in reversed(preparations.values())
            if preparation.tail is not None
        }
        groups: list[_Stacked | _Lone] = []
        for positions in members_by_form.values():
            chosen = [preparations[i] for i in positions if i in preparations]
            # A single network is faster without skorch, but vmap would cost more.
            modules = [preparation.network.net_.module_ for preparation in chosen]
            if len(chosen) > 1 or any(isinstance(module, MLP) for module in modules):
                scaling = scalings.get(chosen[0].head_key)
                stacked = _Stacked(positions, chosen, scaling, self.classes, self.dtype)
                if stacked.can_run(inputs):
                    groups.append(stacked)
                    continue
            groups += [_Lone(i, self.members[i], self.classes) for i in positions]
        self._groups = groups
        return groups


def _training_state(network: Any, weights: Sequence[Tensor]) -> tuple[Any, ...]:
    """Return a state that differs after a network was trained or altered."""
    net = network.net_
    # Torch counts in-place changes of each tensor.
    return net, net.module_, net.n_steps_, sum(tensor._version for tensor in weights)


def _form(network: Any) -> Any:
    """Return the key that networks must share to be stacked."""
    return (
        type(network),
        network.dtype,
        network.n_outputs_,
        network.input_shape_,
        getattr(network, "_link", ""),
        tuple(getattr(network, "quantiles_", ())),
        architecture(network.net_.module_),
    )


class _Lone:
    """A member that predicts alone; `classes` as in `Combination`."""

    def __init__(self, position: int, member: Member, classes: Array | None) -> None:
        self.positions, self._member, self._classes = [position], member, classes

    def weighted_sum(self, inputs: Inputs, weights: Array, *, quantiles: bool) -> Array:
        """Return the member's prediction, (n, C), float64, times its weight, (1,)."""
        return np.asarray(weights[0] * self.each(inputs, quantiles=quantiles)[0])

    def each(self, inputs: Inputs, *, quantiles: bool = False) -> list[Array]:
        """Return a list with the member's prediction, (n, C), float64."""
        estimator, features = self._member.estimator, self._member.features
        transformers = None
        if type(estimator) is Pipeline and len(estimator.steps) > 1:
            transformers, estimator = estimator[:-1], estimator.steps[-1][1]
        X = inputs.transformed(transformers, features)
        if self._classes is None:
            options = {"return_quantiles": True} if quantiles else {}
            predicted = np.asarray(estimator.predict(X, **options), dtype=np.float64)
            return [predicted.reshape(len(predicted), -1)]
        is_sure = not hasattr(estimator, "predict_proba")
        values = estimator.predict(X) if is_sure else estimator.predict_proba(X)
        if len(self._classes) == 0:
            classes = getattr(estimator, "classes_", None)
            return [as_columns(values, classes).astype(np.float64)]
        if is_sure:
            values = np.asarray(values)[:, None] == estimator.classes_
        values = np.asarray(values, dtype=np.float64)
        return [with_all_classes(values, estimator.classes_, self._classes)]


class _Stacked:
    """Members with networks of one architecture, maybe with a common scaling."""

    def __init__(
        self,
        positions: Sequence[int],
        preparations: Sequence[Preparation],
        scaling: CommonScaling | None,
        classes: Array | None,
        dtype: str | None,
    ) -> None:
        self.positions = positions
        self._networks: list[Any] = [p.network for p in preparations]
        self._dtype = None if dtype is None else getattr(torch, dtype)
        self._affine = None if scaling is None else scaling.relative(preparations)
        self._scaling = None if self._affine is None else scaling
        self._preparations = list({p.key: p for p in preparations}.values())
        keys = [p.key for p in self._preparations]
        self._place_of = [keys.index(p.key) for p in preparations]
        # The key is True for networks that take samples after the common scaling.
        self._stacks: dict[bool, NetworkStack] = {}
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

    def can_run(self, inputs: Inputs) -> bool:
        """Return whether torch can run the stacked networks, tried on a few samples."""
        samples, is_scaled = self._samples(inputs)
        try:
            self._stack(samples, is_scaled=is_scaled)
        except ValueError:
            return False
        return True

    def weighted_sum(self, inputs: Inputs, weights: Array, *, quantiles: bool) -> Array:
        """Return the sum of k predictions, (n, C), float64, with weights (k,)."""
        factors = torch.from_numpy(weights)

        def summed(outputs: Tensor) -> Tensor:
            # (k, C, n), as it lies in memory.
            predicted = self._predictions(outputs, quantiles=quantiles).mT
            total = factors @ predicted.reshape(len(factors), -1)
            return total.view(predicted.shape[1:]).T

        return torch.cat(self._map(inputs, summed)).numpy()

    def each(self, inputs: Inputs) -> Array:
        """Return the members' predictions, (k, n, C), float64, without weights."""
        return torch.cat(self._map(inputs, self._predictions), dim=1).numpy()

    def _map(self, inputs: Inputs, function: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """Return the results of a function of the outputs, in blocks of samples."""
        samples, is_scaled = self._samples(inputs)
        stack = self._stack(samples, is_scaled=is_scaled)
        if is_scaled or len(self._preparations) == 1:
            return stack.map(samples, function, shared=True)
        prepared = [preparation(inputs) for preparation in self._preparations]
        each = torch.stack([prepared[place] for place in self._place_of])
        return stack.map(each, function, shared=False)

    def _samples(self, inputs: Inputs) -> tuple[Tensor, bool]:
        """Return samples after the common scaling, or as the first member scales them."""
        scaled = None if self._scaling is None else self._scaling(inputs)
        if scaled is not None:
            return scaled, True
        return self._preparations[0](inputs), False

    def _stack(self, samples: Tensor, *, is_scaled: bool) -> NetworkStack:
        """Return the stacked networks; ValueError if torch cannot run them together."""
        if is_scaled not in self._stacks:
            modules = [network.net_.module_ for network in self._networks]
            affine = None
            if is_scaled:
                affine = self._affine
                samples = samples[:2].view(-1, *self._networks[0].input_shape_)
            stack = NetworkStack(modules, samples, self._dtype, affine=affine)
            self._stacks[is_scaled] = stack
        return self._stacks[is_scaled]

    def _predictions(self, outputs: Tensor, *, quantiles: bool = False) -> Tensor:
        """Convert outputs to predictions, (k, n, C), float64."""
        if self._classes is None:
            scaled = self._networks[0]._unscaled(outputs.cpu().double())
            y: Tensor = scaled * self._scale.unsqueeze(1) + self._mean.unsqueeze(1)
            levels = self._networks[0].quantiles_
            return y[..., [middle_of(levels)]] if len(levels) and not quantiles else y
        if len(self._classes) == 0:
            return outputs.sigmoid().cpu().double()
        # The softmax takes a twentieth of the time with samples last in memory, which is
        # the layout of the stack.
        with one_thread():
            probabilities = outputs.mT.contiguous().softmax(dim=1).cpu().double().mT
        if self._columns is None:
            return probabilities
        # A class that a member was not trained on has probability 0.
        aligned = probabilities.new_zeros(*probabilities.shape[:2], len(self._classes))
        return aligned.scatter_(2, self._columns.expand(probabilities.shape), probabilities)
