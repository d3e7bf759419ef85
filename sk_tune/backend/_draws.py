# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Where torch's global generator will stand when a task begins that was not run yet."""

from collections.abc import Callable
from typing import Any

import torch

from sk_tune.adoption import FitRequested, adoption
from sk_tune.backend._fingerprint import value_fingerprint
from sk_tune.backend._shared_objects import SharedObjects
from sk_tune.backend._task_copy import copy_task, silenced
from sk_tune.engine import count_words, draw_as_fit, skip_words
from sk_tune.estimators import NetworkEstimator, net_arrays
from sk_tune.training import TrainingState, seed_of_state


class Draws:
    """The random numbers that the plain skorch nets of a block draw."""

    def __init__(self) -> None:
        # Words drawn in a step of training, by module and size of the batch.
        self._words: dict[Any, int] = {}

    def as_fit(self, net: Any, X: Any, y: Any) -> None:
        """Initialise a net, and let it draw what its ``fit`` would."""
        options = net.get_params_for("module")
        values = tuple((n, value_fingerprint(v)) for n, v in sorted(options.items()))
        key = (value_fingerprint(net.module), values)
        draw_as_fit(net, X, y, self._words, key)


class RestOfTasks:
    """The random numbers that tasks of one kind would draw after they were left.

    The count of the first task is taken for that of all.
    """

    def __init__(self, draws: Draws, shared: SharedObjects) -> None:
        self._draws = draws
        self._shared = shared
        self._n_words: int | None = None

    def skip(self, task: Callable[[], Any], start: torch.Tensor) -> None:
        """Draw what a task would still draw that a plain skorch net has left."""
        if self._n_words is None:
            left = torch.get_rng_state()
            self._n_words = 0
            if not torch.equal(left, start):
                torch.set_rng_state(start)
                self._rehearse(task)
                self._n_words = count_words(left, torch.get_rng_state()) or 0
                torch.set_rng_state(left)
        skip_words(self._n_words)

    def _rehearse(self, task: Callable[[], Any]) -> None:
        try:
            with self._shared.unchanged(), adoption(_Rehearser(self._draws)), silenced():
                copied = copy_task(task)
                if copied is not None:
                    copied()
        except (FitRequested, Exception):  # noqa: BLE001 - the draws until here count
            pass


class _Rehearser:
    """Lets a task run to its end with networks that draw all they would, untrained."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws

    def decline(self, reason: str) -> None:
        """Leave the task: the draws of a network that trains by itself are unknown."""
        raise FitRequested

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: Any) -> TrainingState:
        """Return a training of no epochs that ends where the real one would."""
        if isinstance(estimator, NetworkEstimator):
            raise FitRequested
        start = torch.get_rng_state()
        self._draws.as_fit(estimator, X, y)
        end = torch.get_rng_state().numpy().tobytes()
        torch.set_rng_state(start)
        course = {"generator": end.hex()}
        seed = seed_of_state(start.numpy().tobytes())
        return TrainingState(seed=seed, course=course, **net_arrays(estimator))
