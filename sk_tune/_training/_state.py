# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The state of a training as plain arrays, which can be sent and stored.

Modules are part of the state only if arrays cannot represent them; they can be sent, but
not stored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from sk_tune._types import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingState:
    """The lowest validation loss, its epoch from 1, and the epochs without progress."""

    best_loss: float = float("inf")
    best_epoch: int = 0
    n_waited: int = 0

    def after(self, epoch: int, loss: float, tol: float) -> "StoppingState":
        """Return the state after one more epoch; `epoch` counts from 1.

        >>> state = StoppingState().after(1, 0.5, tol=0.1).after(2, 0.45, tol=0.1)
        >>> state.best_epoch, state.n_waited
        (2, 1)
        """
        n_waited = 0 if loss < self.best_loss - tol else self.n_waited + 1
        if loss < self.best_loss:
            return StoppingState(best_loss=loss, best_epoch=epoch, n_waited=n_waited)
        return replace(self, n_waited=n_waited)


# Callbacks may record other values, of any type.
_KINDS = frozenset({"train_loss", "valid_loss", "monitor_loss"})


class LowestLosses:
    """The lowest loss of each kind in a history; a record may lack kinds.

    >>> losses = LowestLosses([{"train_loss": 0.5}, {"train_loss": 0.6}])
    >>> [losses.is_lowest("train_loss", loss) for loss in (0.7, 0.4, 0.5)]
    [False, True, False]
    """

    def __init__(self, history: Iterable[Mapping[str, Any]]) -> None:
        self._lowest: dict[str, float] = {}
        for record in history:
            for name in _KINDS.intersection(record):
                self.is_lowest(name, record[name])

    def is_lowest(self, name: str, loss: float) -> bool:
        """Record a loss; return whether it is the lowest so far, False for NaN."""
        if not loss <= self._lowest.get(name, float("inf")):
            return False
        self._lowest[name] = loss
        return True


Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingState:
    """Everything that a training needs to continue exactly."""

    seed: int
    weights: Arrays  # ``state_dict`` in use; the best with early stopping
    moments: dict[int, Arrays]  # of the optimizer, by parameter
    last_weights: Arrays | None = None  # to continue from, if different
    best_weights: Arrays | None = None
    n_steps: int = 0
    first_epoch: int = 0  # of the schedule, from 0
    stopping: StoppingState = field(default_factory=StoppingState)
    history: tuple[dict[str, Any], ...] = ()
    course: dict[str, Any] = field(default_factory=dict)  # of skorch's parts
    modules: dict[str, nn.Module] = field(default_factory=dict)  # with other state

    @property
    def restart_reason(self) -> str:
        """Why no training can continue from this state; empty if one can."""
        if reason := self.course.get("unstorable"):
            return f"the state of the callbacks cannot be stored ({reason})"
        lost = ", ".join(self.course.get("lost", ()))
        return f"its callbacks ({lost}) keep a state that is not stored" if lost else ""

    def curve(self, name: str) -> Floats:
        """Return the values of a name by epoch, (n_epochs,); NaN where missing."""
        return np.array([row.get(name, np.nan) for row in self.history], dtype=np.float64)


_COUNTERS = ("n_steps", "first_epoch")


def arrays_of_state(state: TrainingState) -> dict[str, npt.NDArray[np.generic]]:
    """Return all arrays of a state by names such as "optimizer.<position>.<name>"."""
    if state.modules:
        kinds = ", ".join(type(module).__name__ for module in state.modules.values())
        raise ValueError(f"{kinds} has state outside its state_dict")
    parts = {
        "module": state.weights,
        "last": state.last_weights or {},
        "best": state.best_weights or {},
        **{f"optimizer.{index}": moments for index, moments in state.moments.items()},
    }
    return {
        f"{part}.{name}": array
        for part, named in parts.items()
        for name, array in named.items()
    }


def values_of_state(state: TrainingState) -> dict[str, Any]:
    """Return a state without arrays: seed, counters, stopping, history, course."""
    values = {
        "seed": state.seed,
        "counters": {name: getattr(state, name) for name in _COUNTERS},
        "stopping": asdict(state.stopping),
        "history": list(state.history),
    }
    # An empty course is omitted, so that existing files and keys of fits stay valid.
    return {**values, "course": state.course} if state.course else values


def state_from_arrays(
    arrays: Mapping[str, npt.NDArray[np.generic]], values: Mapping[str, Any]
) -> TrainingState:
    """Return the state from the results of ``arrays_of_state`` and ``values_of_state``."""
    parts: dict[str, dict[str, Any]] = {"module": {}, "last": {}, "best": {}}
    moments: dict[int, dict[str, Any]] = {}
    for key, array in arrays.items():
        part, _, name = key.partition(".")
        if part == "optimizer":
            index, _, name = name.partition(".")
            moments.setdefault(int(index), {})[name] = array
        else:
            parts[part][name] = array
    return TrainingState(
        seed=values["seed"],
        weights=parts["module"],
        moments=moments,
        last_weights=parts["last"] or None,
        best_weights=parts["best"] or None,
        stopping=StoppingState(**values["stopping"]),
        history=tuple(values["history"]),
        course=values.get("course", {}),
        **values["counters"],
    )
