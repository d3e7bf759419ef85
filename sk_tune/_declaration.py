# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Parameters declared once; constructors and docstrings are derived from them.

A parameter of an estimator or a search is a field of the class that declares it, annotated
with its type and constraints, and described in the docstring of that class.  Subclasses get
an explicit constructor that only stores its arguments, as scikit-learn requires, and the
descriptions of all their bases.
"""

import inspect
import re
from ast import literal_eval
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import cache, wraps
from itertools import chain
from numbers import Integral, Real
from typing import Any, TypeVar, dataclass_transform

from sk_tune._compat import Interval
from sk_tune._text import did_you_mean, page

_Class = TypeVar("_Class", bound=type)


class _NoBool(Interval):  # type: ignore[misc]
    def is_satisfied_by(self, val: Any) -> bool:
        return not isinstance(val, bool) and bool(super().is_satisfied_by(val))


class WholeNumber(_NoBool):
    """Constraint: an integer of at least `low`; True and False are not accepted."""

    def __init__(self, low: int) -> None:
        super().__init__(Integral, low, None, closed="left")


class Number(_NoBool):
    """Constraint: a finite number in an interval; `closed` names the included bounds."""

    def __init__(self, low: float, high: float | None = None, closed: str = "left") -> None:
        super().__init__(Real, low, high, closed=closed)


class Seconds(Number):
    """Constraint: a number of seconds."""

    def __init__(self) -> None:
        super().__init__(0, closed="neither")

    def __str__(self) -> str:
        return "a number of seconds greater than 0, such as 300.0,"


COUNT = WholeNumber(1)
# Marker for both sections of a class that describes only what its bases describe.
_BOTH = "{parameters and attributes}"
_SECTIONS = """Parameters
----------
{parameters}

Attributes
----------
{attributes}"""


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
def parameters(definition: _Class) -> _Class:
    """Turn the annotated fields of an estimator's class and its bases into parameters.

    The class gets a constructor that takes keyword arguments and only stores them, so that
    scikit-learn can clone and search it.  Fields declared with
    ``dataclasses.field(kw_only=False)`` may also be passed by position.

    Parameters
    ----------
    definition : type
        Class whose annotated fields have defaults.  An ``Annotated`` type contains
        scikit-learn's parameter constraints, which ``fit`` checks.  In its docstring,
        ``{parameters}``, ``{attributes}`` and ``{parameters and attributes}`` stand for
        inherited entries.

    Returns
    -------
    type
        The same class.

    See Also
    --------
    NetClassifier : Base of own estimators; fields that are arguments of the module are
        passed to it.

    Examples
    --------
    >>> from torch import nn
    >>> from sk_tune import NetRegressor, parameters
    >>> @parameters
    ... class LinearRegressor(NetRegressor):
    ...     module: type[nn.Module] = nn.LazyLinear
    ...     out_features: int = 1
    ...     max_epochs: int = 5
    >>> LinearRegressor(random_state=0).fit([[0.0], [1.0]], [0.0, 1.0]).n_epochs_
    5
    """
    constraints: dict[str, Any] = {}
    for base in reversed(definition.__mro__):
        constraints |= base.__dict__.get("_parameter_constraints", {})
    annotations = inspect.get_annotations(definition)
    for name, kind in annotations.items():
        if hasattr(kind, "__metadata__"):
            constraints[name] = [*kind.__metadata__]
            # Signatures show the type without constraints.
            annotations[name] = kind.__origin__
    definition.__annotations__ = annotations
    declared: Any = dataclass(kw_only=True, eq=False, repr=False)(definition)
    names = [parameter.name for parameter in fields(declared)]
    declared._parameter_constraints = {n: constraints[n] for n in names if n in constraints}
    init = declared.__init__

    @wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except TypeError as error:
            unknown = next((name for name in kwargs if name not in names), None)
            hint = "" if unknown is None else name_hint(type(self), unknown, names)
            if not hint:
                raise
            # Python 3.13 adds its own suggestion.
            words = str(error).partition(". Did you mean")[0]
            raise TypeError(f"{words}.{hint}") from None

    declared.__init__ = __init__
    with_inherited_docs(declared)
    return definition


def name_hint(cls: Any, name: str, names: Iterable[str]) -> str:
    """Return advice for an unknown parameter, by `_other_names` or similar names, or ""."""
    advice = getattr(cls, "_other_names", {}).get(name)
    return f" {advice}" if advice else did_you_mean(name, names)


def with_inherited_docs(cls: _Class) -> _Class:
    """Replace markers in a class's docstring by the descriptions of its bases.

    ``{parameters}`` and ``{attributes}`` stand for the entries of the bases, and
    ``{parameters and attributes}`` for both sections without entries of the class.
    Entries of a class precede inherited entries and override them by name;
    positional parameters come first.  ``{description}`` stands for a base's text before the
    sections, ``{notes}`` for its notes and everything after them.  Methods describe only
    their own particulars; the common text for methods of their name is added.
    """
    # python -OO strips docstrings.
    if cls.__doc__ is None:
        return cls
    doc = inspect.cleandoc(cls.__doc__).replace(_BOTH, _SECTIONS)
    signature = inspect.signature(cls).parameters
    positional = [n for n, p in signature.items() if p.kind is not p.KEYWORD_ONLY]

    def place(name: str) -> int:
        return positional.index(name) if name in positional else len(positional)

    bases = [base for base in cls.__mro__[1:] if base.__module__.startswith("sk_tune.")]
    base_docs = [inspect.cleandoc(base.__dict__.get("__doc__") or "") for base in bases]
    for title in ("Parameters", "Attributes"):
        marker = f"{{{title.lower()}}}"
        text = _section(doc, title)
        if marker not in text:
            continue
        inherited: dict[str, str] = {}
        for base_doc in base_docs:
            inherited = _entries(_section(base_doc, title)) | inherited
        leading, trailing = (_entries(part) for part in text.split(marker))
        entries = leading | inherited | trailing | leading
        described = [
            _with_default(signature.get(name), entries[name])
            for name in sorted(entries, key=place)
        ]
        doc = doc.replace(text, "\n".join(described))
    for marker, part in (("{description}", _description), ("{notes}", _notes)):
        if marker in doc:
            doc = doc.replace(marker, next(filter(None, map(part, base_docs))))
    cls.__doc__ = f"{doc}\n"
    for member in chain.from_iterable(vars(base).values() for base in (cls, *bases)):
        method = getattr(member, "__func__", member)  # Of class methods.
        if inspect.isfunction(method) and method.__doc__ and method.__name__[0] != "_":
            method.__doc__ = _completed(method)
    return cls


# Descriptions of arguments, results and errors for methods that lack their own.
_ARGUMENTS = {
    "X": "X : array-like of shape (n_samples, n_features)\n    Features.",
    "y": "y : array-like of shape (n_samples,) or (n_samples, n_outputs)\n"
    "    Labels or targets.",
    "sample_weight": "sample_weight : array-like of shape (n_samples,), default=None\n"
    "    Weights of the samples.",
    "input_features": "input_features : array-like of str or None, default=None\n"
    "    Checked against the names of the columns of ``fit``.",
    "n_epochs": "n_epochs : int, default=1\n    Passes over these samples.",
    "path": "path : str or path-like\n    The file.",
    "overwrite": "overwrite : bool, default=False\n    Whether to replace a file.",
    "**params": "**params : dict\n    Names and values.",
    "deep": "deep : bool, default=True\n    Whether to include nested parameters.",
    "ax": "ax : matplotlib Axes or None, default=None\n"
    "    Where to draw; a new figure if None.",
    "**kwargs": "**kwargs : dict of str to object\n    Arguments of :meth:`plot`.",
}
_RESULTS = {
    "fit": "self\n    The fitted estimator.",
    "partial_fit": "self\n    The fitted estimator.",
    "get_params": "dict\n    Names and values.",
    "set_params": "self\n    The estimator.",
    "load": "estimator\n    The fitted estimator.",
    "transform": "ndarray or DataFrame of shape (n_samples, n_columns)\n    Numbers.",
    "fit_transform": "ndarray or DataFrame of shape (n_samples, n_columns)\n    Numbers.",
    "get_feature_names_out": "ndarray of str of shape (n_columns,)\n    Different names.",
    "predict": "ndarray of shape (n_samples,) or (n_samples, n_outputs)\n"
    "    Labels as they were in y, or targets in the units of y.",
    "predict_proba": "ndarray of shape (n_samples, n_classes)\n"
    "    In the order of ``classes_``.",
    "score": "float\n    Greater is better.",
    **dict.fromkeys(
        ("plot", "from_search", "from_estimator"),
        "self\n    With the artists as attributes.",
    ),
}
_ERRORS = {
    "fit": "ValueError\n    If a parameter or the data are invalid.",
    "partial_fit": "ValueError\n    If X or y do not match the first call's.\n"
    "TrainingDivergedError\n    If the loss or a weight becomes infinite or NaN.",
}


@cache
def _completed(method: Any) -> str:
    """Return the docstring of a method, completed with the common text for its name."""
    text, *titled = re.split(
        r"\n\n([A-Z][^\n]+)\n-{3,}\n", inspect.cleandoc(method.__doc__)
    )
    contents = dict(zip(titled[::2], titled[1::2], strict=True))
    described = _entries(contents.get("Parameters", ""))
    # Such as "X" and "**params".  Combined entries must not be completed.
    names = [
        str(parameter.replace(annotation=inspect.Parameter.empty)).partition("=")[0]
        for parameter in inspect.signature(method).parameters.values()
    ]
    if described.keys() <= set(names):
        entries = (described.get(name, _ARGUMENTS.get(name, "")) for name in names)
        contents["Parameters"] = "\n".join(filter(None, entries))
    if not contents.keys() & {"Returns", "Yields"}:
        contents["Returns"] = _RESULTS.get(method.__name__, "")
        contents.setdefault("Raises", _ERRORS.get(method.__name__, ""))
    order = ["Parameters", "Returns", "Yields", "Raises"]
    sections = [
        f"\n\n{title}\n{'-' * len(title)}\n{contents[title]}"
        for title in dict.fromkeys([*order, *contents])
        if contents.get(title)
    ]
    return "".join([text, *sections])


def _description(doc: str) -> str:
    """Return the text between the first sentence and the sections of a docstring."""
    return re.split(r"\n\n[^\n]+\n---", doc, maxsplit=1)[0].partition("\n\n")[2]


def _notes(doc: str) -> str:
    """Return the notes of a docstring with their heading, and all further sections."""
    _, heading, notes = doc.partition("Notes\n-----\n")
    return (heading + notes).strip()


def _section(doc: str, title: str) -> str:
    """Return one section of a docstring, without its heading."""
    _, _, after = f"\n{doc}".partition(f"\n{title}\n{'-' * len(title)}\n")
    return re.split(r"\n\n[^\n]+\n---", after, maxsplit=1)[0].strip()


def _entries(section: str) -> dict[str, str]:
    """Return the entries of a section by their names."""
    entries = re.split(r"\n(?=\S)", section.strip()) if section.strip() else []
    return {entry.partition(" : ")[0]: entry for entry in entries}


def _with_default(parameter: inspect.Parameter | None, entry: str) -> str:
    """Replace the default in a parameter's entry by the signature's."""
    first_line, *lines = entry.split("\n")
    head, mark, written = first_line.partition(", default=")
    if not mark or parameter is None:
        return entry
    default = parameter.default
    try:
        same = literal_eval(written) == default
    except ValueError:
        same = True
    text = f'"{default}"' if isinstance(default, str) else repr(default)
    return entry if same else "\n".join([f"{head}{mark}{text}", *lines])


class Documented:
    """An estimator with a link to its page in its HTML representation."""

    _doc_link_module = "sk_tune"

    @property
    def _doc_link_template(self) -> str:
        cls = type(self)
        return page(f"api/generated/sk_tune.{cls.__name__}")
