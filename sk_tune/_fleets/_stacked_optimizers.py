# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tensors of K networks with a leading network axis, and optimizers that step them all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sk_tune._compat.torch_names import fused_steps
from sk_tune._fleets._epoch_batches import on_device
from sk_tune._optimizers import OPTIMIZERS


class StackedTensors:
    """Named, contiguous tensors, (K, ...), with a slice for each network of a fleet."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    @classmethod
    def stacked(cls, networks: Sequence[Mapping[str, Tensor]]) -> "StackedTensors":
        """Return stacked copies of networks' tensors with equal names and shapes."""
        return cls({
            # Without `contiguous`, the stack would have its tensors' order in memory.
            name: torch.stack([network[name].detach() for network in networks]).contiguous()
            for name in networks[0]
        })

    def copy(self) -> "StackedTensors":
        """Return a copy of the tensors."""
        return StackedTensors({name: t.clone() for name, t in self.tensors.items()})

    def select(self, index: Tensor) -> None:
        """Keep the networks at `index`, in that order, and free all other memory."""
        self.tensors = {name: t.index_select(0, index) for name, t in self.tensors.items()}

    def extend(self, other: "StackedTensors") -> None:
        """Append the networks of another fleet, with the same names and shapes."""
        self.tensors = {
            name: torch.cat([t, other.tensors[name]]) for name, t in self.tensors.items()
        }

    def write(self, index: Tensor, other: "StackedTensors") -> None:
        """Overwrite the networks at `index` with the same networks of another fleet."""
        for name, tensor in self.tensors.items():
            tensor.index_copy_(0, index, other.tensors[name].index_select(0, index))

    def networks(
        self, positions: Sequence[int], names: Iterable[str]
    ) -> list[dict[str, npt.NDArray[np.generic]]]:
        """Return the tensors `names` of the networks at `positions` as new arrays."""
        # All networks at once, because each copy synchronises with the device.
        index = torch.tensor(positions, dtype=torch.int64)
        arrays = {
            name: t.detach().index_select(0, index.to(t.device)).cpu().numpy()
            for name, t in ((name, self.tensors[name]) for name in names)
        }
        return [
            {name: np.array(array[place], order="C") for name, array in arrays.items()}
            for place in range(len(positions))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Constant hyperparameters of one network's optimizer."""

    momentum: float  # beta_1 in Adam and AdamW
    beta_2: float = 0.999  # decay of v; alpha in RMSprop
    eps: float = 1e-8
    weight_decay: float = 0.0  # decoupled in AdamW


class StackedOptimizer:
    """An optimizer over tensors with a leading network axis."""

    def __init__(self, kind: str, *, nesterov: bool) -> None:
        self.kind, self.rule = kind, OPTIMIZERS[kind]
        self.nesterov = nesterov
        self.settings: list[Settings] = []
        self.n_steps: list[int] = []
        self.moments: dict[str, StackedTensors] = {}
        self.positions: list[int] = []
        # Whether torch's fused kernel computes the steps.
        self._is_fused = False
        self._rates: Sequence[Sequence[float]] = ()
        # Parameters and moments of each network, by (start, stop) of a slice of networks.
        self._viewed: dict[tuple[int, int], list[list[tuple[Tensor, ...]]]] = {}
        # Numbers of the update in the steps of the epoch, each (S, K).
        self._numbers: dict[str, Tensor] = {}

    def extend(
        self,
        parameters: StackedTensors,
        settings: Sequence[Settings],
        states: Sequence[dict[int, dict[str, Any]]],
        positions: Sequence[int],
    ) -> None:
        """Add networks with their parameters, settings and optimizer states.

        A state is as in ``state_dict``, and empty at the start. `positions` are the numbers
        of the trained parameters among all parameters of the module.
        """
        self.positions = list(positions)
        tensor = next(iter(parameters.tensors.values()))
        self._is_fused = fused_steps.get(self.kind) is not None and not on_device(tensor)
        for name in self.rule.moments:
            zeros = {n: torch.zeros_like(t) for n, t in parameters.tensors.items()}
            new = StackedTensors(zeros)
            for position, moments in zip(self.positions, new.tensors.values(), strict=True):
                for moment, state in zip(moments, states, strict=True):
                    array = state.get(position, {}).get(name)
                    if array is not None:
                        moment.copy_(torch.as_tensor(array.copy()))
            if name in self.moments:
                self.moments[name].extend(new)
            else:
                self.moments[name] = new
        self.settings.extend(settings)
        # SGD has no counter; only whether it has stepped at all matters.
        self.n_steps.extend(
            max((int(entry.get("step", 1)) for entry in state.values()), default=0)
            for state in states
        )

    def select(self, index: Tensor) -> None:
        """Keep the networks at `index`, in that order."""
        for moments in self.moments.values():
            moments.select(index)
        self.settings = [self.settings[i] for i in index.tolist()]
        self.n_steps = [self.n_steps[i] for i in index.tolist()]

    def states(self, positions: Sequence[int]) -> list[dict[int, dict[str, Any]]]:
        """Return the states of networks in the form of ``torch.optim``, as arrays."""
        moments = {n: m.networks(positions, m.tensors) for n, m in self.moments.items()}
        states: list[dict[int, dict[str, Any]]] = []
        for i, network in enumerate(positions):
            by_name = {name: list(m[i].values()) for name, m in moments.items()}
            if self.settings[network].momentum <= 0:
                by_name.pop("momentum_buffer", None)
            step = torch.tensor(float(self.n_steps[network])).numpy()
            counter: dict[str, Any] = {"step": step} if self.rule.counts_steps else {}
            state = {
                position: counter | {name: arrays[k] for name, arrays in by_name.items()}
                for k, position in enumerate(self.positions)
            }
            states.append(state if self.n_steps[network] else {})
        return states

    def begin_epoch(self, rates: Sequence[Sequence[float]]) -> None:
        """Prepare an epoch with the learning rates of each network's steps."""
        self._rates = rates
        self._viewed.clear()

    def count_steps(self, n_steps: Sequence[int]) -> None:
        """Add the steps that each network has taken."""
        self.n_steps = [n + new for n, new in zip(self.n_steps, n_steps, strict=True)]

    def step(
        self,
        networks: slice,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        step: int,
    ) -> None:
        """Update parameters (k, ...) in a step of the epoch; overwrites the gradients."""
        if self._is_fused:
            self._step_fused(networks, parameters, gradients, step)
            return
        moments = [[t[networks] for t in m.tensors.values()] for m in self.moments.values()]
        current = {name: t[step, networks] for name, t in self._numbers.items()}
        by_ndim: dict[int, dict[str, Tensor]] = {}
        for values in zip(parameters, gradients, *moments, strict=True):
            ndim = values[0].ndim
            if ndim not in by_ndim:
                shape = (-1,) + (1,) * (ndim - 1)
                by_ndim[ndim] = {name: t.view(shape) for name, t in current.items()}
            self.rule.update(*values, by_ndim[ndim], nesterov=self.nesterov)

    def _step_fused(
        self,
        networks: slice,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        number: int,
    ) -> None:
        """Call torch's fused kernel for each network.

        It rounds the elements after the last full vector of a tensor differently.  With one
        call for all networks, the bits of a network would depend on the size of the fleet.
        """
        kernel, step = fused_steps[self.kind], torch.zeros(())
        key = (networks.start, networks.stop)
        if key not in self._viewed:
            moments = [
                [t[networks] for t in m.tensors.values()] for m in self.moments.values()
            ]
            self._viewed[key] = [_by_network(part) for part in (parameters, *moments)]
        weights, *means = self._viewed[key]
        tensors = zip(weights, _by_network(gradients), *means, strict=True)
        for network, parts in enumerate(tensors, start=networks.start):
            settings = self.settings[network]
            step.fill_(self.n_steps[network] + number + 1)
            kernel(
                *(*parts, (), [step] * len(parameters)),
                lr=self._rates[network][number],
                beta1=settings.momentum,
                beta2=settings.beta_2,
                weight_decay=settings.weight_decay,
                eps=settings.eps,
                amsgrad=False,
                maximize=False,
            )

    def begin_steps(self) -> None:
        """Compute the numbers of all steps before the first, if torch steps with them."""
        if self._is_fused:
            return
        n = max(map(len, self._rates))
        padded = [[*rates, *[0.0] * (n - len(rates))] for rates in self._rates]
        # Compute differences near 0 in double precision before rounding.
        lr = torch.tensor(padded, dtype=torch.float64).T
        fixed = [(s.momentum, s.beta_2, s.eps, s.weight_decay) for s in self.settings]
        beta_1, beta_2, eps, decay = torch.tensor(fixed, dtype=torch.float64).T.unbind()
        c = {"lr": lr, "momentum": beta_1, "beta_2": beta_2, "eps": eps, "decay": decay}
        c["step"] = torch.arange(1, n + 1).unsqueeze(1) + torch.tensor(self.n_steps)
        c |= {"new_1": 1 - beta_1, "new_2": 1 - beta_2}
        c |= self.rule.numbers(c)
        like = next(iter(next(iter(self.moments.values())).tensors.values()))
        self._numbers = {name: t.expand(lr.shape).to(like) for name, t in c.items()}


def _by_network(tensors: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    return list(zip(*(t.unbind() for t in tensors), strict=True))
