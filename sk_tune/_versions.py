# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Versions of an installation's parts, for bug reports."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from sk_tune._engine import kernel_status

_DEPENDENCIES = (
    "sk-tune", "pip", "torch", "skorch", "scikit-learn", "scikit-optimize", "numpy",
    "scipy", "pandas", "joblib", "optuna", "dask", "ray",
)  # fmt: skip


def show_versions() -> None:
    """Print details for bug reports: system, versions, and the kernel in use.

    The kernel is the compiled code that trains small networks.  Without it, torch trains
    them more slowly, and the reason is printed.  The format is the same as in
    :func:`sklearn.show_versions`.

    Examples
    --------
    >>> import sk_tune
    >>> sk_tune.show_versions()  # doctest: +ELLIPSIS
    <BLANKLINE>
    System:
        python: 3...
    """
    print("\nSystem:")
    _print({
        "python": sys.version.replace("\n", " "),
        "executable": sys.executable,
        "machine": platform.platform(),
    })
    print("\nPython dependencies:")
    _print({name: package_version(name) for name in _DEPENDENCIES})
    print("\nKernel:")
    _print({"in use": kernel_status()})


def _print(lines: dict[str, str]) -> None:
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:>{width}}: {value}")


def package_version(name: str) -> str:
    """Return the version of a package, or that it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
