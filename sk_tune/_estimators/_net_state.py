# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The state of a trained net: copies, transfer between devices, conversion to arrays."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from skorch.history import History
from torch import Tensor, nn
from torch.optim import Optimizer

from sk_tune._compat import NetOfKnownParts
from sk_tune._nets import independent_copy, loose_state, tensor_values, with_parameters_of
from sk_tune._training import TrainingState


def cloned(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with independent copies of the tensors."""
    return {name: tensor.detach().clone() for name, tensor in state_dict.items()}


def moved(state: dict[str, Any], device: str) -> dict[str, Any]:
    """Return the attributes of a ``TrainingNet``, with all tensors copied to a device."""
    names = ("module", "module_", "criterion", "criterion_", "optimizer_", "last_weights_")
    # A single deepcopy call, so that the optimizer refers to the copied parameters.
    copied = copy.deepcopy({n: state[n] for n in (*names, "best_weights_") if n in state})
    for name in ("module", "module_", "criterion", "criterion_"):
        if isinstance(copied.get(name), nn.Module):
            copied[name].to(device)
    # Moments of an optimizer that is not built yet are arrays, without a device.
    optimizer = copied.get("optimizer_")
    for moments in () if optimizer is None else optimizer.state.values():
        for name, value in moments.items():
            if isinstance(value, Tensor):
                moments[name] = value.to(device)
    for name in ("last_weights_", "best_weights_"):
        if copied.get(name) is not None:
            copied[name] = {n: t.to(device) for n, t in copied[name].items()}
    return {**state, **copied}


def to_arrays(tensors: dict[str, Any] | None) -> Any:
    """Return copies of named tensors as arrays; other values are dropped."""
    if tensors is None:
        return None
    return {
        # C order, because files hold bytes without strides.
        name: np.array(value.detach().cpu().numpy(), order="C")
        for name, value in tensors.items()
        if isinstance(value, Tensor)
    }


def to_tensors(arrays: Any, device: str = "cpu") -> Any:
    """Return copies of named arrays, if any, as tensors on a device."""
    if arrays is None:
        return None
    return {n: torch.from_numpy(np.array(a)).to(device) for n, a in arrays.items()}


def net_arrays(net: Any) -> dict[str, Any]:
    """Return ``weights``, ``moments`` and ``history`` of any initialised skorch net."""
    if getattr(net, "has_late_optimizer", False):
        start = net._optimizer_start
        moments = {} if start is None else start.moments
        # Networks of a fleet share the step counter, so copy it.
        moments = {i: {n: np.array(a) for n, a in m.items()} for i, m in moments.items()}
    else:
        state = net.optimizer_.state_dict()["state"]
        moments = {index: to_arrays(tensors) for index, tensors in state.items()}
    return {
        "weights": to_arrays(net.module_.state_dict()),
        "moments": moments,
        "history": tuple(map(dict, net.history)),
    }


def module_keys(net: Any) -> dict[str, Any]:
    """Return keys of the state of a net's modules outside ``module_``'s weights."""
    keys: dict[str, Any] = {}
    for name, module in vars(net).items():
        if isinstance(module, nn.Module) and name.endswith("_"):
            keys[name] = None
            if not type(module).__module__.startswith("sk_tune."):
                state = loose_state(module)
                keys[name] = state if name == "module_" else (state, tensor_values(module))
    return keys


def changed_modules(net: Any, before: Mapping[str, Any]) -> dict[str, nn.Module]:
    """Return copies of the modules of a net that have other keys than in `before`."""
    return {
        name: independent_copy(getattr(net, name))
        for name, key in module_keys(net).items()
        if key != before.get(name)
    }


def load_net_arrays(net: Any, state: TrainingState) -> None:
    """Give an initialised skorch net the weights, moments and history of a training."""
    _load_weights(net, state)
    load_moments(net.optimizer_, state.moments)


def load_moments(optimizer: Optimizer, arrays: Mapping[int, Mapping[str, Any]]) -> None:
    """Give an optimizer the moments of a training of the same architecture."""
    moments = {index: to_tensors(values) for index, values in arrays.items()}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def _load_weights(net: Any, state: TrainingState) -> None:
    for name, module in state.modules.items():
        vars(net)[name] = with_parameters_of(getattr(net, name), module)
    net.module_.load_state_dict(to_tensors(state.weights))
    net.history_ = History(map(dict, state.history))


def training_state(net: Any) -> TrainingState:
    """Return the state of an initialised net as arrays, complete for resuming it."""
    return TrainingState(
        seed=net.options.seed,
        **net_arrays(net),
        last_weights=to_arrays(net.last_weights_),
        best_weights=to_arrays(net.best_weights_),
        n_steps=net.n_steps_,
        first_epoch=net.first_epoch_,
        stopping=net.stopping_,
    )


def load_training_state(net: Any, state: TrainingState) -> None:
    """Set an initialised net to the state of another training."""
    _load_weights(net, state)
    net.start_optimizer_from(state)
    net.last_weights_ = to_tensors(state.last_weights, net.device)
    net.best_weights_ = to_tensors(state.best_weights, net.device)
    net.n_steps_ = state.n_steps
    net.first_epoch_ = state.first_epoch
    net.stopping_ = state.stopping


@contextmanager
def undone_on_failure(net: Any) -> Iterator[None]:
    """Restore the state of a trained net if the block raises."""
    if not len(net.history):
        yield
        return
    weights = cloned(net.module_.state_dict())
    optimizer = copy.deepcopy(net.optimizer_.state_dict())
    names = ("n_steps_", "stopping_", "last_weights_", "best_weights_")
    values = {name: getattr(net, name) for name in names}
    n_epochs = len(net.history)
    try:
        yield
    except BaseException:
        net.module_.load_state_dict(weights)
        net.optimizer_.load_state_dict(optimizer)
        vars(net).update(values)
        del net.history[n_epochs:]
        raise


@dataclass(frozen=True, slots=True)
class _OptimizerStart:
    """Moments by parameter, and the learning rate, of the training that went before."""

    moments: dict[int, dict[str, npt.NDArray[np.generic]]]
    lr: float | None


class LateOptimizerNet(NetOfKnownParts):
    """A skorch net that builds its optimizer at its first use.

    A pickle or a copy of it does not build the optimizer either, because torch imports
    modules for its first optimizer, which takes seconds.
    """

    _optimizer_start: _OptimizerStart | None

    def initialize_optimizer(
        self,
        triggered_directly: bool | None = None,  # noqa: FBT001
    ) -> Self:
        """Postpone building the optimizer to its first use."""
        self.start_optimizer_from(None)
        return self

    def start_optimizer_from(self, state: TrainingState | None) -> None:
        """Let the optimizer, once built, start from the moments of another training."""
        self.__dict__["optimizer_"] = None
        self._optimizer_start = None
        if state is not None:
            lr = state.history[-1]["lr"] if state.history else None
            self._optimizer_start = _OptimizerStart(state.moments, lr)

    @property
    def has_late_optimizer(self) -> bool:
        """Whether the optimizer has not been built yet."""
        return "optimizer_" in self.__dict__ and self.__dict__["optimizer_"] is None

    @property
    def optimizer_(self) -> Optimizer:
        """The optimizer, built at its first use."""
        if "optimizer_" not in self.__dict__:
            raise AttributeError("optimizer_")
        optimizer: Optimizer | None = self.__dict__["optimizer_"]
        if optimizer is None:
            optimizer = self.optimizer(self.module_.parameters())
            for group in optimizer.param_groups:
                # Torch's schedulers read it when a training is resumed.
                group.setdefault("initial_lr", group["lr"])
            start = self._optimizer_start
            if start is not None:
                load_moments(optimizer, start.moments)
                for group in optimizer.param_groups if start.lr is not None else ():
                    group["lr"] = start.lr
            self.optimizer_ = optimizer
        return optimizer

    @optimizer_.setter
    def optimizer_(self, optimizer: Optimizer) -> None:
        self.__dict__["optimizer_"] = optimizer
        self._optimizer_start = None

    def __getstate__(self) -> dict[str, Any]:
        # skorch pickles the module separately, by reference to its class, which fails in
        # worker processes for a class from a notebook.  Left in the state, the module is
        # pickled with the net: in joblib's workers by cloudpickle.
        return self.__dict__.copy()
