# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Compile the kernel when a wheel is built, or from a checkout by ``python build.py``.

One library for each level of processors goes into the wheel; which of them is used is
decided where it is installed.  They are loaded by ctypes and know nothing of Python, so
that a wheel serves all its versions.  Where there is no compiler the wheel has no library,
and torch trains small networks, two to three times slower; with
``SK_TUNE_REQUIRE_KERNEL=1`` in the environment, as where wheels are made for others, that
is an error.
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
# With these flags, results with infinities and NaN are those of torch, and a name of an
# enum without a branch is an error.
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
    """Compiles the kernel when hatchling puts a wheel together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and name the wheel for this platform."""
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
    """Return the libraries of this machine, compiled into this folder.

    Raises FileNotFoundError if there is no compiler, CalledProcessError if it fails.
    """
    for path in FOLDER.glob("epoch_*.so"):
        path.unlink()
    compiler = _compiler()
    machine = sysconfig.get_platform().replace("-", "_").lower()
    levels = next((v for k, v in LEVELS.items() if machine.endswith(k)), ())
    if not levels:
        raise FileNotFoundError(f"it knows no processors of this kind: {machine}")
    base = [*compiler, *FLAGS, *_system_flags(), *flags, str(FOLDER / "epoch.c"), "-lm"]
    made = [FOLDER / f"epoch_{level}.so".replace("-", "_") for level in levels]
    commands = [
        [*base, f"-march={level}", "-o", str(path)]
        for level, path in zip(levels, made, strict=True)
    ]
    compilations = [subprocess.Popen(command) for command in commands]
    # All are waited for: one that goes on would write into the folder.
    failed = [compilation for compilation in compilations if compilation.wait()]
    if failed:
        raise subprocess.CalledProcessError(failed[0].returncode, failed[0].args)
    return made


def _compiler() -> list[str]:
    if "CC" in os.environ:
        return shlex.split(os.environ["CC"])
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    if found is None:
        raise FileNotFoundError(f"no C compiler was found ({', '.join(COMPILERS)})")
    return [found]


def _system_flags() -> list[str]:
    """Return what a system needs.

    On Windows MinGW's threads go into the library; and vectors may lie anywhere on the
    stack, which there has only 16 bytes of alignment (GCC's fault 54412).
    """
    if sys.platform == "win32":
        return ["-static", "-Wa,-muse-unaligned-vector-move"]
    return ["-fPIC"]


if __name__ == "__main__":
    print(*build(*sys.argv[1:]), sep="\n")
