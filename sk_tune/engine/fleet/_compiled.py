# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The part of a fleet that is written in C, compiled where there is a compiler.

It is compiled for the processor at hand when a fleet needs it first, which takes a second
or two, and kept in the user's cache folder.  Nothing depends on it: without a compiler, or
with ``SK_TUNE_COMPILE=0`` in the environment, torch does the same more slowly.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["VARIABLE", "compiled_library"]

VARIABLE = "SK_TUNE_COMPILE"
_FOLDER = Path(__file__).parent
_SOURCE = _FOLDER / "_epoch.c"
_HEADER = _FOLDER / "_epoch.h"
_COMPILERS = ("cc", "gcc", "clang")
# What is compared or multiplied with an infinity or NaN gives what torch gives.
_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", "-pthread")
_FOR_THIS_PROCESSOR = "-march=native"
_MOST_SECONDS = 60


def compiled_library() -> ctypes.CDLL | None:
    """Return the compiled code, which is compiled now if it never was.

    Returns
    -------
    CDLL or None
        None if it is not wanted, or cannot be had.
    """
    return None if os.environ.get(VARIABLE) == "0" else _library()


@cache
def _library() -> ctypes.CDLL | None:
    compiler = os.environ.get("CC") or next(filter(shutil.which, _COMPILERS), None)
    if compiler is None or sys.platform == "win32":
        return None
    try:
        folder = _cache_folder()
        path = folder / f"epoch-{_digest(compiler)}.so"
        if not path.exists():
            _compile(compiler, path)
        return ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.SubprocessError):
        # No home, a disk that is full, a compiler that does not know C11.
        return None


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "sk_tune"
    # Only the user may put code there.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _digest(compiler: str) -> str:
    """Return a name for the code, the compiler and the processor."""
    parts = (
        _SOURCE.read_bytes(),
        _HEADER.read_bytes(),
        " ".join((compiler, *_FLAGS)).encode(),
        platform.machine().encode(),
        _processor(),
    )
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _processor() -> bytes:
    """Return what tells processors apart that a home folder may be shared by."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    names = (b"model name", b"flags", b"Features", b"CPU part")
    return b"\n".join(sorted({line for line in lines if line.startswith(names)}))


def _compile(compiler: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        for extra in ((_FOR_THIS_PROCESSOR,), ()):
            command = [compiler, *_FLAGS, *extra, str(_SOURCE), "-o", str(made), "-lm"]
            found = subprocess.run(
                command, capture_output=True, timeout=_MOST_SECONDS, check=False
            )
            if found.returncode == 0:
                # Other processes may do the same at the same time.
                os.replace(made, path)
                return
    raise RuntimeError(f"{compiler} failed.")
