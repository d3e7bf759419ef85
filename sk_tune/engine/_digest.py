# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Digests of data by every value, of objects by their state, of code by what it does."""

import copyreg
import dis
import hashlib
import importlib
import importlib.util
import json
import logging
import operator
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from pathlib import Path
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
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse
import torch
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback
from torch import Tensor

# Places in `CodeNames` of the operations that have a name.
_KINDS = {
    **dict.fromkeys(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"), 0),
    **dict.fromkeys(("STORE_GLOBAL", "DELETE_GLOBAL"), 1),
    "IMPORT_NAME": 2,
}


class CodeNames(NamedTuple):
    """Global names that code reads, and that it sets or deletes; modules that it imports.

    `attributes` are all names that may be those of attributes.
    """

    read: tuple[str, ...]
    bound: tuple[str, ...]
    imported: tuple[str, ...]
    attributes: frozenset[str]


# Equal code has equal names, and is asked for them at each recording.
@lru_cache(4096)
def names_in(code: CodeType) -> CodeNames:
    """Return the names in the code of a function, and of what is defined in it."""
    found: list[set[str]] = [set(), set(), set()]
    attributes: set[str] = set()
    waiting = [code]
    while waiting:
        nested = waiting.pop()
        waiting += [part for part in nested.co_consts if isinstance(part, CodeType)]
        attributes.update(nested.co_names)
        for step in dis.get_instructions(nested):
            if step.opname in _KINDS:
                found[_KINDS[step.opname]].add(step.argval)
    read, bound, imported = (tuple(sorted(names)) for names in found)
    return CodeNames(read, bound, imported, frozenset(attributes))


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
    return f"{module}.{name} {version}" if version and _is_named(code) else None


def _is_named(code: Any) -> bool:
    """Return whether a class or function is what its module has under its name."""
    try:
        found = operator.attrgetter(code.__qualname__)(sys.modules[code.__module__])
    except (AttributeError, KeyError):
        return False
    return bool(found is code)


@cache
def installed_version(module: str) -> str:
    """Return the version of a module's library; empty if it is a user's, or has none."""
    top = module.partition(".")[0]
    if _is_of_python(top):
        return "" if top == "__main__" else f"python {sys.version_info[:2]}"
    version = getattr(sys.modules.get(top), "__version__", None)
    return version if _is_placed(top) and isinstance(version, str) else ""


def is_installed(module: str) -> bool:
    """Return whether a module is of Python or an installed library, by its full name."""
    top = module.partition(".")[0]
    return top != "__main__" and (_is_of_python(top) or _is_placed(top))


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


def sha256(*parts: str | bytes | memoryview) -> str:
    """Return the hexadecimal digest of texts and bytes, each counted with its length."""
    digest = hashlib.sha256()
    _update(digest, parts)
    return digest.hexdigest()


def _update(digest: Any, parts: Iterable[str | bytes | memoryview]) -> None:
    for part in parts:
        content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(b"%d:" % len(content))
        digest.update(content)


def data_digest(data: Any) -> str | None:
    """Return a digest of a container of data; None if it is of no known kind."""
    if isinstance(data, Tensor):
        on_cpu = data.detach().cpu().resolve_conj().resolve_neg()
        # The bytes are taken, because numpy has no bfloat16.
        content: Any = b""
        if on_cpu.numel():
            content = on_cpu.contiguous().reshape(-1).view(torch.uint8).numpy().data
        form = f"tensor {on_cpu.dtype} {tuple(on_cpu.shape)} {data.requires_grad}"
        return sha256(form, content)
    if isinstance(data, np.ma.MaskedArray):
        parts = [data.data, np.ma.getmaskarray(data)]
        return sha256("masked", *(array_digest(part) for part in parts))
    if isinstance(data, np.ndarray):
        return array_digest(data)
    if isinstance(data, pd.Series | pd.Index):
        return sha256("series", *_column_parts(pd.Series(data), data.name))
    if isinstance(data, pd.DataFrame):
        columns = data.items()
        digests = (part for n, c in columns for part in _column_parts(c, n))
        return sha256("frame", str(data.shape), *digests)
    if scipy.sparse.issparse(data):
        # Entries get one order, and indices one type, whatever a slice of the data had.
        entries = data.tocoo().tocsr() if data.ndim == 2 else data.tocoo(copy=True)
        entries.sum_duplicates()
        places = [part.astype(np.int64) for part in entries.tocoo().coords]
        parts = [*places, entries.data]
        form = f"{type(data).__name__} {data.shape}"
        return sha256(form, *(array_digest(part) for part in parts))
    return _other_frame_digest(data)


def array_digest(array: npt.NDArray[Any]) -> str:
    """Return a digest of an array's shape, type and values, in any order of memory."""
    # A record's fields are in its description only.
    kind = array.dtype.descr if array.dtype.names else array.dtype.str
    form = json.dumps([array.shape, str(kind)])
    if array.dtype.hasobject:
        items = array.ravel().tolist()
        if not all(type(item) is str for item in items):
            return sha256(form, value_digest(items))
        lengths = np.fromiter(map(len, items), dtype=np.int64, count=len(items))
        return sha256(form, "texts", lengths.view(np.uint8).data, "".join(items))
    data = np.ascontiguousarray(array).reshape(-1).view(np.ndarray)
    return sha256(form, data.view(np.uint8).data if data.nbytes else b"")


def _column_parts(column: Any, name: Any) -> Iterable[str]:
    """Return digests of a column of pandas: its name, its type, its values."""
    kind = column.dtype
    yield value_digest(name)
    yield str(kind)
    if isinstance(kind, pd.CategoricalDtype):
        # The order of categories decides how an encoder numbers them.
        yield str(kind.ordered)
        yield sha256(*_column_parts(pd.Series(kind.categories), None))
        yield array_digest(column.cat.codes.to_numpy())
        return
    if isinstance(kind, np.dtype):
        yield array_digest(column.to_numpy())
        return
    missing = column.isna().to_numpy()
    yield array_digest(missing)
    # One missing value is like another in the types that pandas defines.
    present, plain = column[~missing], getattr(kind, "numpy_dtype", object)
    if isinstance(kind, pd.DatetimeTZDtype):
        present, plain = present.dt.tz_convert("UTC").dt.tz_localize(None), None
    yield array_digest(present.to_numpy(dtype=plain))


def _other_frame_digest(data: Any) -> str | None:
    kind = type(data)
    # To ask narwhals of any object takes long.
    if not (hasattr(kind, "__arrow_c_stream__") or hasattr(kind, "__dataframe__")):
        return None
    try:
        frame = nw.from_native(data, eager_only=True, allow_series=True)
    except TypeError:
        return None
    form = f"{kind.__module__}.{kind.__qualname__}"
    columns = [frame] if isinstance(frame, nw.Series) else list(frame.iter_columns())
    parts = [str(len(frame))]
    for column in columns:
        present = column.drop_nulls().to_numpy()
        parts += [column.name, repr(column.dtype)]
        parts += [array_digest(a) for a in (column.is_null().to_numpy(), present)]
    return sha256(form, *parts)


_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, type(...), slice)
# Attributes that Python and its classes keep for themselves.
_IGNORED = frozenset({
    *("__abstractmethods__", "__annotate_func__", "__annotations__"),
    *("__annotations_cache__", "__dataclass_fields__", "__dataclass_params__"),
    *("__dict__", "__doc__", "__firstlineno__", "__module__", "__orig_bases__"),
    *("__parameters__", "__static_attributes__", "__weakref__", "_abc_impl"),
})
# Names, by module and among Python's builtins, through which code reaches what none of its
# names tells.
_SURROUNDINGS = {
    "os": {"environ", "environb", "getenv"},
    "sys": {"modules"},
    "importlib": {"import_module"},
}
_CHANGING = (os.environ, os.getenv, sys.modules, importlib.import_module)
_BUILTINS = frozenset({"__import__", "eval", "exec", "globals"})
_SLOTS = (GetSetDescriptorType, MemberDescriptorType)


def value_digest(value: Any, *, by_name: bool = False) -> str:
    """Return a digest that is equal, in any process, for values that act alike.

    Code of users counts by what it does; `by_name` it counts as pickle has it. Raises
    TypeError if a part of the value cannot be read.

    >>> def scaled(factor):
    ...     return lambda x: factor * x
    >>> value_digest(scaled(2)) == value_digest(scaled(2))
    True
    >>> value_digest(scaled(2)) == value_digest(scaled(3))
    False
    """
    reader = _Reader(by_name=by_name)
    reader.value(value)
    return reader.hash.hexdigest()


def value_fingerprint(value: Any) -> Any:
    """Return a key that is equal, in this process, for equal values of a parameter.

    Functions and classes are equal to themselves only, and what cannot be read to nothing.
    """
    if value is None or isinstance(value, bool | int | float | str | type):
        return (type(value), value)
    if isinstance(value, FunctionType | BuiltinFunctionType):
        return value
    try:
        return value_digest(value, by_name=True)
    except Exception:  # noqa: BLE001 - whatever a user's class raises
        return object()


def data_fingerprint(data: Any) -> Any:
    """Return a key that is equal, in this process, for equal X, y or sample weights."""
    index = data.index if isinstance(data, pd.DataFrame | pd.Series) else None
    return value_fingerprint(data if index is None else (data, index))


def params_fingerprint(estimator: BaseEstimator, *, without: str = "") -> Any:
    """Return a key that is equal for estimators that train alike, but for one parameter."""
    # skorch counts every attribute, also those that scikit-learn's callbacks set.
    values = tuple(
        (name, value_fingerprint(value))
        for name, value in sorted(estimator.get_params(deep=False).items())
        if name != without and not name.startswith("_")
    )
    return (type(estimator), values)


class _Reader:
    """Reads a value to its ends, and digests what it meets in order."""

    def __init__(self, *, by_name: bool) -> None:
        self.hash = hashlib.sha256()
        self._by_name = by_name
        # Objects that were met, by id. They are kept, so that no other object gets the id.
        self._met: dict[int, tuple[int, Any]] = {}
        self._around: list[int] = []
        # Names that were read out of modules of users.
        self._taken: dict[int, tuple[ModuleType, set[str]]] = {}

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
        elif (digest := data_digest(value)) is not None:
            self._put("data", digest)
        elif not self._was_met(value):
            self._code_or_object(value, kind)

    def _code_or_object(self, value: Any, kind: Any) -> None:
        if self._by_name and isinstance(value, MethodType):
            self.value(("method", value.__name__, value.__self__))
        elif self._by_name and isinstance(value, type | FunctionType):
            if not _is_named(value):
                raise TypeError(f"{value.__qualname__} cannot be found by its name")
            self._put("name", value.__module__, value.__qualname__)
        elif (name := installed_name(value)) is not None:
            self._put("installed", name)
            self._patches(value)
        elif isinstance(value, type):
            self._put("class", value.__module__, value.__qualname__)
            self.value((type(value), *value.__bases__))
            for name, attribute in sorted(vars(value).items()):
                if name not in _IGNORED and not isinstance(attribute, _SLOTS):
                    self._put(name)
                    self._named(attribute, f"{value.__qualname__}.{name}")
        elif kind is FunctionType:
            self._function(value)
        elif kind in _PARTS:
            self.value((kind.__name__, *_PARTS[kind](value)))
        else:
            self._object(value, kind)

    def _put(self, *texts: str | bytes) -> None:
        _update(self.hash, texts)

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
            self._put(*sorted(value_digest(v, by_name=self._by_name) for v in value))
        else:
            for item in value.items() if kind is dict else value:
                self.value(item)
        self._around.pop()

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
        names = names_in(value.__code__)
        for module in names.imported:
            if _SURROUNDINGS.get(module, set()) & names.attributes:
                raise TypeError(f"{name} asks {module} for what may change")
            if not installed_version(module):
                raise TypeError(f"{name} imports {module!r} when it is called")
        self._variables(value, name)

    def _variables(self, function: FunctionType, name: str) -> None:
        names = names_in(function.__code__)
        for variable in names.read:
            self._put(variable)
            if variable not in function.__globals__:
                if variable in _BUILTINS:
                    raise TypeError(f"{name} calls {variable}(), which may read anything")
                continue
            content = function.__globals__[variable]
            label = f"the variable {variable!r} that {name} reads"
            if isinstance(content, ModuleType):
                self._module(content, names.attributes, label)
            elif any(content is changing for changing in _CHANGING):
                raise TypeError(f"{label} tells of surroundings, which may change")
            else:
                self._named(content, label)

    def _module(self, module: ModuleType, attributes: frozenset[str], label: str) -> None:
        """Put what code may take out of a module; the module itself would be too much."""
        version = installed_version(module.__name__)
        self._put("module", module.__name__, version)
        for name in _SURROUNDINGS.get(module.__name__, set()) & attributes:
            raise TypeError(f"{label} tells {module.__name__}.{name}, which may change")
        # Another function may take other names out of it.
        _, taken = self._taken.setdefault(id(module), (module, set()))
        for name in sorted(attributes.intersection(vars(module)) - taken):
            taken.add(name)
            attribute = getattr(module, name)
            if isinstance(attribute, ModuleType):
                self._module(attribute, attributes, label)
            elif not version or _is_patch(attribute):
                self._put(name)
                self._named(attribute, f"{name!r} in {label}")
            else:
                self._patches(attribute)

    def _patches(self, value: Any) -> None:
        """Put what a user has put into a class of a library, or its base classes."""
        if not isinstance(value, type):
            return
        for base in value.__mro__:
            patched = [name for name, part in vars(base).items() if _is_patch(part)]
            if patched and installed_name(base) is not None:
                for name in sorted(patched):
                    self._put(name)
                    self._named(vars(base)[name], f"{base.__qualname__}.{name}")

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
        counts = ("argcount", "posonlyargcount", "kwonlyargcount", "flags")
        names = ("names", "varnames", "freevars", "cellvars")
        self.value([getattr(code, f"co_{name}") for name in (*counts, *names)])
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._code(constant)
            else:
                self.value(constant)

    def _object(self, value: Any, kind: Any) -> None:
        """Put the class of an object, and what pickle would take of it."""
        self._put("object")
        self.value(kind)
        if isinstance(value, Callback) and kind.__module__.startswith("skorch."):
            # What it has met in a training changes nothing.
            self.value(dict(sorted(value.get_params(deep=False).items())))
            return
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
    # ``__module__`` is not asked: a wrapper takes it from the function that it wraps.
    where = value.__globals__.get("__name__", "")
    return not isinstance(where, str) or not installed_version(where)


class _NamedError(TypeError):
    """Says what cannot be read, and where it was met."""


def _builtin(value: Any) -> tuple[Any, ...]:
    owner = value.__self__ if isinstance(value, BuiltinFunctionType) else None
    owner = getattr(value, "__objclass__", owner)
    if isinstance(owner, ModuleType):
        owner = f"{owner.__name__} {installed_version(owner.__name__)}"
    return value.__qualname__, owner


_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})
# What objects of Python's consist of.
_PARTS: dict[Any, Callable[[Any], tuple[Any, ...]]] = {
    MethodType: lambda value: (value.__func__, value.__self__),
    **dict.fromkeys(
        (BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType), _builtin
    ),
    property: lambda value: (value.fget, value.fset, value.fdel),
    **dict.fromkeys((classmethod, staticmethod), lambda value: (value.__func__,)),
    logging.Logger: lambda value: (value.name,),
}
