# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What compiled code refers to by name."""

import dis
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType

__all__ = ["attribute_names", "bound_names", "imported_names", "nested_code", "read_names"]

_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})


def nested_code(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function, and of what is defined in it, the outer one first."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested_code(constant)


def read_names(code: CodeType) -> list[str]:
    """Return the global names that code reads.

    Parameters
    ----------
    code : code
        Of a function.

    Returns
    -------
    list of str
        Sorted.
    """
    return list(_names(code, _READS))


def bound_names(code: CodeType) -> list[str]:
    """Return the global names that code sets or deletes, sorted."""
    return list(_names(code, frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})))


def imported_names(code: CodeType) -> list[str]:
    """Return the modules that code imports when it runs.

    Parameters
    ----------
    code : code
        Of a function.

    Returns
    -------
    list of str
        Sorted.
    """
    return list(_names(code, frozenset({"IMPORT_NAME"})))


def attribute_names(code: CodeType) -> set[str]:
    """Return all names that may be those of attributes.

    Parameters
    ----------
    code : code
        Of a function.

    Returns
    -------
    set of str
        Global names are among them.
    """
    return {name for own in nested_code(code) for name in own.co_names}


# Equal code has equal names, and is asked for them at each recording.
@lru_cache(4096)
def _names(code: CodeType, kinds: frozenset[str]) -> tuple[str, ...]:
    found = {
        step.argval
        for own in nested_code(code)
        for step in dis.get_instructions(own)
        if step.opname in kinds
    }
    return tuple(sorted(found))
