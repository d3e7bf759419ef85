# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Objects that a task shares with the rest of the process, and their restoration.

A task is recorded on a copy of its arguments. Its functions and classes are not copied, nor
are the objects that they read from modules, closures and classes.
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

from sk_tune._engine import is_installed, names_in

# Setters of objects' contents, with these contents.
State = list[tuple[Callable[[Any], None], Any]]
# Parts of an object, with their names if they have any.
Parts = list[tuple[Any, str]]

_VALUES = frozenset({
    *(str, bytes, int, float, complex, bool, range, slice, type(None)),
    *(type(...), type(NotImplemented), types.CodeType, types.ModuleType),
    *(types.GetSetDescriptorType, types.MemberDescriptorType, types.MethodDescriptorType),
    *(types.WrapperDescriptorType, types.ClassMethodDescriptorType),
    types.MethodWrapperType,
})
# Objects that do not affect the training of networks.
_HARMLESS = (
    *(np.generic, np.dtype, np.ufunc, torch.jit.ScriptFunction, re.Pattern, logging.Logger),
    *(type(threading.Lock()), type(threading.RLock()), weakref.ref, ContextVar),
    random.SystemRandom,
    *(operator.attrgetter, operator.itemgetter, operator.methodcaller),
    # Field accessors of named tuples.
    type(inspect.Attribute.name),
)
# Modules of containers and callables, which belong to the code that uses them.
_TRANSPARENT = frozenset({"builtins", "collections", "functools", "types"})
# C classes that keep all changeable values in their ``__dict__``.
_NAMESPACES = (types.SimpleNamespace, threading.local, BaseException)
_EMPTY = object()


class CannotPutBackError(Exception):
    """Names an object of a user's code that cannot be restored after a recording."""


class SharedObjects:
    """Objects that the code of tasks reads and may change, with their first contents."""

    def __init__(self) -> None:
        # Objects by id, kept alive so that no other object gets the id.
        self._met: dict[int, Any] = {}
        self._refused: dict[int, tuple[Any, str]] = {}
        self._takes: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        self._before: State = []
        self._closed: list[Any] = []

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Restore all objects that were met in a block at its end."""
        try:
            yield
        finally:
            _open(self._closed)
            self.restore(self._before)
            self.__init__()  # type: ignore[misc]

    def state(self) -> State:
        """Return the current contents of all objects, for `restore`."""
        return [(write, take()) for take, write in self._takes]

    @staticmethod
    def restore(state: State) -> None:
        """Restore the contents of objects in place."""
        with ExitStack() as all_of_them:
            for write, content in state:
                all_of_them.callback(write, content)

    def meet(self, code: Any) -> None:
        """Save the contents of objects that code can read, or raise CannotPutBackError."""
        if id(code) in self._refused:
            raise CannotPutBackError(self._refused[id(code)][1])
        if id(code) in self._met or _is_library(code):
            return
        met, n_kept, n_closed = dict(self._met), len(self._takes), len(self._closed)
        try:
            self._walk(code)
        except CannotPutBackError as error:
            # The task does not run.
            self._refused[id(code)] = code, str(error)
            self._met = met
            _open(self._closed[n_closed:])
            del self._takes[n_kept:], self._before[n_kept:], self._closed[n_closed:]
            raise

    def _walk(self, code: Any) -> None:
        waiting = [(code, code.__qualname__, True)]
        while waiting:
            obj, name, is_own = waiting.pop()
            if type(obj) in _VALUES or id(obj) in self._met:
                continue
            self._met[id(obj)] = obj
            kind = type(obj)
            is_ours = isinstance(obj, type) or kind.__module__ in _TRANSPARENT
            # Parts of an object of a library class belong to the library.
            holds_own = is_own and (is_ours or not _is_library(kind))
            try:
                parts = self._parts(obj)
                waiting += [(part, label or name, holds_own) for part, label in parts]
            except Exception as error:
                # Libraries are responsible for their inner objects.
                if is_own:
                    raise CannotPutBackError(
                        f"its task reads {name!r}, and the values already taken from "
                        f"{kind.__module__}.{kind.__qualname__} cannot be put back"
                    ) from error

    def _keep(self, take: Callable[[], Any], put: Callable[[Any], None]) -> None:
        self._takes.append((take, put))
        self._before.append((put, take()))

    def _parts(self, obj: Any) -> Parts:
        """Save an object's content and return its parts; TypeError if unreadable."""
        # A recording predicts and restores the state of torch's global generator.
        if isinstance(obj, _HARMLESS) or obj is torch.default_generator:
            return []
        if isinstance(obj, types.FunctionType):
            return self._function(obj)
        if isinstance(obj, type):
            return [] if _is_library(obj) else self._class(obj)
        if (inner := _inner(obj)) is not None:
            return _unnamed(inner)
        for kinds, keep in _GENERATORS:
            if isinstance(obj, kinds):
                self._keep(*keep(obj))
                return []
        if isinstance(obj, np.ndarray):
            return self._array(obj)
        if isinstance(obj, torch.Tensor):
            self._tensor(obj)
            return []
        return self._object(obj)

    def _function(self, obj: Any) -> Parts:
        code, namespace = obj.__code__, obj.__globals__
        parts = _unnamed((obj.__defaults__, obj.__kwdefaults__, vars(obj)))
        for variable, cell in zip(code.co_freevars, obj.__closure__ or (), strict=True):
            self._keep(partial(_content, cell), partial(_fill, cell))
            parts.append((_content(cell), variable))
        if is_installed(namespace.get("__name__") or ""):
            return parts
        names = names_in(code)
        bound = [n for n in names.bound if not n.startswith("__")]
        if bound:
            self._keep(partial(_bound, namespace, bound), partial(_bind, namespace))
        for source, names_there in ((namespace, names.read), (sys.modules, names.imported)):
            for name in filter(source.__contains__, names_there):
                parts += self._read(source[name], name, names.attributes)
        return parts

    def _read(self, obj: Any, name: str, attributes: frozenset[str]) -> Parts:
        """Return the objects that code reads by a name; from a user's module, parts."""
        if not isinstance(obj, types.ModuleType):
            return [(obj, name)]
        if is_installed(obj.__name__):
            return []
        content = vars(obj)
        names = sorted(attributes.intersection(content))
        if names:
            self._keep(partial(_bound, content, names), partial(_bind, content))
        # A package and its modules may refer to each other.
        remaining = attributes.difference(names)
        parts: Parts = []
        for part in names:
            parts += self._read(content[part], f"{name}.{part}", remaining)
        return parts

    def _class(self, obj: Any) -> Parts:
        self._keep(lambda: dict(vars(obj)), partial(_set_attributes, obj))
        named = [
            (value, f"{obj.__name__}.{name}")
            for name, value in vars(obj).items()
            if name != "_abc_impl"
        ]
        return [*named, *_unnamed((type(obj), *obj.__bases__))]

    def _array(self, obj: Any) -> Parts:
        """Make an array read-only, or copy it if it could not be made writable again."""
        if obj.flags.writeable and self._opens_again(obj):
            obj.flags.writeable = False
            self._closed.append(obj)
        elif obj.flags.writeable:
            self._keep(obj.copy, partial(_write, obj))
        return _unnamed(obj.flat) if obj.dtype == object else []

    def _opens_again(self, obj: Any) -> bool:
        owner = obj
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if owner.flags.owndata:
            return owner.flags.writeable or any(owner is array for array in self._closed)
        with suppress(TypeError):
            return not memoryview(owner.base).readonly
        return False

    def _tensor(self, obj: Any) -> None:
        if obj.layout == torch.strided and not obj.is_meta:
            latest: list[torch.Tensor] = [obj.detach().clone()]

            def take() -> torch.Tensor:
                if not torch.equal(latest[0], obj):
                    latest[0] = obj.detach().clone()
                return latest[0]

            self._keep(take, partial(_write_tensor, obj))

    def _object(self, obj: Any) -> Parts:
        """Save the items of a container, and the attributes of an object."""
        is_known = isinstance(obj, tuple | frozenset | types.MappingProxyType)
        items: list[Any] = list(obj) if is_known else []
        for kind, (take, write) in _CONTAINERS.items():
            if isinstance(obj, kind):
                self._keep(partial(take, obj), partial(write, obj))
                items, is_known = list(take(obj)), True
                break
        if isinstance(obj, dict):
            items += dict.values(obj)
        if set(map(type, items)) <= _VALUES:
            items = []
        attributes = getattr(obj, "__dict__", None)
        if isinstance(attributes, dict):
            self._keep(partial(dict.copy, attributes), partial(_refill_dict, attributes))
            items += attributes.values()
        slots = _slots(type(obj))
        if slots:
            self._keep(partial(_slot_values, obj, slots), partial(_set_slots, obj))
            items += _slot_values(obj, slots).values()
        if not is_known and not _is_of_python(obj):
            raise TypeError
        return _unnamed((*items, type(obj)))


def _unnamed(parts: Iterable[Any]) -> Parts:
    return [(part, "") for part in parts]


def _open(arrays: list[Any]) -> None:
    # A view can only be writable if its owner is.
    for closed in sorted(arrays, key=lambda closed: closed.base is not None):
        closed.flags.writeable = True


def _is_library(code: Any) -> bool:
    if not is_installed(getattr(code, "__module__", None) or ""):
        return False
    # The globals show where a function was defined; ``__module__`` may be set.
    home = getattr(code, "__globals__", {}).get("__name__") or code.__module__
    return isinstance(code, type) or is_installed(str(home))


def _inner(obj: Any) -> tuple[Any, ...] | None:
    """Return the objects inside a callable of Python's; None for other objects."""
    if hasattr(type(obj), "cache_clear"):
        return (obj.__wrapped__,)
    for kind, names in _INNER.items():
        if isinstance(obj, kind):
            return tuple(getattr(obj, name) for name in names)
    return None


_INNER: dict[Any, tuple[str, ...]] = {
    partial: ("func", "args", "keywords"),
    types.MethodType: ("__func__", "__self__"),
    types.BuiltinFunctionType: ("__self__",),
    property: ("fget", "fset", "fdel"),
    cached_property: ("func",),
    staticmethod | classmethod: ("__func__",),
}


def _is_of_python(obj: Any) -> bool:
    """Return whether Python can see all changeable values of an object."""
    kind: Any = type(obj)
    if isinstance(obj, _NAMESPACES):
        return True
    if not isinstance(getattr(kind, "__next__", None), types.FunctionType | type(None)):
        return False
    if kind.__eq__ is not object.__eq__ and kind.__hash__ not in {None, object.__hash__}:
        # An immutable value: a date, a device, a fraction.
        return True
    makers = (vars(base).get("__new__") for base in kind.__mro__[:-1])
    python: Any = staticmethod | types.FunctionType | type(None)
    is_of_pandas = kind.__module__.partition(".")[0] == "pandas"
    return is_of_pandas or all(isinstance(maker, python) for maker in makers)


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
        # Python adds some class attributes that cannot be set.
        with suppress(AttributeError, TypeError):
            if name in contents:
                type.__setattr__(owner, name, contents[name])
            else:
                type.__delattr__(owner, name)


def _slots(kind: Any) -> list[Any]:
    if isinstance(kind.__init__, types.WrapperDescriptorType):
        return []  # A C class.
    values = (value for base in kind.__mro__ for value in vars(base).values())
    return [value for value in values if isinstance(value, types.MemberDescriptorType)]


def _slot_values(obj: Any, slots: list[Any]) -> dict[Any, Any]:
    values = {}
    for slot in slots:
        with suppress(AttributeError):
            values[slot] = slot.__get__(obj)
    return values


def _set_slots(obj: Any, values: dict[Any, Any]) -> None:
    for slot, value in values.items():
        if slot.__get__(obj, type(obj)) is not value:
            slot.__set__(obj, value)


def _write(obj: Any, content: Any) -> None:
    if not np.array_equal(obj, content):
        obj[...] = content


@torch.no_grad()
def _write_tensor(obj: torch.Tensor, content: torch.Tensor) -> None:
    if not torch.equal(obj, content):
        obj.copy_(content)


def _refill_dict(obj: Any, content: Any) -> None:
    # Other threads may read an unchanged dict, so it is never emptied.
    values = dict.values(obj), dict.values(content)
    if not (_same(obj, content) and _same(*values)):
        kind = OrderedDict if isinstance(obj, OrderedDict) else dict
        kind.clear(obj)
        kind.update(obj, content)


def _same(one: Any, other: Any) -> bool:
    return len(one) == len(other) and all(map(operator.is_, one, other))


def _refill(kind: Any, fill: Any, obj: Any, content: Any) -> None:
    if not _same(list(kind.__iter__(obj)), list(content)):
        kind.clear(obj)
        fill(obj, content)


def _refill_slice(obj: Any, content: Any) -> None:
    kind: Any = list if isinstance(obj, list) else type(obj)
    kind.__setitem__(obj, slice(None), content)


_CONTAINERS: dict[Any, tuple[Any, Any]] = {
    dict: (dict.copy, _refill_dict),
    list: (list.copy, _refill_slice),
    set: (set.copy, partial(_refill, set, set.update)),
    deque: (list, partial(_refill, deque, deque.extend)),
    bytearray: (bytes, _refill_slice),
    array.array: (lambda obj: obj[:], _refill_slice),
}


def _of_bits(obj: Any) -> tuple[Any, Any]:
    bits = getattr(obj, "bit_generator", obj)
    return lambda: bits.state, lambda state: setattr(bits, "state", state)


# Random generators, with functions that read and set their states.
_GENERATORS: tuple[tuple[Any, Callable[[Any], tuple[Any, Any]]], ...] = (
    ((np.random.Generator, np.random.BitGenerator), _of_bits),
    ((np.random.RandomState, torch.Generator), lambda obj: (obj.get_state, obj.set_state)),
    (random.Random, lambda obj: (obj.getstate, obj.setstate)),
)
