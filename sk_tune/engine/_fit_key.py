# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A key that is equal, in any process, for fits that give the same network.

It is a digest of all that training depends on: parameters, bytes of the data, rows,
weights, seed, epochs, where it goes on from, versions, device, processor and whether
compiled code trains small networks there.  Equal keys mean equal results; where that cannot
be told, there is no key.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import sklearn
import skorch
import torch
from torch.utils.data import Dataset

import sk_tune
from sk_tune._json_values import encode
from sk_tune.engine._data_digest import array_digest, sha256
from sk_tune.engine._records import Fit
from sk_tune.engine._value_digest import value_digest
from sk_tune.engine.fleet import arithmetic
from sk_tune.estimators import NetworkEstimator
from sk_tune.training import TrainingState, arrays_of_state, values_of_state

__all__ = ["FitKeys"]

# To be counted up when the same fit gives other numbers, or its result another form.
_FORMAT = 6
# Parameters that say nothing of the network of an estimator of ours, or of skorch's; the
# seed is a part of the fit.  A class that a user derived may read them.
_UNHEARD = frozenset({"random_state", "verbose", "warm_start"})
_KNOWN = ("sk_tune.", "skorch.")
# What each epoch recorded of its own time.
_TIME = "dur"


class FitKeys:
    """Makes the keys of fits, and reads what several of them share once.

    The results of the "fleet" and the "reference" engine may differ in the last bits.
    """

    def __init__(self, engine: str = "fleet") -> None:
        self._engine = engine
        # With the object itself, so that its id stays its own.
        self._digests: dict[int, tuple[Any, str]] = {}

    def key(self, fit: Fit) -> str:
        """Return the key of a fit, which has a seed and a number of epochs.

        Raises TypeError if a parameter or the data cannot be read.
        """
        parts = [
            _FORMAT,
            self._engine,
            _surroundings(),
            self._shared(type(fit.estimator)),
            {name: self._parameter(value) for name, value in _parameters(fit.estimator)},
            [self._shared(part) for part in (fit.X, fit.y, fit.sample_weight)],
            [self._shared(part) for part in (fit.rows, fit.monitor)],
            value_digest(fit.seed),
            value_digest(fit.n_epochs),
            None if fit.state is None else _digest_of_state(fit.state),
        ]
        return sha256(json.dumps(parts))

    def _parameter(self, value: Any) -> str:
        # Classes are what many candidates have in common, and take longest to read.
        return self._shared(value) if callable(value) else value_digest(value)

    def _shared(self, value: Any) -> str:
        if isinstance(value, Dataset):
            raise TypeError(
                f"what {type(value).__name__} returns is known only when it is asked"
            )
        known = self._digests.get(id(value))
        if known is None:
            known = self._digests[id(value)] = (value, value_digest(value))
        return known[1]


def _surroundings() -> list[str]:
    """Return what a result depends on beside the fit."""
    libraries = (sk_tune, torch, skorch, sklearn, np)
    versions = [lib.__version__ for lib in libraries]
    return [*versions, str(torch.get_default_dtype()), *arithmetic()]


def _parameters(estimator: Any) -> Iterator[tuple[str, Any]]:
    is_known = type(estimator).__module__.startswith(_KNOWN)
    for name, value in sorted(estimator.get_params(deep=False).items()):
        if name.startswith("_") or (is_known and name in _UNHEARD):
            continue
        if name == "class_weight" and isinstance(value, dict):
            yield name, sorted((repr(label), weight) for label, weight in value.items())
        elif (
            name == "device" and isinstance(estimator, NetworkEstimator) and value == "auto"
        ):
            yield name, "cuda" if torch.cuda.is_available() else "cpu"
        else:
            yield name, value


def _digest_of_state(state: TrainingState) -> str:
    arrays = arrays_of_state(state)
    # Its history is a part of the result.
    history = [{k: v for k, v in row.items() if k != _TIME} for row in state.history]
    values = {**values_of_state(state), "history": history}
    # The values of an array of objects: there are none in a state.
    own = [[name, array_digest(arrays[name], value_digest)] for name in sorted(arrays)]
    return sha256(json.dumps([encode(values), own]))
