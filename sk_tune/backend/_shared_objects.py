# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Objects that a task shares with the rest of the process, put back as they were.

A task is recorded on a copy of its arguments, but its functions and classes are not copied,
nor is what they read from their modules, from variables around them, from their classes.
"""

import array
import inspect
import logging
import operator
import random
import re
import sys
import threading
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from sk_tune.engine import is_installed, names_in

# How an object takes over a content that it had, and that content.
State = list[tuple[Callable[[Any], None], Any]]
# Objects that another one holds, and the names of those that have one.
Parts = list[tuple[Any, str]]

_VALUES = frozenset({
    *(str, bytes, int, float, complex, bool, range, slice, type(None)),
    *(type(...), type(NotImplemented), types.CodeType, types.ModuleType),
    *(types.GetSetDescriptorType, types.MemberDescriptorType, types.MethodDescriptorType),
    *(types.WrapperDescriptorType, types.ClassMethodDescriptorType),
    types.MethodWrapperType,
})
# Objects that change nothing that a network is trained with.
_HARMLESS = (
    *(np.generic, np.dtype, np.ufunc, torch.jit.ScriptFunction, re.Pattern, logging.Logger),
    *(type(threading.Lock()), type(threading.RLock()), weakref.ref, ContextVar),
    *(operator.attrgetter, operator.itemgetter, operator.methodcaller),
    # A field of a named tuple, of any.
    type(inspect.Attribute.name),
)
# Modules of containers and callables, whose parts belong to the code that made them.
_TRANSPARENT = frozenset({"builtins", "collections", "functools", "types"})
# Classes made by C that keep all that changes in their ``__dict__``.
_NAMESPACES = (types.SimpleNamespace, threading.local, BaseException)
_EMPTY = object()


class CannotPutBackError(Exception):
    """Says which object of a user's code cannot be set back after a task was recorded."""


class SharedObjects:
    """Objects that the code of tasks reads and may change, with what they held when met."""

    def __init__(self) -> None:
        # Objects by id. They are kept, so that no other object gets the id.
        self._met: dict[int, Any] = {}
        self._refused: dict[int, tuple[Any, str]] = {}
        self._takes: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        self._before: State = []
        self._closed: list[Any] = []

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Set all objects that are met in a block back at its end."""
        try:
            yield
        finally:
            _open(self._closed)
            self.restore(self._before)
            self.__init__()  # type: ignore[misc]

    def state(self) -> State:
        """Return what all objects hold now, for `restore`."""
        return [(put, take()) for take, put in self._takes]

    @staticmethod
    def restore(state: State) -> None:
        """Let objects hold again what they held, in place: they stay the same objects."""
        with ExitStack() as all_of_them:
            for put, content in state:
                all_of_them.callback(put, content)

    def meet(self, code: Any) -> None:
        """Keep what a function or class of a user reads, all the way down.

        Raises CannotPutBackError where it may change what cannot be set back.
        """
        if id(code) in self._refused:
            raise CannotPutBackError(self._refused[id(code)][1])
        if id(code) in self._met or _is_library(code):
            return
        met, n_kept, n_closed = dict(self._met), len(self._takes), len(self._closed)
        try:
            self._walk(code)
        except CannotPutBackError as error:
            # The task is not run.
            self._refused[id(code)] = code, str(error)
            self._met = met
            _open(self._closed[n_closed:])
            del self._takes[n_kept:], self._before[n_kept:], self._closed[n_closed:]
            raise

    def _walk(self, code: Any) -> None:
        waiting = [(code, code.__qualname__, True)]
        while waiting:
            found, name, is_own = waiting.pop()
            if type(found) in _VALUES or id(found) in self._met:
                continue
            self._met[id(found)] = found
            kind = type(found)
            is_ours = isinstance(found, type) or kind.__module__ in _TRANSPARENT
            # Parts of an object that a library has a class for are the library's.
            holds_own = is_own and (is_ours or not _is_library(kind))
            try:
                waiting += [
                    (part, label or name, holds_own) for part, label in self._parts(found)
                ]
            except Exception as error:
                # Objects inside those of libraries are left to the libraries.
                if is_own:
                    raise CannotPutBackError(
                        f"its task reads {name!r}, and what {kind.__module__}."
                        f"{kind.__qualname__} has given out cannot be put back"
                    ) from error

    def _keep(self, take: Callable[[], Any], put: Callable[[Any], None]) -> None:
        self._takes.append((take, put))
        self._before.append((put, take()))

    def _parts(self, found: Any) -> Parts:
        """Keep what an object holds; return its parts, TypeError if it cannot be read."""
        if isinstance(found, _HARMLESS):
            return []
        if isinstance(found, types.FunctionType):
            return self._function(found)
        if isinstance(found, type):
            return [] if _is_library(found) else self._class(found)
        if (inner := _inner(found)) is not None:
            return _unnamed(inner)
        for kinds, keep in _GENERATORS:
            if isinstance(found, kinds):
                self._keep(*keep(found))
                return []
        if isinstance(found, np.ndarray):
            return self._array(found)
        if isinstance(found, torch.Tensor):
            self._tensor(found)
            return []
        return self._object(found)

    def _function(self, found: Any) -> Parts:
        code, namespace = found.__code__, found.__globals__
        parts = _unnamed((found.__defaults__, found.__kwdefaults__, vars(found)))
        for variable, cell in zip(code.co_freevars, found.__closure__ or (), strict=True):
            self._keep(partial(_content, cell), partial(_fill, cell))
            parts.append((_content(cell), variable))
        if is_installed(namespace.get("__name__") or ""):
            return parts
        names = names_in(code)
        bound = [n for n in names.bound if not n.startswith("__")]
        if bound:
            self._keep(partial(_bound, namespace, bound), partial(_bind, namespace))
        for name in names.read:
            if name in namespace:
                parts += self._read(namespace[name], name, names.attributes)
        for name in names.imported:
            if name in sys.modules:
                parts += self._read(sys.modules[name], name, names.attributes)
        return parts

    def _read(self, found: Any, name: str, attributes: frozenset[str]) -> Parts:
        """Return what code reads by a name; from a user's module, what it may take."""
        if not isinstance(found, types.ModuleType):
            return [(found, name)]
        if is_installed(found.__name__):
            return []
        content = vars(found)
        taken = sorted(attributes.intersection(content))
        if taken:
            self._keep(partial(_bound, content, taken), partial(_bind, content))
        parts = [(content[n], f"{name}.{n}") for n in taken]
        deeper = [p for p in parts if isinstance(p[0], types.ModuleType)]
        rest = [p for p in parts if not isinstance(p[0], types.ModuleType)]
        # A package and its modules may know each other.
        left = attributes.difference(taken)
        return rest + [part for p in deeper for part in self._read(*p, left)]

    def _class(self, found: Any) -> Parts:
        self._keep(lambda: dict(vars(found)), partial(_set_attributes, found))
        named = [
            (value, f"{found.__name__}.{name}")
            for name, value in vars(found).items()
            if name != "_abc_impl"
        ]
        return [*named, *_unnamed((type(found), *found.__bases__))]

    def _array(self, found: Any) -> Parts:
        """Close an array to writing; keep a copy if it could not be opened again."""
        if found.flags.writeable and self._opens_again(found):
            found.flags.writeable = False
            self._closed.append(found)
        elif found.flags.writeable:
            self._keep(found.copy, partial(_write, found))
        return _unnamed(found.flat) if found.dtype == object else []

    def _opens_again(self, found: Any) -> bool:
        owner = found
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if owner.flags.owndata:
            return owner.flags.writeable or any(owner is array for array in self._closed)
        with suppress(TypeError):
            return not memoryview(owner.base).readonly
        return False

    def _tensor(self, found: Any) -> None:
        if found.layout == torch.strided and not found.is_meta:
            latest: list[torch.Tensor] = [found.detach().clone()]

            def take() -> torch.Tensor:
                if not torch.equal(latest[0], found):
                    latest[0] = found.detach().clone()
                return latest[0]

            self._keep(take, partial(_write_tensor, found))

    def _object(self, found: Any) -> Parts:
        """Keep the items of a container, and the attributes of an object."""
        is_known = isinstance(found, tuple | frozenset | types.MappingProxyType)
        items: list[Any] = list(found) if is_known else []
        for kind, (take, put) in _CONTAINERS.items():
            if isinstance(found, kind):
                self._keep(partial(take, found), partial(put, found))
                items, is_known = list(take(found)), True
                break
        if isinstance(found, dict):
            items += dict.values(found)
        if set(map(type, items)) <= _VALUES:
            items = []
        attributes = getattr(found, "__dict__", None)
        if isinstance(attributes, dict):
            self._keep(partial(dict.copy, attributes), partial(_refill_dict, attributes))
            items += attributes.values()
        slots = _slots(type(found))
        if slots:
            self._keep(partial(_slot_values, found, slots), partial(_set_slots, found))
            items += _slot_values(found, slots).values()
        if not is_known and not _is_of_python(found):
            raise TypeError
        return _unnamed((*items, type(found)))


def _unnamed(parts: Iterable[Any]) -> Parts:
    return [(part, "") for part in parts]


def _open(arrays: list[Any]) -> None:
    # A view may be written to only if its owner may.
    for closed in sorted(arrays, key=lambda closed: closed.base is not None):
        closed.flags.writeable = True


def _is_library(code: Any) -> bool:
    if not is_installed(getattr(code, "__module__", None) or ""):
        return False
    # Where a function was written, whatever it says of itself.
    home = getattr(code, "__globals__", {}).get("__name__") or code.__module__
    return isinstance(code, type) or is_installed(str(home))


def _inner(found: Any) -> tuple[Any, ...] | None:
    """Return what a callable of Python's stands for; None for anything else."""
    if isinstance(found, partial):
        return found.func, found.args, found.keywords
    if isinstance(found, types.MethodType):
        return found.__func__, found.__self__
    if isinstance(found, types.BuiltinFunctionType):
        return (found.__self__,)
    if isinstance(found, property):
        return found.fget, found.fset, found.fdel
    if isinstance(found, cached_property):
        return (found.func,)
    if isinstance(found, staticmethod | classmethod):
        return (found.__func__,)
    if hasattr(type(found), "cache_clear"):
        return (found.__wrapped__,)
    return None


def _is_of_python(found: Any) -> bool:
    """Return whether nothing of an object that changes is kept where Python cannot look."""
    kind: Any = type(found)
    if isinstance(found, _NAMESPACES):
        return True
    if not isinstance(getattr(kind, "__next__", None), types.FunctionType | type(None)):
        return False
    if kind.__eq__ is not object.__eq__ and kind.__hash__ not in {None, object.__hash__}:
        # A value: a date, a device, a fraction.
        return True
    makers = (vars(base).get("__new__") for base in kind.__mro__[:-1])
    python: Any = staticmethod | types.FunctionType | type(None)
    return kind.__module__.partition(".")[0] == "pandas" or all(
        isinstance(maker, python) for maker in makers
    )


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


def _fill(cell: Any, content: Any) -> None:
    if content is not _EMPTY:
        cell.cell_contents = content
    elif _content(cell) is not _EMPTY:
        del cell.cell_contents


def _bound(namespace: Any, names: list[str]) -> dict[str, Any]:
    return {name: namespace.get(name, _EMPTY) for name in names}


def _bind(namespace: Any, contents: dict[str, Any]) -> None:
    for name, content in contents.items():
        if content is _EMPTY:
            namespace.pop(name, None)
        else:
            namespace[name] = content


def _set_attributes(owner: Any, contents: dict[str, Any]) -> None:
    now = dict(vars(owner))
    for name in now.keys() | contents.keys():
        if now.get(name, _EMPTY) is contents.get(name, _EMPTY):
            continue
        # Some attributes that Python puts into a class cannot be set.
        with suppress(AttributeError, TypeError):
            if name in contents:
                type.__setattr__(owner, name, contents[name])
            else:
                type.__delattr__(owner, name)


def _slots(kind: Any) -> list[Any]:
    if isinstance(kind.__init__, types.WrapperDescriptorType):
        return []  # Not made in Python.
    values = (value for base in kind.__mro__ for value in vars(base).values())
    return [value for value in values if isinstance(value, types.MemberDescriptorType)]


def _slot_values(found: Any, slots: list[Any]) -> dict[Any, Any]:
    values = {}
    for slot in slots:
        with suppress(AttributeError):
            values[slot] = slot.__get__(found)
    return values


def _set_slots(found: Any, values: dict[Any, Any]) -> None:
    for slot, value in values.items():
        if slot.__get__(found, type(found)) is not value:
            slot.__set__(found, value)


def _write(found: Any, content: Any) -> None:
    if not np.array_equal(found, content):
        found[...] = content


@torch.no_grad()
def _write_tensor(found: torch.Tensor, content: torch.Tensor) -> None:
    if not torch.equal(found, content):
        found.copy_(content)


def _refill_dict(found: Any, content: Any) -> None:
    # An unchanged dict is not emptied even for a moment: other threads may read it.
    values = dict.values(found), dict.values(content)
    if not (_same(found, content) and _same(*values)):
        kind = OrderedDict if isinstance(found, OrderedDict) else dict
        kind.clear(found)
        kind.update(found, content)


def _same(one: Any, other: Any) -> bool:
    return len(one) == len(other) and all(map(operator.is_, one, other))


def _refill_list(found: Any, content: Any) -> None:
    list.__setitem__(found, slice(None), content)


def _refill_set(found: Any, content: Any) -> None:
    if not set.__eq__(found, content):
        set.clear(found)
        set.update(found, content)


def _refill_deque(found: Any, content: Any) -> None:
    if not _same(found, content):
        deque.clear(found)
        deque.extend(found, content)


def _refill_bytes(found: Any, content: Any) -> None:
    found[:] = content


_CONTAINERS: dict[Any, tuple[Any, Any]] = {
    dict: (dict.copy, _refill_dict),
    list: (list.copy, _refill_list),
    set: (set.copy, _refill_set),
    deque: (list, _refill_deque),
    bytearray: (bytes, _refill_bytes),
    array.array: (lambda found: found[:], _refill_bytes),
}


def _of_bits(found: Any) -> tuple[Any, Any]:
    bits = getattr(found, "bit_generator", found)
    return lambda: bits.state, lambda state: setattr(bits, "state", state)


def _of_python(found: Any) -> tuple[Any, Any]:
    if isinstance(found, random.SystemRandom):
        return lambda: None, lambda _: None
    return found.getstate, found.setstate


# Random generators, and how the state of each is read and set.
_GENERATORS: tuple[tuple[Any, Callable[[Any], tuple[Any, Any]]], ...] = (
    ((np.random.Generator, np.random.BitGenerator), _of_bits),
    (np.random.RandomState, lambda found: (found.get_state, found.set_state)),
    (random.Random, _of_python),
    (torch.Generator, lambda found: (found.get_state, found.set_state)),
)
