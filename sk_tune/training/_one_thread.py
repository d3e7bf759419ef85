# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How many threads pay for a network's arithmetic."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor, nn

from sk_tune.training._state import TrainingState

# Multiplications of a step, or of a pass over samples, up to which one thread does them.
# They take one core 3 to 5 ms.  Where other processes use the cores, each of a step's ten
# to twenty parallel sections may wait a time slice of the system, some milliseconds, for a
# thread that has no core: less than that is not worth to be shared.
_SMALL = 1e8


def is_small(state: TrainingState, X: Any) -> bool:
    """Return whether a network that uses a weight once a sample multiplies little."""
    weights = state.weights.values()
    try:
        shape = shape_of(X)
    except ValueError:
        # A list of sequences of unequal length.
        return False
    if len(shape) != 2 or any(w.ndim > 2 for w in weights):
        return False
    return takes_one_thread(shape[0] * sum(w.size for w in weights))


def shape_of(X: Any) -> tuple[int, ...]:
    """Return the shape of samples, also of objects that can only be made an array."""
    shape: tuple[int, ...] = X.shape if hasattr(X, "shape") else np.asarray(X).shape
    return shape


def takes_one_thread(n_multiplications: float) -> bool:
    """Return whether more threads would wait longer in a step than they compute."""
    return n_multiplications <= _SMALL


def n_weights(module: nn.Module) -> int:
    """Return how many weights a module multiplies by inputs: no biases, no scales."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1)


@contextmanager
def count_multiplications(module: nn.Module) -> Iterator[list[float]]:
    """Count the multiplications of each call of a module's layers in a block.

    A layer applies its weights once for each position of its output: of an image after its
    channels, of a sequence before its features. The layers have hooks in the block.
    """
    found: list[float] = []

    def note(layer: nn.Module, _: Any, outputs: Any) -> None:
        first = outputs[0] if isinstance(outputs, tuple) else outputs
        weights = [w for w in layer.parameters(recurse=False) if w.ndim > 1]
        if weights and isinstance(first, Tensor) and first.numel():
            is_spatial = weights[0].ndim > 2 and first.ndim > 2
            size = first.shape[1 if is_spatial else -1]
            found.append(first.numel() / size * sum(w.numel() for w in weights))

    # Compiled to TorchScript, a layer takes no hooks.
    layers = [m for m in module.modules() if not isinstance(m, torch.jit.ScriptModule)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


# Threads that are in a block, with torch's number before the first of them: one that begins
# while another is in its block finds torch's number to be 1.
_INSIDE: dict[int, int] = {}
_LOCK = threading.Lock()


@contextmanager
def one_thread(*, wanted: bool = True) -> Iterator[None]:
    """Let torch compute in one thread: sums then have one order, and workers one core.

    Afterwards torch has as many threads as before, or as many as code in the block asked
    for.
    """
    thread = threading.get_ident()
    if not wanted or thread in _INSIDE:
        yield
        return
    before = torch.get_num_threads()
    try:
        with _LOCK:
            # Where nobody is inside, nobody has set the number either.
            before = next(iter(_INSIDE.values()), torch.get_num_threads())
            _INSIDE[thread] = before
        torch.set_num_threads(1)
        yield
    finally:
        # First, for who enters next takes the number that it finds if nobody is inside.
        if torch.get_num_threads() == 1:
            torch.set_num_threads(before)
        with _LOCK:
            _INSIDE.pop(thread, None)


def processes_per_cpu() -> float:
    """Return how many processes wait for each processor, by the last minute; at least 1."""
    try:
        return float(max(1.0, os.getloadavg()[0] / joblib.cpu_count()))
    except (AttributeError, OSError):
        return 1.0
