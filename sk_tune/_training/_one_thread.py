# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Choice of the number of threads for a network's arithmetic."""

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from sk_tune._training._state import TrainingState

# Number of multiplications of a step, or of a pass over samples, up to which one thread is
# used.  One core takes 3 to 5 ms for them.  If other processes use the cores, each of a
# step's ten to twenty parallel sections may wait for a thread without a core for a time
# slice of some milliseconds, so less work is not worth sharing.
_SMALL = 1e8
# Processor seconds of a measurement of the slowdown, and seconds for which it holds.
_SECONDS_TO_MEASURE, _SECONDS_OF_SLOWDOWN = 0.05, 10.0


def is_small(state: TrainingState, X: Any) -> bool:
    """Return whether a fully connected network has little arithmetic for X."""
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
    """Return the shape of samples; np.shape would ask their own ``__array_function__``."""
    shape: tuple[int, ...] = X.shape if hasattr(X, "shape") else np.asarray(X).shape
    return shape


def takes_one_thread(n_multiplications: float) -> bool:
    """Return whether one thread is faster than several in a step of this size."""
    return n_multiplications <= _SMALL


def n_weights(module: nn.Module) -> int:
    """Return the number of weights that multiply inputs, without biases and scales."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1)


@contextmanager
def count_multiplications(module: nn.Module) -> Iterator[list[float]]:
    """Count the multiplications of each call of a module's layers in a block, by hooks."""
    counts: list[float] = []

    def note(layer: nn.Module, _: Any, outputs: Any) -> None:
        first = outputs[0] if isinstance(outputs, tuple) else outputs
        weights = [w for w in layer.parameters(recurse=False) if w.ndim > 1]
        if weights and isinstance(first, Tensor) and first.numel():
            is_spatial = weights[0].ndim > 2 and first.ndim > 2
            size = first.shape[1 if is_spatial else -1]
            counts.append(first.numel() / size * sum(w.numel() for w in weights))

    # TorchScript modules do not support hooks.
    layers = [m for m in module.modules() if not isinstance(m, torch.jit.ScriptModule)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def set_threads(n_threads: int) -> None:
    """Let torch compute with `n_threads` in this thread only.

    ``torch.set_num_threads`` also sets the number for all threads that use torch later.
    """
    for setter in _thread_setters():
        setter(n_threads)


@cache
def _thread_setters() -> tuple[Callable[[int], Any], ...]:
    """Return setters of the calling thread's number in torch's OpenMP and MKL, if found."""
    setters: list[Callable[[int], Any]] = []
    n_threads = torch.get_num_threads()
    for library in ThreadpoolController().select(user_api="openmp").lib_controllers:
        n_before = library.num_threads
        library.set_num_threads(n_threads + 1)
        if torch.get_num_threads() > n_threads:
            setters.append(library.set_num_threads)
        library.set_num_threads(n_before)
    if setters and torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        try:
            setters.append(ctypes.CDLL("libtorch_cpu.so").MKL_Set_Num_Threads_Local)
        except (AttributeError, OSError):
            setters.clear()
    return tuple(setters) or (torch.set_num_threads,)


@contextmanager
def one_thread(*, wanted: bool = True) -> Iterator[None]:
    """Let torch compute in one thread: sums have one order, and a worker uses one core."""
    n_threads = torch.get_num_threads()
    if not wanted or n_threads == 1:
        yield
        return
    set_threads(1)
    try:
        yield
    finally:
        if torch.get_num_threads() == 1:
            set_threads(n_threads)


def slowdown() -> float:
    """Return this thread's seconds for a second of computation; 1 on an idle machine."""
    return _slowdown_in(int(time.monotonic() / _SECONDS_OF_SLOWDOWN))


@lru_cache(maxsize=1)
def _slowdown_in(period: int) -> float:
    """Measure the slowdown, once in each `period`."""
    start, processor = time.perf_counter(), time.thread_time()
    while (spent := time.thread_time() - processor) < _SECONDS_TO_MEASURE:
        pass
    return max(1.0, (time.perf_counter() - start) / spent)
