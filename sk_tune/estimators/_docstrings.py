# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Docstrings of estimators, put together from the classes that declare the parameters.

A parameter is declared, given its default and described in one class.  Here the
descriptions are gathered into the docstring of the estimator that users see.
"""

import inspect
from ast import literal_eval
from typing import TypeVar

__all__ = ["with_inherited_docs"]

_Class = TypeVar("_Class", bound=type)


def with_inherited_docs(cls: _Class) -> _Class:
    """Complete ``Parameters`` and ``Attributes`` of a class from the classes it builds on.

    Parameters
    ----------
    cls : type
        An estimator whose docstring has the markers ``{parameters}`` and ``{attributes}``.

    Returns
    -------
    type
        The same class.
    """
    # An installation may run with docstrings stripped (python -OO).
    if cls.__doc__ is None:
        return cls
    doc = inspect.cleandoc(cls.__doc__)
    for section in ("parameters", "attributes"):
        texts = [_section(base, section.title()) for base in cls.__mro__[1:]]
        doc = doc.replace(f"{{{section}}}", "\n".join(text for text in texts if text))
    lines = [_with_own_default(cls, line) for line in doc.splitlines()]
    cls.__doc__ = "\n".join([*lines, ""])
    return cls


def _with_own_default(cls: type, line: str) -> str:
    """Put the default of `cls` into the first line of a parameter's description."""
    head, mark, default = line.partition(", default=")
    name = head.partition(" : ")[0]
    parameter = inspect.signature(cls).parameters.get(name)
    if not mark or parameter is None:
        return line
    own = parameter.default
    try:
        same = literal_eval(default) == own
    except ValueError:
        same = True
    text = f'"{own}"' if isinstance(own, str) else repr(own)
    return line if same else f"{head}{mark}{text}"


def _section(cls: type, title: str) -> str:
    """Return one section of a class's own docstring, without its heading."""
    if not cls.__module__.startswith("sk_tune."):
        return ""
    doc = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    lines = doc.splitlines()
    heading = [title, "-" * len(title)]
    starts = [i + 2 for i in range(len(lines)) if lines[i : i + 2] == heading]
    if not starts:
        return ""
    end = starts[0]
    while end < len(lines) and not lines[min(end + 1, len(lines) - 1)].startswith("---"):
        end += 1
    return "\n".join(lines[starts[0] : end]).strip()
