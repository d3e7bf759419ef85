# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Compile the kernel when a wheel is built, or from a checkout by ``python build.py``.

A wheel holds one library for each processor level; the level is picked when it is loaded.
ctypes loads the libraries without Python's headers, so that a wheel serves all versions of
Python.  Without a compiler the wheel has no library, and torch trains small networks two to
three times slower; with ``SK_TUNE_REQUIRE_KERNEL=1`` in the environment, as for published
wheels, a missing compiler is an error.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).parent
COMPILERS = ("cc", "gcc", "clang")
# These flags keep torch's results for infinities and NaN, and reject a switch that lacks a
# value of its enum.
FLAGS = (
    *("-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-pthread"),
    "-Werror=switch",
)
# Instruction sets of each kind of processor, the smallest first.
LEVELS = {
    "x86_64": ("x86-64-v3", "x86-64-v4"),
    "amd64": ("x86-64-v3", "x86-64-v4"),
    "arm64": ("armv8-a",),
    "aarch64": ("armv8-a",),
}


class KernelHook(BuildHookInterface[Any]):
    """Compiles the kernel when hatchling builds a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the kernel and tag the wheel with this platform."""
        try:
            libraries = build()
        except (OSError, subprocess.CalledProcessError) as error:
            if os.environ.get("SK_TUNE_REQUIRE_KERNEL") == "1":
                raise
            self.app.display_warning(f"sk_tune is built without its kernel: {error}")
            return
        build_data["artifacts"] += [p.relative_to(self.root).as_posix() for p in libraries]
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().translate(_AS_IN_TAGS)}"


_AS_IN_TAGS = str.maketrans("-.", "__")


def build(*flags: str) -> list[Path]:
    """Compile the libraries for this machine into this folder; return their paths."""
    for path in FOLDER.glob("epoch_*.so"):
        path.unlink()
    compiler = _compiler()
    machine = sysconfig.get_platform().replace("-", "_").lower()
    levels = next((v for k, v in LEVELS.items() if machine.endswith(k)), ())
    if not levels:
        raise FileNotFoundError(f"the kernel does not support this processor: {machine}")
    base = [*compiler, *FLAGS, *_system_flags(), *flags, str(FOLDER / "epoch.c"), "-lm"]
    paths = [FOLDER / f"epoch_{level}.so".replace("-", "_") for level in levels]
    commands = [
        [*base, f"-march={level}", "-o", str(path)]
        for level, path in zip(levels, paths, strict=True)
    ]
    compilations = [subprocess.Popen(command) for command in commands]
    # Wait for all: a compilation left running would still write into the folder.
    failed = [compilation for compilation in compilations if compilation.wait()]
    if failed:
        raise subprocess.CalledProcessError(failed[0].returncode, failed[0].args)
    return paths


def _compiler() -> list[str]:
    if "CC" in os.environ:
        return shlex.split(os.environ["CC"])
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise FileNotFoundError(f"no C compiler was found ({', '.join(COMPILERS)})")
    return [compiler]


def _system_flags() -> list[str]:
    """Return the flags of the operating system.

    On Windows, link MinGW's threads statically, and do not assume aligned vectors: the
    stack there has only 16 bytes of alignment (GCC's bug 54412).
    """
    if sys.platform == "win32":
        return ["-static", "-Wa,-muse-unaligned-vector-move"]
    return ["-fPIC"]


if __name__ == "__main__":
    print(*build(*sys.argv[1:]), sep="\n")
