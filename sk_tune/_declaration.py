# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Parameters that a class declares once; its constructor and docstring follow from them.

A parameter of an estimator or a search is a field of the class that declares it, annotated
with its type and its constraints, and described in the docstring of that class.  Classes
that are built on several such classes get an explicit constructor that stores its arguments
and does nothing else, as scikit-learn asks for, and the descriptions of all of them.
"""

import inspect
import re
from ast import literal_eval
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import cache, wraps
from itertools import chain
from numbers import Integral
from typing import Any, TypeVar, dataclass_transform

import sk_tune
from sk_tune._compat import Interval
from sk_tune._text import did_you_mean, page

_Class = TypeVar("_Class", bound=type)
# What a parameter that counts something must be.
COUNT = Interval(Integral, 1, None, closed="left")
# What stands for both sections, where a class describes nothing beside its bases.
_BOTH = "{parameters and attributes}"
_SECTIONS = """Parameters
----------
{parameters}

Attributes
----------
{attributes}"""


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
def parameters(cls: _Class) -> _Class:
    """Make a class of the annotated fields in it and its bases, which are its parameters.

    It gets a constructor, what `with_inherited_docs` puts in for markers, and, for
    scikit-learn, ``_parameter_constraints`` gathered from all bases: an ``Annotated`` type
    holds them behind the type.  A parameter that may be given by position is declared with
    ``field(kw_only=False)``.
    """
    constraints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        constraints |= base.__dict__.get("_parameter_constraints", {})
    annotations = inspect.get_annotations(cls)
    for name, kind in annotations.items():
        if hasattr(kind, "__metadata__"):
            constraints[name] = [*kind.__metadata__]
            # People who ask for the signature see the type alone.
            annotations[name] = kind.__origin__
    cls.__annotations__ = annotations
    declared: Any = dataclass(kw_only=True, eq=False, repr=False)(cls)
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
            # Python 3.13 adds a suggestion, too.
            words = str(error).partition(". Did you mean")[0]
            raise TypeError(f"{words}.{hint}") from None

    declared.__init__ = __init__
    with_inherited_docs(declared)
    return cls


def name_hint(cls: Any, name: str, names: Iterable[str]) -> str:
    """Return what to use instead of an unknown parameter, after a space; or "".

    A class says it in `_other_names` for names of other estimators, such as scikit-learn's.
    """
    advice = getattr(cls, "_other_names", {}).get(name)
    return f" {advice}" if advice else did_you_mean(name, names)


def with_inherited_docs(cls: _Class) -> _Class:
    """Put the descriptions of the bases in for ``{parameters}`` and ``{attributes}``.

    ``{parameters and attributes}`` stands for the two sections with nothing else in them.

    What a class describes stands before what its bases describe, and instead of that where
    both describe the same; what may be given by position stands first.  Siblings share what
    their base says of them, which stands for ``{description}`` and ``{notes}``: its text in
    front of the sections, and its notes with all that follows.  Methods say what is special
    about them; what they share with all others of their name is added.
    """
    # An installation may run with docstrings stripped (python -OO).
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
    for method in chain.from_iterable(vars(base).values() for base in (cls, *bases)):
        if inspect.isfunction(method) and method.__doc__ and method.__name__[0] != "_":
            method.__doc__ = _completed(method)
    return cls


# What methods say of their arguments, results and errors if they say nothing else.
_ARGUMENTS = {
    "X": "X : array-like of shape (n_samples, n_features)\n    Features.",
    "y": "y : array-like of shape (n_samples,) or (n_samples, n_outputs)\n"
    "    Labels or targets.",
    "sample_weight": "sample_weight : array-like of shape (n_samples,), default=None\n"
    "    Weights of the samples.",
}
_RESULTS = {
    "fit": "self\n    The fitted estimator.",
    "predict": "ndarray of shape (n_samples,) or (n_samples, n_outputs)\n"
    "    Labels as they were in y, or targets in the units of y.",
    "predict_proba": "ndarray of shape (n_samples, n_classes)\n"
    "    In the order of ``classes_``.",
    "score": "float\n    Greater is better.",
}
_ERRORS = {"fit": "ValueError\n    If a parameter or the data are not what is asked for."}


@cache
def _completed(method: Any) -> str:
    """Return the docstring of a method with what it shares with others of its name."""
    text, *titled = re.split(
        r"\n\n([A-Z][^\n]+)\n-{3,}\n", inspect.cleandoc(method.__doc__)
    )
    told = dict(zip(titled[::2], titled[1::2], strict=True))
    described = _entries(told.get("Parameters", ""))
    # Such as "X" and "**params"; those that are described together are all described.
    names = [
        str(parameter.replace(annotation=inspect.Parameter.empty)).partition("=")[0]
        for parameter in inspect.signature(method).parameters.values()
    ]
    if described.keys() <= set(names):
        entries = (described.get(name, _ARGUMENTS.get(name, "")) for name in names)
        told["Parameters"] = "\n".join(filter(None, entries))
    if not told.keys() & {"Returns", "Yields"}:
        told["Returns"] = _RESULTS.get(method.__name__, "")
        told.setdefault("Raises", _ERRORS.get(method.__name__, ""))
    order = ["Parameters", "Returns", "Yields", "Raises"]
    sections = [
        f"\n\n{title}\n{'-' * len(title)}\n{told[title]}"
        for title in dict.fromkeys([*order, *told])
        if told.get(title)
    ]
    return "".join([text, *sections])


def _description(doc: str) -> str:
    """Return what stands between the first sentence and the sections of a docstring."""
    return re.split(r"\n\n[^\n]+\n---", doc, maxsplit=1)[0].partition("\n\n")[2]


def _notes(doc: str) -> str:
    """Return the notes of a docstring, with their heading and what follows them."""
    _, heading, notes = doc.partition("Notes\n-----\n")
    return (heading + notes).strip()


def _section(doc: str, title: str) -> str:
    """Return one section of a docstring, without its heading."""
    _, _, after = f"\n{doc}".partition(f"\n{title}\n{'-' * len(title)}\n")
    return re.split(r"\n\n[^\n]+\n---", after, maxsplit=1)[0].strip()


def _entries(section: str) -> dict[str, str]:
    """Return the descriptions in a section by the names that they describe."""
    entries = re.split(r"\n(?=\S)", section.strip()) if section.strip() else []
    return {entry.partition(" : ")[0]: entry for entry in entries}


def _with_default(parameter: inspect.Parameter | None, entry: str) -> str:
    """Put a parameter's default into its description where that has another one."""
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
    """An estimator whose "?" in a notebook opens its page."""

    _doc_link_module = "sk_tune"

    @property
    def _doc_link_template(self) -> str:
        cls = type(self)
        is_at_top = cls.__name__ in sk_tune.__all__
        package = "sk_tune" if is_at_top else ".".join(cls.__module__.split(".")[:2])
        return page(f"api/generated/{package}.{cls.__name__}")
