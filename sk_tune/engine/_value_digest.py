# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Digests of parameters: plain values, objects by their state, code by what it does.

A class or function of a user counts with its compiled code, its defaults, the variables
around it, the global variables that it reads, and the classes and functions that it uses,
all the way down.  What belongs to an installed library counts by name and version.

The compiled code is what runs.  A source would not do: it is read from a file that may have
been edited since; two functions of one line share it; a class that a function makes has
the same one whatever the function was called with.
"""

import copyreg
import hashlib
import importlib
import logging
import os
import sys
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np
from torch import Tensor

from sk_tune.engine._data_digest import data_digest
from sk_tune.engine._installed import installed_name, installed_version
from sk_tune.engine._names_in_code import attribute_names, imported_names, read_names

__all__ = ["value_digest"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, type(...), slice)
# What Python and its classes keep for themselves.
_UNHEARD = frozenset({
    "__abstractmethods__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__dataclass_fields__",
    "__dataclass_params__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__orig_bases__",
    "__parameters__",
    "__static_attributes__",
    "__weakref__",
    "_abc_impl",
})
# Where code finds what none of its names tells, by the module and in Python's own names.
_SURROUNDINGS = {
    "os": {"environ", "environb", "getenv"},
    "sys": {"modules"},
    "importlib": {"import_module"},
}
_CHANGING = (os.environ, os.getenv, sys.modules, importlib.import_module)
_BUILTINS = frozenset({"__import__", "eval", "exec", "globals"})
_SLOTS = (GetSetDescriptorType, MemberDescriptorType)


def value_digest(value: Any) -> str:
    """Return a digest that is equal, in any process, for values that act alike.

    Raises TypeError if a part of the value cannot be read.

    >>> def scaled(factor):
    ...     return lambda x: factor * x
    >>> value_digest(scaled(2)) == value_digest(scaled(2))
    True
    >>> value_digest(scaled(2)) == value_digest(scaled(3))
    False
    """
    reader = _Reader()
    reader.value(value)
    return reader.digest()


class _Reader:
    """Reads a value to its ends, and digests what it meets in order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        # What was met, by id: the objects are kept, so that their ids stay theirs.
        self._met: dict[int, tuple[int, Any]] = {}
        self._around: list[int] = []
        # Names that were read out of modules of users.
        self._taken: dict[int, tuple[ModuleType, set[str]]] = {}

    def digest(self) -> str:
        return self._hash.hexdigest()

    def value(self, value: Any) -> None:
        kind: Any = type(value)
        if kind in _PLAIN:
            self._put(kind.__name__, repr(value))
        elif kind in _CONTAINERS:
            self._container(value, kind)
        elif isinstance(value, np.generic):
            self._put(f"{kind.__name__} {value.dtype.str}", value.tobytes())
        elif isinstance(value, Tensor) and self._was_met(value):
            # Layers that share a tensor are not layers with equal ones.
            return
        elif (digest := data_digest(value, value_digest)) is not None:
            self._put("data", digest)
        elif not self._was_met(value):
            self._code_or_object(value, kind)

    def _code_or_object(self, value: Any, kind: Any) -> None:
        name = installed_name(value)
        if name is not None:
            self._put("installed", name)
            self._patches(value)
        elif isinstance(value, type):
            self._class(value)
        elif kind in _READERS:
            _READERS[kind](self, value)
        else:
            self._object(value, kind)

    def _put(self, *texts: str | bytes) -> None:
        for text in texts:
            own = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
            self._hash.update(b"%d:" % len(own))
            self._hash.update(own)

    def _was_met(self, value: Any) -> bool:
        place = len(self._met)
        before, _ = self._met.setdefault(id(value), (place, value))
        if before != place:
            self._put("again", str(before))
        return before != place

    def _container(self, value: Any, kind: Any) -> None:
        if id(value) in self._around:
            raise TypeError(f"a {kind.__name__} holds itself")
        self._around.append(id(value))
        self._put(kind.__name__, str(len(value)))
        if kind in {set, frozenset}:
            self._put(*sorted(map(value_digest, value)))
        else:
            for item in value.items() if kind is dict else value:
                self.value(item)
        self._around.pop()

    def _class(self, value: Any) -> None:
        self._put("class", value.__module__, value.__qualname__)
        self.value((type(value), *value.__bases__))
        for name, own in sorted(vars(value).items()):
            if name not in _UNHEARD and not isinstance(own, _SLOTS):
                self._put(name)
                self._named(own, f"{value.__qualname__}.{name}")

    def _function(self, value: FunctionType) -> None:
        name = value.__qualname__
        self._put("function", name)
        self._code(value.__code__)
        self.value([value.__defaults__, value.__kwdefaults__, vars(value)])
        for variable, cell in zip(
            value.__code__.co_freevars, value.__closure__ or (), strict=True
        ):
            self._put(variable)
            try:
                content = cell.cell_contents
            except ValueError:
                # It is filled later, or never.
                continue
            self._named(content, f"the variable {variable!r} around {name}")
        attributes = attribute_names(value.__code__)
        for module in imported_names(value.__code__):
            if _SURROUNDINGS.get(module, set()) & attributes:
                raise TypeError(f"{name} asks {module} for what may change")
            if not installed_version(module):
                raise TypeError(f"{name} imports {module!r} when it is called")
        self._variables(value, name)

    def _variables(self, function: FunctionType, name: str) -> None:
        """Put what a function reads from its module."""
        attributes = attribute_names(function.__code__)
        for variable in read_names(function.__code__):
            self._put(variable)
            if variable not in function.__globals__:
                if variable in _BUILTINS:
                    raise TypeError(f"{name} calls {variable}(), which may read anything")
                continue
            content = function.__globals__[variable]
            label = f"the variable {variable!r} that {name} reads"
            if isinstance(content, ModuleType):
                self._module(content, attributes, label)
            elif any(content is own for own in _CHANGING):
                raise TypeError(f"{label} tells of surroundings, which may change")
            else:
                self._named(content, label)

    def _module(self, module: ModuleType, attributes: set[str], label: str) -> None:
        """Put what code may take out of a module; the module itself would be too much."""
        version = installed_version(module.__name__)
        self._put("module", module.__name__, version)
        for name in _SURROUNDINGS.get(module.__name__, set()) & attributes:
            raise TypeError(f"{label} tells {module.__name__}.{name}, which may change")
        # Another function may take other names out of it.
        _, taken = self._taken.setdefault(id(module), (module, set()))
        for name in sorted(attributes.intersection(vars(module)) - taken):
            taken.add(name)
            own = getattr(module, name)
            if isinstance(own, ModuleType):
                self._module(own, attributes, label)
            elif not version or _is_patch(own):
                self._put(name)
                self._named(own, f"{name!r} in {label}")
            else:
                self._patches(own)

    def _patches(self, value: Any) -> None:
        """Put what a user has put into a class of a library, or its base classes."""
        if not isinstance(value, type):
            return
        for base in value.__mro__:
            for name, own in sorted(vars(base).items()):
                if _is_patch(own) and installed_name(base) is not None:
                    self._put(name)
                    self._named(own, f"{base.__qualname__}.{name}")

    def _named(self, value: Any, label: str) -> None:
        """Put a value; if it cannot be read, say where it was met."""
        try:
            self.value(value)
        except _NamedError:
            raise
        except Exception as error:
            raise _NamedError(f"{label} cannot be read ({error})") from error

    def _code(self, code: CodeType) -> None:
        self._put(sys.implementation.cache_tag or "", code.co_name, code.co_code)
        self._put(getattr(code, "co_exceptiontable", b""))
        self.value([
            code.co_argcount,
            code.co_posonlyargcount,
            code.co_kwonlyargcount,
            code.co_flags,
            code.co_names,
            code.co_varnames,
            code.co_freevars,
            code.co_cellvars,
        ])
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._code(constant)
            else:
                self.value(constant)

    def _property(self, value: property) -> None:
        self.value(("property", value.fget, value.fset, value.fdel))

    def _wrapped(self, value: Any) -> None:
        self.value((type(value).__name__, value.__func__))

    def _method(self, value: MethodType) -> None:
        self.value(("method", value.__func__, value.__self__))

    def _builtin(self, value: Any) -> None:
        owner = value.__self__ if isinstance(value, BuiltinFunctionType) else None
        owner = getattr(value, "__objclass__", owner)
        if isinstance(owner, ModuleType):
            version = installed_version(owner.__name__)
            owner = f"{owner.__name__} {version}"
        self.value(("builtin", value.__qualname__, owner))

    def _logger(self, value: logging.Logger) -> None:
        self._put("logger", value.name)

    def _object(self, value: Any, kind: Any) -> None:
        """Put the class of an object, and what pickle would take of it."""
        self._put("object")
        self.value(kind)
        reduce = copyreg.dispatch_table.get(kind)
        parts = reduce(value) if reduce else value.__reduce_ex__(4)
        if isinstance(parts, str):
            # A name; what stands behind it is elsewhere.
            self._put(parts)
            self.value(getattr(value, "__wrapped__", None))
            return
        make, arguments, state, items, pairs = (*parts, None, None, None)[:5]
        if isinstance(state, dict) and all(type(name) is str for name in state):
            # The order in which attributes were set is none of a value's.
            state = dict(sorted(state.items()))
        self.value([make, arguments, state, list(items or ()), list(pairs or ())])


def _is_patch(value: Any) -> bool:
    """Return whether a function that a library is to have was written elsewhere."""
    if not isinstance(value, FunctionType):
        return False
    # Not what the function says of itself, which a wrapper takes from what it wraps.
    where = value.__globals__.get("__name__", "")
    return not isinstance(where, str) or not installed_version(where)


class _NamedError(TypeError):
    """Says what cannot be read, and where it was met."""


_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})
_READERS: dict[Any, Any] = {
    FunctionType: _Reader._function,
    MethodType: _Reader._method,
    BuiltinFunctionType: _Reader._builtin,
    MethodDescriptorType: _Reader._builtin,
    WrapperDescriptorType: _Reader._builtin,
    property: _Reader._property,
    classmethod: _Reader._wrapped,
    staticmethod: _Reader._wrapped,
    logging.Logger: _Reader._logger,
}
