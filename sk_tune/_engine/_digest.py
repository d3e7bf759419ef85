# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Digests of data by value, of objects by state, and of code by behaviour."""

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
from contextlib import suppress
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
from skorch.callbacks import Callback
from torch import Tensor

# Positions in `CodeNames` by opcode.
_KINDS = {
    **dict.fromkeys(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"), 0),
    **dict.fromkeys(("STORE_GLOBAL", "DELETE_GLOBAL"), 1),
    "IMPORT_NAME": 2,
}


class CodeNames(NamedTuple):
    """Global names that code reads or sets, imported modules, and names of attributes."""

    read: tuple[str, ...]
    bound: tuple[str, ...]
    imported: tuple[str, ...]
    attributes: frozenset[str]


# Each recording needs the names of the same code.
@lru_cache(4096)
def names_in(code: CodeType) -> CodeNames:
    """Return the names in the code of a function and of nested functions."""
    names: list[set[str]] = [set(), set(), set(), set(code.co_names)]
    for step in dis.get_instructions(code):
        if step.opname in _KINDS:
            names[_KINDS[step.opname]].add(step.argval)
    for part in code.co_consts:
        if isinstance(part, CodeType):
            names = [a.union(b) for a, b in zip(names, names_in(part), strict=True)]
    read, bound, imported = (tuple(sorted(kind)) for kind in names[:3])
    return CodeNames(read, bound, imported, frozenset(names[3]))


# Code of sk_tune is digested by version, also in a checkout.
_OWN = "sk_tune"
# Folders of installed packages, which depend on the installation scheme.
_FOLDERS = ("purelib", "platlib")
# Names of such folders elsewhere: in the user's home, or in another interpreter that the
# environment includes.
_NAMES = frozenset({"site-packages", "dist-packages"})


def installed_name(code: Any) -> str | None:
    """Return name and version of a class or function that a library defines by that name.

    None for code of users, and for functions that a library creates at run time (closures,
    decorated functions, lambdas), because they may hold any value.
    """
    module, name = getattr(code, "__module__", None), getattr(code, "__qualname__", "")
    if not isinstance(module, str) or not name:
        return None
    version = installed_version(module)
    return f"{module}.{name} {version}" if version and _is_named(code) else None


def _is_named(code: Any) -> bool:
    """Return whether a module has this class or function under its name."""
    with suppress(AttributeError, KeyError):
        module = sys.modules[code.__module__]
        return bool(operator.attrgetter(code.__qualname__)(module) is code)
    return False


@cache
def installed_version(module: str) -> str:
    """Return the version of a module's library; empty for a user's module."""
    top = module.partition(".")[0]
    if _is_of_python(top):
        return "" if top == "__main__" else f"python {sys.version_info[:2]}"
    version = getattr(sys.modules.get(top), "__version__", None)
    return version if _is_placed(top) and isinstance(version, str) else ""


def is_installed(module: str) -> bool:
    """Return whether a module, by its full name, belongs to Python or a library."""
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
    ancestors = [Path(place).resolve().parents for place in places if place is not None]
    return any(
        parent in folders or parent.name in _NAMES
        for parents in ancestors
        for parent in parents
    )


def sha256(*parts: str | bytes | memoryview) -> str:
    """Return the hexadecimal digest of texts and bytes, each counted with its length."""
    return str(_updated(hashlib.sha256(), parts).hexdigest())


def _updated(digest: Any, parts: Iterable[str | bytes | memoryview]) -> Any:
    for part in parts:
        content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(b"%d:" % len(content))
        digest.update(content)
    return digest


def data_digest(data: Any) -> str | None:
    """Return a digest of a container of data; None for an unknown type."""
    if isinstance(data, Tensor):
        on_cpu = data.detach().cpu().resolve_conj().resolve_neg()
        # numpy has no bfloat16, so bytes are digested.
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
        # Canonical order of entries and type of indices, whatever slicing left.
        entries = data.tocoo().tocsr() if data.ndim == 2 else data.tocoo(copy=True)
        entries.sum_duplicates()
        places = [part.astype(np.int64) for part in entries.tocoo().coords]
        parts = [*places, entries.data]
        form = f"{type(data).__name__} {data.shape}"
        return sha256(form, *(array_digest(part) for part in parts))
    return _other_frame_digest(data)


def array_digest(array: npt.NDArray[Any]) -> str:
    """Return a digest of an array's shape, type and values, in any memory order."""
    # Only the description names the fields of a record.
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
    """Return digests of the name, type and values of a pandas column."""
    kind = column.dtype
    yield value_digest(name)
    yield str(kind)
    if isinstance(kind, pd.CategoricalDtype):
        # Encoders number categories in their order.
        yield str(kind.ordered)
        yield sha256(*_column_parts(pd.Series(kind.categories), None))
        yield array_digest(column.cat.codes.to_numpy())
        return
    if isinstance(kind, np.dtype):
        yield array_digest(column.to_numpy())
        return
    missing = column.isna().to_numpy()
    yield array_digest(missing)
    # In pandas' extension types all missing values are equal.
    present, plain = column[~missing], getattr(kind, "numpy_dtype", object)
    if isinstance(kind, pd.DatetimeTZDtype):
        present, plain = present.dt.tz_convert("UTC").dt.tz_localize(None), None
    yield array_digest(present.to_numpy(dtype=plain))


def _other_frame_digest(data: Any) -> str | None:
    kind = type(data)
    # narwhals takes long to reject an arbitrary object.
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
# Attributes that Python and its base classes manage.
_IGNORED = frozenset({
    *("__abstractmethods__", "__annotate_func__", "__annotations__"),
    *("__annotations_cache__", "__dataclass_fields__", "__dataclass_params__"),
    *("__dict__", "__doc__", "__firstlineno__", "__module__", "__orig_bases__"),
    *("__parameters__", "__static_attributes__", "__weakref__", "_abc_impl"),
})
# Names of modules and builtins through which code can read values that its names do not
# reveal.
_SURROUNDINGS = {
    "os": {"environ", "environb", "getenv"},
    "sys": {"modules"},
    "importlib": {"import_module"},
}
_CHANGING = (os.environ, os.getenv, sys.modules, importlib.import_module)
_BUILTINS = frozenset({"__import__", "eval", "exec", "globals"})
_SLOTS = (GetSetDescriptorType, MemberDescriptorType)


def value_digest(value: Any, *, by_name: bool = False) -> str:
    """Return a digest that is equal, in any process, for values of equal behaviour.

    Code of users is digested by its behaviour, or with `by_name` as pickle stores it.
    Raises TypeError if a part of the value cannot be read.

    >>> def scaled(factor):
    ...     return lambda x: factor * x
    >>> value_digest(scaled(2)) == value_digest(scaled(2))
    True
    >>> value_digest(scaled(2)) == value_digest(scaled(3))
    False
    """
    reader = _Reader(by_name=by_name)
    reader.value(value)
    if reader.nameless:
        raise TypeError(f"{reader.nameless[0].__qualname__} cannot be found by its name")
    return reader.hash.hexdigest()


def value_fingerprint(value: Any) -> Any:
    """Return a key that is equal, within this process, for equal parameter values."""
    if value is None or isinstance(value, bool | int | float | str | type):
        return (type(value), value)
    if isinstance(value, FunctionType | BuiltinFunctionType):
        return value
    reader = _Reader(by_name=True)
    try:
        reader.value(value)
    except Exception:  # noqa: BLE001 - a user's class may raise anything
        return object()
    # Lambdas, and functions and classes defined in functions, equal only themselves.
    return reader.hash.hexdigest(), *reader.nameless


def data_fingerprint(data: Any) -> Any:
    """Return a key that is equal, within this process, for equal X, y or sample weights."""
    index = data.index if isinstance(data, pd.DataFrame | pd.Series) else None
    return value_fingerprint(data if index is None else (data, index))


def params_fingerprint(estimator: Any, *, without: str | None = None) -> Any:
    """Return a key that is equal, within this process, for equal parameters except one."""
    # skorch treats every attribute as a parameter, even those of scikit-learn's callbacks.
    params = sorted(estimator.get_params(deep=False).items())
    return type(estimator), tuple(
        (name, value_fingerprint(value))
        for name, value in params
        if name != without and not name.startswith("_")
    )


class _Reader:
    """Reads a value recursively and digests its parts in order."""

    def __init__(self, *, by_name: bool) -> None:
        self.hash = hashlib.sha256()
        self._by_name = by_name
        # Functions and classes that no module has under their names, with `by_name`.
        self.nameless: list[Any] = []
        # Visited objects by id, kept alive so that no other object gets the id.
        self._met: dict[int, tuple[int, Any]] = {}
        self._around: list[int] = []
        # Names read from modules of users.
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
            # Layers that share a tensor differ from layers with equal tensors.
            return
        elif (digest := data_digest(value)) is not None:
            self._put("data", digest)
        elif not self._was_met(value):
            self._code_or_object(value, kind)

    def _code_or_object(self, value: Any, kind: Any) -> None:
        if self._by_name and isinstance(value, MethodType):
            self.value(("method", value.__name__, value.__self__))
        elif self._by_name and isinstance(value, type | FunctionType):
            self._put("name", value.__module__, value.__qualname__)
            self.nameless += () if _is_named(value) else (value,)
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
        _updated(self.hash, texts)

    def _was_met(self, value: Any) -> bool:
        place = len(self._met)
        first_place, _ = self._met.setdefault(id(value), (place, value))
        if first_place != place:
            self._put("again", str(first_place))
        return first_place != place

    def _container(self, value: Any, kind: Any) -> None:
        if id(value) in self._around:
            raise TypeError(f"a {kind.__name__} contains itself")
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
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        for variable, cell in cells:
            self._put(variable)
            # An empty cell is filled later, or never.
            with suppress(ValueError):
                content = cell.cell_contents
                self._named(content, f"the variable {variable!r} around {name}")
        names = names_in(value.__code__)
        for module in names.imported:
            if _SURROUNDINGS.get(module, set()) & names.attributes:
                raise TypeError(f"{name} reads values of {module} that may change")
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
                raise TypeError(f"{label} depends on the environment, which may change")
            else:
                self._named(content, label)

    def _module(self, module: ModuleType, attributes: frozenset[str], label: str) -> None:
        """Digest the attributes that code may read from a module, not the whole module."""
        version = installed_version(module.__name__)
        self._put("module", module.__name__, version)
        for name in _SURROUNDINGS.get(module.__name__, set()) & attributes:
            raise TypeError(f"{label} exposes {module.__name__}.{name}, which may change")
        # Each function may read other names.
        _, names_read = self._taken.setdefault(id(module), (module, set()))
        for name in sorted(attributes.intersection(vars(module)) - names_read):
            names_read.add(name)
            attribute = getattr(module, name)
            if isinstance(attribute, ModuleType):
                self._module(attribute, attributes, label)
            elif not version or _is_patch(attribute):
                self._put(name)
                self._named(attribute, f"{name!r} in {label}")
            else:
                self._patches(attribute)

    def _patches(self, value: Any) -> None:
        """Digest a user's patches of a library class or its bases."""
        if not isinstance(value, type):
            return
        for base in value.__mro__:
            patched = [name for name, part in vars(base).items() if _is_patch(part)]
            if patched and installed_name(base) is not None:
                for name in sorted(patched):
                    self._put(name)
                    self._named(vars(base)[name], f"{base.__qualname__}.{name}")

    def _named(self, value: Any, label: str) -> None:
        """Digest a value; an error names where the value is."""
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
        """Digest the class of an object and its pickled state."""
        self._put("object")
        self.value(kind)
        if isinstance(value, Callback) and kind.__module__.startswith("skorch."):
            # Caches filled by training do not matter.
            self.value(dict(sorted(value.get_params(deep=False).items())))
            return
        reduce = copyreg.dispatch_table.get(kind)
        parts = reduce(value) if reduce else value.__reduce_ex__(4)
        if isinstance(parts, str):
            # pickle stores a name only.
            self._put(parts)
            self.value(getattr(value, "__wrapped__", None))
            return
        make, arguments, state, items, pairs = (*parts, None, None, None)[:5]
        if isinstance(state, dict) and all(type(name) is str for name in state):
            # The order of attributes does not matter.
            state = dict(sorted(state.items()))
        self.value([make, arguments, state, list(items or ()), list(pairs or ())])


def _is_patch(value: Any) -> bool:
    """Return whether a function in a library was defined elsewhere."""
    if not isinstance(value, FunctionType):
        return False
    # A wrapper copies ``__module__`` from the wrapped function.
    where = value.__globals__.get("__name__", "")
    return not isinstance(where, str) or not installed_version(where)


class _NamedError(TypeError):
    """Names the unreadable value and where it is."""


def _builtin(value: Any) -> tuple[Any, ...]:
    owner = getattr(value, "__objclass__", getattr(value, "__self__", None))
    if isinstance(owner, ModuleType):
        owner = f"{owner.__name__} {installed_version(owner.__name__)}"
    return value.__qualname__, owner


_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})
# Parts of Python's own objects.
_PARTS: dict[Any, Callable[[Any], tuple[Any, ...]]] = {
    MethodType: lambda value: (value.__func__, value.__self__),
    **dict.fromkeys(
        (BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType), _builtin
    ),
    property: lambda value: (value.fget, value.fset, value.fdel),
    **dict.fromkeys((classmethod, staticmethod), lambda value: (value.__func__,)),
    logging.Logger: lambda value: (value.name,),
}
