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
from functools import cache
from pathlib import Path

import torch

__all__ = ["VARIABLE", "arithmetic", "compiled_library"]

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
    """Return the compiled code, compiled now if it never was.

    None if it is not wanted, or cannot be had.
    """
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
