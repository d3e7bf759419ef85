# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A skorch net whose optimizer is built when it is asked for.

A net that takes over a finished training predicts, and mostly nothing else.
"""

from typing import Any, Self

from torch.optim import Optimizer

from sk_tune._compat import NetOfKnownParts
from sk_tune.estimators._net_state import load_moments
from sk_tune.training import TrainingState

__all__ = ["LateOptimizerNet"]


class LateOptimizerNet(NetOfKnownParts):
    """A skorch net that leaves its optimizer to the first use."""

    _optimizer_start: TrainingState | None

    def initialize_optimizer(
        self,
        triggered_directly: bool | None = None,  # noqa: FBT001
    ) -> Self:
        """Leave the optimizer to be built over the module's parameters at its first use."""
        self._put_off(None)
        return self

    def start_optimizer_from(self, state: TrainingState) -> None:
        """Let the optimizer, when it is built, copy the moments of another training."""
        self._put_off(state)

    @property
    def optimizer_(self) -> Optimizer:
        """The optimizer, built when it is asked for."""
        if "optimizer_" not in self.__dict__:
            raise AttributeError("optimizer_")
        optimizer: Optimizer | None = self.__dict__["optimizer_"]
        if optimizer is None:
            optimizer = self.optimizer(self.module_.parameters())
            for group in optimizer.param_groups:
                # Asked for by torch's schedulers where a training goes on.
                group.setdefault("initial_lr", group["lr"])
            state = self._optimizer_start
            if state is not None:
                load_moments(optimizer, state)
                for group in optimizer.param_groups if state.history else ():
                    group["lr"] = state.history[-1]["lr"]
            self.optimizer_ = optimizer
        return optimizer

    @optimizer_.setter
    def optimizer_(self, optimizer: Optimizer) -> None:
        self.__dict__["optimizer_"] = optimizer
        self._optimizer_start = None

    def __getstate__(self) -> dict[str, Any]:
        # skorch pickles the module by itself, by reference to its class, which fails in
        # worker processes for a class from a notebook.  Left in the state, it is pickled
        # by whoever pickles the net: cloudpickle, in joblib's workers.
        if "optimizer_" in self.__dict__:
            _ = self.optimizer_
        state = self.__dict__.copy()
        state.pop("_optimizer_start", None)
        return state

    def _put_off(self, state: TrainingState | None) -> None:
        self.__dict__["optimizer_"] = None
        self._optimizer_start = state
