# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A training's state as named arrays and plain values, which any file format can hold."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from sk_tune.training._early_stopping import StoppingState
from sk_tune.training._state import TrainingState

__all__ = ["arrays_of_state", "state_from_arrays", "values_of_state"]

_COUNTERS = ("n_steps", "first_epoch")


def arrays_of_state(state: TrainingState) -> dict[str, npt.NDArray[np.generic]]:
    """Return all arrays of a state under flat names.

    Parameters
    ----------
    state : TrainingState
        Of one network.

    Returns
    -------
    dict of str to ndarray
        "module.", "last.", "best." and "optimizer.<position>." before their own names.

    Raises
    ------
    ValueError
        If the state has more than arrays and plain values can tell.
    """
    if state.modules:
        kinds = ", ".join(type(module).__name__ for module in state.modules.values())
        raise ValueError(f"{kinds} has a state beside its state_dict")
    parts = {
        "module": state.weights,
        "last": state.last_weights or {},
        "best": state.best_weights or {},
        **{f"optimizer.{index}": own for index, own in state.moments.items()},
    }
    return {
        f"{part}.{name}": array
        for part, named in parts.items()
        for name, array in named.items()
    }


def values_of_state(state: TrainingState) -> dict[str, Any]:
    """Return what a state has beside arrays.

    Parameters
    ----------
    state : TrainingState
        Of one network.

    Returns
    -------
    dict of str to object
        The seed, counters, what early stopping remembers, the history, and the course
        if there is one.
    """
    values = {
        "seed": state.seed,
        "counters": {name: getattr(state, name) for name in _COUNTERS},
        "stopping": asdict(state.stopping),
        "history": list(state.history),
    }
    # Left out otherwise, so that files and keys of fits are what they were.
    return {**values, "course": state.course} if state.course else values


def state_from_arrays(
    arrays: Mapping[str, npt.NDArray[np.generic]], values: Mapping[str, Any]
) -> TrainingState:
    """Return the state that was taken apart.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        From :func:`arrays_of_state`.
    values : mapping of str to object
        From :func:`values_of_state`.

    Returns
    -------
    TrainingState
        Equal to the one before.
    """
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
