# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which classes and functions belong to an installed library, whose version says it all."""

import importlib.util
import operator
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["installed_name", "installed_version", "is_installed"]

# Ours counts by version also where it runs from a checkout.
_OWN = "sk_tune"
# Not the same in every installation, and rarely more than one of them.
_FOLDERS = ("purelib", "platlib")
# What such folders are called elsewhere: a user's own, and those of other interpreters that
# an environment sees.
_NAMES = frozenset({"site-packages", "dist-packages"})


def installed_name(code: Any) -> str | None:
    """Return name and version of a class or function that a library has under that name.

    None for what a user wrote, and for what a library made when it was called, which may
    hold anything: a closure, a decorated function, a lambda.
    """
    module, name = getattr(code, "__module__", None), getattr(code, "__qualname__", "")
    if not isinstance(module, str) or not name:
        return None
    version = installed_version(module)
    try:
        found = operator.attrgetter(name)(sys.modules[module])
    except (AttributeError, KeyError):
        return None
    return f"{module}.{name} {version}" if version and found is code else None


def installed_version(module: str) -> str:
    """Return the version of a module's library; empty if it is a user's, or has none."""
    return _version(module.partition(".")[0])


def is_installed(module: str) -> bool:
    """Return whether a module is of Python or an installed library, by its full name."""
    top = module.partition(".")[0]
    return top != "__main__" and (_is_of_python(top) or _is_placed(top))


@cache
def _version(top: str) -> str:
    if _is_of_python(top):
        return "" if top == "__main__" else f"python {sys.version_info[:2]}"
    version = getattr(sys.modules.get(top), "__version__", None)
    return version if _is_placed(top) and isinstance(version, str) else ""


def _is_of_python(top: str) -> bool:
    return top in sys.stdlib_module_names or top in sys.builtin_module_names


@cache
def _is_placed(top: str) -> bool:
    if top == _OWN:
        return True
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or [])]
    folders = [Path(sysconfig.get_path(name)).resolve() for name in _FOLDERS]
    found = [Path(place).resolve().parents for place in places if place is not None]
    return any(
        parent in folders or parent.name in _NAMES for own in found for parent in own
    )
