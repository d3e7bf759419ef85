# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The part of a fleet that is written in C, compiled where there is a compiler.

It is compiled for the processor at hand when a fleet needs it first, which takes a second
or two, and kept in the user's cache folder.  Nothing depends on it: without a compiler, or
with ``SK_TUNE_COMPILE=0`` in the environment, torch does the same more slowly.  Why there
is none is told once, at level INFO of this module's logger.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sk_tune.engine.fleet._chain import ChainProgram, Program
from sk_tune.engine.fleet._layers import Activation, Dropout, Layer, Linear
from sk_tune.engine.fleet._recipe import LOSSES, FleetNetwork, Recipe
from sk_tune.training import TensorSet

__all__ = [
    "MOST_LAYERS",
    "Step",
    "arithmetic",
    "compiled_library",
    "holds_classes",
    "is_plain",
    "is_plain_input",
    "number_of_loss",
    "steps_of",
]

VARIABLE = "SK_TUNE_COMPILE"
_LOGGER = logging.getLogger(__name__)
_FOLDER = Path(__file__).parent
_SOURCE = _FOLDER / "_epoch.c"
_HEADER = _FOLDER / "_epoch.h"
_COMPILERS = ("cc", "gcc", "clang")
# What is compared or multiplied with an infinity or NaN gives what torch gives.
_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", "-pthread")
_FOR_THIS_PROCESSOR = "-march=native"
_MOST_SECONDS = 60


def compiled_library() -> ctypes.CDLL | None:
    """Return the compiled code, compiled now if it never was; None if there is none."""
    if os.environ.get(VARIABLE) == "0":
        _tell(f"{VARIABLE}=0 is in the environment")
        return None
    return _library()


def arithmetic() -> list[str]:
    """Return what the last bits of a training depend on: compiled code and processor."""
    library = compiled_library()
    # Less what the compiler made of it, which is the same for the same source and flags.
    kernel = "" if library is None else Path(library._name).stem.rpartition("-")[0]
    capability = torch.backends.cpu.get_cpu_capability()
    devices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    names = map(torch.cuda.get_device_name, devices)
    return [kernel, capability, _hash(_processor()), *names]


@cache
def _library() -> ctypes.CDLL | None:
    try:
        compiler = _compiler()
        if compiler is None:
            _tell(f"no compiler was found ({', '.join(_COMPILERS)})")
            return None
        folder, digest = _cache_folder(), _digest(compiler)
        path = _kept(folder, digest) or _compile(compiler, folder, digest)
        library = ctypes.CDLL(str(path))
        library.sk_tune_run  # noqa: B018 - raises if it is not there
    except Exception as error:  # noqa: BLE001 - no home, a full disk, a compiler that knows no C11, ...
        _tell(f"{type(error).__name__}: {error}")
        return None
    return library


@cache
def _tell(reason: str) -> None:
    _LOGGER.info(
        "Small networks are trained by torch, which is slower, for there is no compiled "
        "code: %s",
        reason,
    )


def _kept(folder: Path, digest: str) -> Path | None:
    """Return code that was kept, if it is whole: what is damaged ends the process."""
    for path in folder.glob(f"epoch-{digest}-*.so"):
        if path.stem.rpartition("-")[2] == _hash(path.read_bytes()):
            return path
        path.unlink(missing_ok=True)
    return None


def _compiler() -> list[str] | None:
    """Return the command that compiles, or None."""
    if sys.platform == "win32":
        return None
    if "CC" in os.environ:
        return shlex.split(os.environ["CC"]) or None
    found = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if found is None or (sys.platform == "darwin" and not _has_tools()):
        return None
    return [found]


def _has_tools() -> bool:
    """Return whether macOS would not offer to install a compiler when it is called."""
    command = ["/usr/bin/xcode-select", "-p"]
    found = subprocess.run(command, capture_output=True, timeout=_MOST_SECONDS, check=False)
    return found.returncode == 0


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "sk_tune"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owned = folder.stat()
    # What others may write there would be run as the user.
    if owned.st_uid != os.getuid() or owned.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(
            f"Others may write to {folder}. Make it yours alone: chmod 700 {folder}"
        )
    return folder


def _digest(compiler: list[str]) -> str:
    """Return a name for the code, the compiler and the processor."""
    parts = (
        _SOURCE.read_bytes(),
        _HEADER.read_bytes(),
        " ".join((*compiler, *_FLAGS)).encode(),
        platform.machine().encode(),
        _processor(),
    )
    return _hash(b"\0".join(parts))


@cache
def _processor() -> bytes:
    """Return what tells processors apart that a home folder may be shared by."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    names = (b"model name", b"flags", b"Features", b"CPU part")
    return b"\n".join(sorted({line for line in lines if line.startswith(names)}))


def _compile(compiler: list[str], folder: Path, digest: str) -> Path:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        made = Path(own) / "epoch.so"
        for extra in ((_FOR_THIS_PROCESSOR,), ()):
            command = [*compiler, *_FLAGS, *extra, str(_SOURCE), "-o", str(made), "-lm"]
            found = subprocess.run(
                command, capture_output=True, timeout=_MOST_SECONDS, check=False
            )
            if found.returncode == 0:
                path = folder / f"epoch-{digest}-{_hash(made.read_bytes())}.so"
                # Other processes may do the same at the same time.
                os.replace(made, path)
                return path
    raise RuntimeError(f"{compiler[0]} failed. {found.stderr.decode(errors='replace')}")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


# As in _epoch.c.
MOST_LAYERS = 16
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


def is_plain(program: Program, recipe: Recipe, networks: Sequence[FleetNetwork]) -> bool:
    """Return whether compiled code knows how to train networks, and takes less time."""
    loss, steps = number_of_loss(recipe), steps_of(program)
    return bool(steps) and loss >= 0 and _has_plain_data(program, networks, loss, steps)


def number_of_loss(recipe: Recipe) -> int:
    """Return the number that the compiled code has for a loss, -1 for others."""
    return next((i for i, n in enumerate(_LOSSES) if recipe.loss is LOSSES[n]), -1)


def steps_of(program: Program) -> list[Step]:
    """Return the linear layers of a chain that compiled code knows.

    None of other programs.
    """
    if not isinstance(program, ChainProgram) or program.members > 1:
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
        # Of networks that share the same data, once.
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
