# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The kernel: the part of a fleet that is written in C, compiled when sk_tune was built.

A library for each level of processors lies in the folder ``kernel``; the fastest that the
processor at hand can run is loaded when a fleet needs it first.  Nothing depends on it:
without a library, or with ``SK_TUNE_KERNEL=0`` in the environment, torch does the same more
slowly.  Why there is none is told once, at level INFO of this module's logger.
"""

import ctypes
import hashlib
import logging
import os
import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sk_tune.fleets._layers import Activation, Dropout, Layer, Linear
from sk_tune.fleets._program import Program
from sk_tune.fleets._recipe import LOSSES, FleetNetwork, Recipe
from sk_tune.training import TensorSet

__all__ = [
    "MOST_LAYERS",
    "OPTIMIZERS",
    "Step",
    "arithmetic",
    "compiled_library",
    "holds_classes",
    "is_plain_input",
    "kernel_status",
    "number_of_loss",
    "steps_of",
    "why_not",
]

# "0" for none, or a level, such as "x86-64-v3".
VARIABLE = "SK_TUNE_KERNEL"
_LOGGER = logging.getLogger(__name__)
_FOLDER = Path(__file__).parent / "kernel"
# The levels that a processor can run by what torch finds it capable of, the fastest first.
_LEVELS = {"AVX512": ("x86-64-v4", "x86-64-v3"), "AVX2": ("x86-64-v3",)}
_LEVELS_OF_ARM = ("armv8-a",)


def compiled_library() -> ctypes.CDLL | None:
    """Return the kernel; None if it is not wanted, or there is none for this processor."""
    library, status = _loaded(os.environ.get(VARIABLE))
    if library is None:
        _tell(status)
    return library


def kernel_status() -> str:
    """Return the level of the kernel in use, or why there is none."""
    return _loaded(os.environ.get(VARIABLE))[1]


def arithmetic() -> list[str]:
    """Return what the last bits of a training depend on: kernel and processor."""
    library = compiled_library()
    kernel = "" if library is None else _digest(library._name)
    capability = torch.backends.cpu.get_cpu_capability()
    devices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    names = map(torch.cuda.get_device_name, devices)
    return [kernel, capability, _hash(_processor()), *names]


@cache
def _loaded(wanted: str | None) -> tuple[ctypes.CDLL | None, str]:
    """Return the library, and its level or the reason why there is none."""
    if wanted == "0":
        return None, f"none, because {VARIABLE}=0 is in the environment"
    levels = _levels()
    if wanted and wanted not in levels:
        return (
            None,
            f"none, because {VARIABLE} must be 0 or one of {levels}. Got {wanted!r}.",
        )
    reason = "sk_tune was built without a C compiler, or for other processors"
    for level in [wanted] if wanted else levels:
        path = _FOLDER / f"epoch-{level}.so"
        if path.exists():
            try:
                library = ctypes.CDLL(str(path))
                library.sk_tune_run  # noqa: B018 - raises if it is not there
            except (OSError, AttributeError) as error:
                reason = str(error)
            else:
                return library, level
    return None, f"none, because {reason}"


def _levels() -> list[str]:
    if platform.machine().lower() in {"arm64", "aarch64"}:
        return list(_LEVELS_OF_ARM)
    return list(_LEVELS.get(torch.backends.cpu.get_cpu_capability(), ()))


@cache
def _tell(reason: str) -> None:
    _LOGGER.info("Small networks are trained by torch, which is slower. Kernel: %s", reason)


@cache
def _processor() -> bytes:
    """Return what tells processors apart that a home folder may be shared by."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    names = (b"model name", b"flags", b"Features", b"CPU part")
    return b"\n".join(sorted({line for line in lines if line.startswith(names)}))


@cache
def _digest(path: str) -> str:
    return _hash(Path(path).read_bytes())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


# epoch.c has the same limit.
MOST_LAYERS = 16
# The position of a name is its number in epoch.c.
OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
# Weights of a layer from which on the products of torch's libraries, which keep parts of
# them in the cache, take less time.
_MOST_WEIGHTS = 2**17
_LOSSES = [
    "cross_entropy",
    "binary_cross_entropy",
    "squared_error",
    "absolute_error",
    "huber",
]
# Below, what Adam divides padding by may be 0.
_LEAST_EPS = 1e-20


class Step(NamedTuple):
    """A linear layer, whether a ReLU follows, and the number of its dropout layer or -1."""

    linear: Linear
    has_relu: bool
    dropout: int


def why_not(program: Program, recipe: Recipe, networks: Sequence[FleetNetwork]) -> str:
    """Return why the kernel does not train networks; nothing if it does, and gains time."""
    library = compiled_library()
    if library is None:
        return f"the kernel in use is {kernel_status()}"
    loss, steps = number_of_loss(recipe), steps_of(program)
    if loss < 0 or recipe.optimizer not in OPTIMIZERS:
        return "the kernel does not know the loss or the optimizer"
    if not steps:
        return "the network has layers that the kernel does not know, or large ones"
    if not _has_plain_data(program, networks, loss, steps):
        return "the data, or how they are to be augmented, are not what the kernel reads"
    return ""


def number_of_loss(recipe: Recipe) -> int:
    """Return the number that the compiled code has for a loss, -1 for others."""
    return next((i for i, n in enumerate(_LOSSES) if recipe.loss is LOSSES[n]), -1)


def steps_of(program: Program) -> list[Step]:
    """Return the linear layers of a chain that compiled code knows.

    None of other programs.
    """
    if program.members > 1:
        return []
    steps: list[Step] = []
    for layer in program.layers:
        if not _join(steps, layer):
            return []
    if not 0 < len(steps) <= MOST_LAYERS or steps[-1].has_relu or steps[-1].dropout >= 0:
        return []
    tensors = program.parameters.tensors
    largest = max(tensors[step.linear.weight][0].numel() for step in steps)
    return [] if largest > _MOST_WEIGHTS or program.buffers.tensors else steps


def _join(steps: list[Step], layer: Layer) -> bool:
    """Add a layer of a chain; return whether there is a place for it."""
    if type(layer) is Linear:
        steps.append(Step(layer, has_relu=False, dropout=-1))
        return True
    if not steps or steps[-1].dropout >= 0:
        return False
    if isinstance(layer, Activation) and layer.is_relu and not steps[-1].has_relu:
        steps[-1] = steps[-1]._replace(has_relu=True)
        return True
    if isinstance(layer, Dropout) and layer.seeded is not None:
        steps[-1] = steps[-1]._replace(dropout=layer.seeded)
        return True
    return False


def _has_plain_data(
    program: Program, networks: Sequence[FleetNetwork], loss: int, steps: list[Step]
) -> bool:
    first, last = (
        program.parameters.tensors[step.linear.weight] for step in (steps[0], steps[-1])
    )
    if first.device.type != "cpu" or first.dtype not in {torch.float32, torch.float64}:
        return False
    if networks[0].augmentation or any(
        network.settings.eps < _LEAST_EPS for network in networks
    ):
        return False
    sets = [network.train for network in networks]
    return all(
        is_plain_input(s.X, first.dtype, first.shape[2])
        and _has_plain_targets(s, first.dtype, loss, last.shape[1])
        # Data that several networks share are looked at once.
        for s in {(id(s.X), id(s.y), id(s.sample_weight)): s for s in sets}.values()
    )


def is_plain_input(X: Tensor, dtype: torch.dtype, n_features: int) -> bool:
    """Return whether inputs are contiguous: one sample's features after the other's."""
    has_features = X.ndim > 1 and X.shape[1:].numel() == n_features
    return X.dtype == dtype and X.is_contiguous() and has_features


def _has_plain_targets(s: TensorSet, dtype: torch.dtype, loss: int, n_outputs: int) -> bool:
    y, n = s.y, len(s.X)
    if y is None or not y.is_contiguous():
        return False
    if s.sample_weight is not None and s.sample_weight.shape != (n,):
        return False
    if loss == 0:
        return y.dtype == torch.int64 and y.shape == (n,)
    return y.dtype == dtype and y.shape == (n, n_outputs)


def holds_classes(s: TensorSet) -> bool:
    """Return whether each sample has a class, negative if unknown, and equal weight."""
    y = s.y
    if y is None or s.sample_weight is not None or not len(s):
        return False
    is_plain = y.is_contiguous() and y.dtype == torch.int64 and y.shape == (len(s.X),)
    return is_plain and int(y.min()) >= 0
