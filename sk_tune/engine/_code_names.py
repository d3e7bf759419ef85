# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Names that compiled code reads, and which classes belong to an installed library."""

import dis
import importlib.util
import operator
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from types import CodeType
from typing import Any

_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})


def nested_code(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function, and of what is defined in it, the outer one first."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested_code(constant)


def read_names(code: CodeType) -> list[str]:
    """Return the global names that code reads, sorted."""
    return list(_names(code, _READS))


def bound_names(code: CodeType) -> list[str]:
    """Return the global names that code sets or deletes, sorted."""
    return list(_names(code, frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})))


def imported_names(code: CodeType) -> list[str]:
    """Return the modules that code imports when it runs, sorted."""
    return list(_names(code, frozenset({"IMPORT_NAME"})))


def attribute_names(code: CodeType) -> set[str]:
    """Return all names that may be those of attributes, global names among them."""
    return {name for nested in nested_code(code) for name in nested.co_names}


# Equal code has equal names, and is asked for them at each recording.
@lru_cache(4096)
def _names(code: CodeType, kinds: frozenset[str]) -> tuple[str, ...]:
    found = {
        step.argval
        for nested in nested_code(code)
        for step in dis.get_instructions(nested)
        if step.opname in kinds
    }
    return tuple(sorted(found))


# Code of sk_tune counts by its version, also where it runs from a checkout.
_OWN = "sk_tune"
# Folders of installed packages; which one is used depends on the installation.
_FOLDERS = ("purelib", "platlib")
# Names of such folders elsewhere: in a user's home, and those of other interpreters that an
# environment sees.
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
        parent in folders or parent.name in _NAMES
        for parents in found
        for parent in parents
    )
