# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The kernel as a library: the part of a fleet that is written in C, and its loading.

The folder ``kernel`` has a library for each processor level, compiled when sk_tune was
built; the fastest that this processor can run is loaded when a fleet first needs it.
The kernel is optional: without a library, or with ``SK_TUNE_KERNEL=0`` in the environment,
torch computes the same, more slowly.  The reason is logged once, at level INFO.
"""

import ctypes
import hashlib
import logging
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

# "0" disables the kernel; a level, such as "x86-64-v3", selects a library.
VARIABLE = "SK_TUNE_KERNEL"
_LOGGER = logging.getLogger(__name__)
_FOLDER = Path(__file__).parent / "kernel"
# Processor levels by the capability that torch detects, the fastest first.
_LEVELS = {"AVX512": ("x86-64-v4", "x86-64-v3"), "AVX2": ("x86-64-v3",)}
# ABI version: the meaning of struct fields and enum values, as in epoch.c.
_FORM = 10


def _fields(kind: str, *names: str) -> list[tuple[str, str]]:
    return [(name, kind) for name in names]


# The structs of epoch.c; loading compares offsets and sizes.
STRUCTS = {
    "Layer": np.dtype([
        *_fields("i8", "kind", "n_in", "n_out", "n_members", "n_lines"),
        *_fields("i8", "parameter", "buffer", "option"),
        *_fields("f8", "number", "momentum"),
        *_fields("i8", "n_before", "n_places", "n_cells", "n_run", "n_around"),
        *_fields("u8", "cells", "inner", "counts"),
    ]),
    "Parameter": np.dtype([
        *_fields("i8", "n_matrices", "n_rows", "n_columns"),
        *_fields("i8", "is_turned", "is_penalised", "n_inner"),
    ]),
    "Fleet": np.dtype([
        *_fields("u8", "layers", "parameters", "loss_options", "columns"),
        *_fields("i8", "n_embedded", "n_bins", "n_frequencies", "size", "n_plain"),
        *_fields("i8", "n_categories", "category_size"),
        *_fields("i8", "n_members", "link", "n_layers", "n_parameters"),
        *_fields("i8", "loss", "optimizer", "nesterov", "first", "most_samples"),
        *_fields("i8", "has_dropout", "has_penalty", "has_clip"),
    ]),
    "Network": np.dtype([
        *_fields("u8", "X", "y", "weight", "order", "batches", "rates"),
        *_fields("u8", "keys", "thresholds", "scales", "parts", "buffers"),
        *_fields("u8", "losses", "outputs", "sums"),
        *_fields("u8", "monitor_X", "monitor_y", "monitor_weight", "monitor_order"),
        *_fields("i8", "n_samples", "n_batches", "n_steps", "first_step", "loss_stride"),
        *_fields("i8", "n_per_epoch", "n_before", "n_monitor_data", "n_monitored"),
        *_fields("f8", "momentum", "beta_2", "eps", "decay", "smoothing", "l1", "clip"),
    ]),
}


class _Field(ctypes.Structure):
    """A field of a struct, or a whole struct, as the library was compiled."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("offset", ctypes.c_int64),
        ("size", ctypes.c_int64),
    )


def compiled_library() -> ctypes.CDLL | None:
    """Return the kernel; None if it is disabled or missing for this processor."""
    library, status = _loaded(os.environ.get(VARIABLE))
    if library is None:
        _log_reason(status)
    return library


def kernel_status() -> str:
    """Return the level of the kernel in use, or why none is in use.

    Returns
    -------
    str
        Such as "x86-64-v4", or "none, because ..." with the reason.

    Examples
    --------
    >>> from sk_tune.engine import kernel_status
    >>> isinstance(kernel_status(), str)
    True
    """
    return _loaded(os.environ.get(VARIABLE))[1]


def arithmetic() -> list[str]:
    """Return kernel and processors, on which the last bits of a training depend."""
    library = compiled_library()
    kernel = "" if library is None else _digest(library._name)
    capability = torch.backends.cpu.get_cpu_capability()
    devices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    names = map(torch.cuda.get_device_name, devices)
    return [kernel, capability, _hash(_processor()), *names]


@cache
def _loaded(setting: str | None) -> tuple[ctypes.CDLL | None, str]:
    """Return the library with its level, or None with the reason."""
    if setting == "0":
        return None, f"none, because {VARIABLE}=0 is in the environment"
    levels = _levels()
    if setting and setting not in levels:
        return (
            None,
            f"none, because {VARIABLE} must be 0 or one of {levels}. Got {setting!r}.",
        )
    reason = "sk_tune was built without a C compiler, or for other processors"
    for level in [setting] if setting else levels:
        path = _FOLDER / f"epoch_{level}.so".replace("-", "_")
        if path.exists():
            try:
                library = ctypes.CDLL(str(path))
                difference = _difference(library)
            except (OSError, AttributeError) as error:
                reason = str(error)
            else:
                if not difference:
                    return library, level
                reason = f"{path} was built from another version of sk_tune: {difference}"
    return None, f"none, because {reason}"


def _difference(library: Any) -> str:
    """Return the first difference between the structs of a library and `STRUCTS`, or ""."""
    form = library.sk_tune_form()
    if form != _FORM:
        return f"its form is {form}, not {_FORM}"
    n_fields = ctypes.c_int64()
    library.sk_tune_layout.restype = ctypes.POINTER(_Field)
    fields = library.sk_tune_layout(ctypes.byref(n_fields))[: n_fields.value]
    theirs = {field.name.decode(): (field.offset, field.size) for field in fields}
    ours = {name: (0, dtype.itemsize) for name, dtype in STRUCTS.items()}
    for struct, dtype in STRUCTS.items():
        for name, (kind, offset, *_) in (dtype.fields or {}).items():
            ours[f"{struct}.{name}"] = offset, kind.itemsize
    for name in theirs | ours:
        if theirs.get(name) != ours.get(name):
            return f"(offset, bytes) of {name} are {theirs.get(name)}, not {ours.get(name)}"
    return ""


def _levels() -> list[str]:
    if platform.machine().lower() in {"arm64", "aarch64"}:
        return ["armv8-a"]
    return list(_LEVELS.get(torch.backends.cpu.get_cpu_capability(), ()))


@cache
def _log_reason(reason: str) -> None:
    _LOGGER.info("Small networks are trained by torch, which is slower. Kernel: %s", reason)


@cache
def _processor() -> bytes:
    """Return the properties in which processors with a shared home folder may differ."""
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
