# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Remedies carried out on an estimator, a space or a search."""

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import skopt.space
from scipy import stats
from sklearn.base import clone

from sk_tune._search_record import grants_epochs
from sk_tune._text import html_table, is_number
from sk_tune.diagnosis._curves import is_search, network_part
from sk_tune.diagnosis._diagnose import NATURAL_BOUNDS, described_space, is_whole
from sk_tune.diagnosis._findings import Change, Finding, ranked
from sk_tune.space import Choice

_ON_VALUES: dict[str, Callable[[Any, Any], Any]] = {
    "multiply": operator.mul,
    "at least": max,
    "at most": min,
}


def changed_value(value: Any, change: Change) -> Any:
    """Return what a change makes of a value, or the same value if it cannot be made."""
    if change.action == "set":
        return change.value
    if not is_number(value) or value < 0:
        # A floor or bound under what is not set is its value.  A batch size of -1 is a
        # name, too.
        unset = value is None and change.action in {"at least", "at most"}
        return change.value if unset else value
    if change.action not in _ON_VALUES:
        # A range that goes on beyond its end says nothing of a single value in it.
        return value
    new = _ON_VALUES[change.action](value, change.value)
    return _valid(change.parameter, new, whole=_is_whole(change, value))


class _Range(NamedTuple):
    """The ends of described values, and what describes others in the same way."""

    low: Any
    high: Any
    is_log: bool
    is_whole: bool
    described: Callable[[Any, Any], Any]


def changed_range(described: Any, change: Change, *, tuples_are_ranges: bool = True) -> Any:
    """Return what a change makes of the description of a parameter's values.

    `described` is a list, a distribution of scipy, a dimension of scikit-optimize or a
    tuple (two numbers are a range only if `tuples_are_ranges`); the result is of the same
    kind, and the same object if the change cannot be made.
    """
    if change.action == "set":
        return [change.value]
    ends = _range(described, change, tuples_are_ranges)
    if ends is not None:
        low, high = _moved(ends, change)
        if (low, high) == (ends.low, ends.high):
            return described
        return ends.described(low, high) if low < high else [low]
    categories = getattr(described, "categories", described)
    is_one = isinstance(categories, str | bytes) or not hasattr(categories, "__iter__")
    if is_one or (categories is described and hasattr(described, "rvs")):
        return described
    values = list(categories)
    changed = _changed_list(values, change)
    if changed == values:
        return described
    if categories is described:
        return changed
    return skopt.space.Categorical(changed, name=described.name)


def _range(
    described: Any,
    change: Change,
    tuples_are_ranges: bool,  # noqa: FBT001
) -> _Range | None:
    """Return the ends of what describes a range; None for everything else."""
    if isinstance(described, skopt.space.Real | skopt.space.Integer):
        kind: Any = type(described)
        return _Range(
            described.low,
            described.high,
            described.prior == "log-uniform",
            kind is skopt.space.Integer,
            partial(kind, prior=described.prior, name=described.name),
        )
    if hasattr(described, "rvs"):
        name = getattr(getattr(described, "dist", None), "name", "")
        if name not in _DISTRIBUTIONS:
            return None
        low, high = described.support()
        whole = name == "randint"
        kind = int if whole else float
        is_log = name not in {"uniform", "randint"}
        return _Range(kind(low), kind(high), is_log, whole, _DISTRIBUTIONS[name])
    if not isinstance(described, tuple) or not 2 <= len(described) <= 3:
        return None
    is_range = tuples_are_ranges or isinstance(described[-1], str)
    if not is_range or not all(is_number(end) for end in described[:2]):
        return None
    low, high, *prior = described
    whole = _is_whole(change, low, high)
    return _Range(low, high, prior == ["log-uniform"], whole, lambda a, b: (a, b, *prior))


_DISTRIBUTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "uniform": lambda low, high: stats.uniform(low, high - low),
    "loguniform": stats.loguniform,
    "reciprocal": stats.loguniform,
    "randint": lambda low, high: stats.randint(low, high + 1),
}


def _changed_list(values: list[Any], change: Change) -> list[Any]:
    numbers = [v for v in values if is_number(v)]
    if not numbers or len(numbers) < len(values):
        return values
    bound = change.value
    if change.action == "multiply":
        changed = [changed_value(v, change) for v in values]
        return list(dict.fromkeys(changed))
    value = _valid(change.parameter, bound, whole=_is_whole(change, *numbers))
    if change.action == "at least":
        return [v for v in values if v >= bound] or [value]
    if change.action == "at most":
        return [v for v in values if v <= bound] or [value]
    if change.action == "extend above":
        return values if max(numbers) >= value else [*values, value]
    return values if min(numbers) <= value else [value, *values]


def _moved(ends: _Range, change: Change) -> tuple[Any, Any]:
    low, high, is_log, whole, _ = ends
    bound = change.value
    new_low, new_high = {
        "multiply": (low * bound, high * bound),
        "extend above": (low, max(high, bound)),
        "extend below": (low if is_log and bound <= 0 else min(low, bound), high),
        "at least": (max(low, bound), high),
        "at most": (low, min(high, bound)),
    }[change.action]
    # A range that must move keeps its width.
    if new_low > new_high and change.action == "at least":
        new_high = new_low * high / low if is_log else new_low + (high - low)
    elif new_low > new_high:
        new_low = new_high * low / high if is_log else new_high - (high - low)
        # The lower end stays above 0, below which most parameters mean nothing.
        new_low = max(new_low, 0) if low >= 0 else new_low
    name = change.parameter
    return _valid(name, new_low, whole=whole), _valid(name, new_high, whole=whole)


def _valid(parameter: str, value: Any, *, whole: bool) -> Any:
    """Return a number within what the parameter means, whole if it has to be."""
    low, high = NATURAL_BOUNDS.get(parameter.rpartition("__")[2], (-math.inf, math.inf))
    clipped = min(max(value, low), high)
    return round(clipped) if whole else float(clipped)


def _is_whole(change: Change, *values: Any) -> bool:
    bound = () if change.action == "multiply" else (change.value,)
    return is_whole(change.parameter, *values, *bound)


_ABOUT_SPACE = "optimum at the edge"
# Names by which a space tells where the parameters of its network are.
_OF_NETWORKS = frozenset({
    *NATURAL_BOUNDS,
    "activation",
    "early_stopping",
    "hidden_layer_sizes",
    "lr_schedule",
    "normalization",
    "optimizer",
})
# Faults of the folds, with which no curve tells what to change.
_SPOILS_ALL = frozenset({
    "folds disagree",
    "duplicates across folds",
    "near duplicates across folds",
    "groups across folds",
    "future in the training rows",
    "target among the features",
    "feature that gives the target away",
})


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedChange:
    """A change that was made.

    Parameters
    ----------
    parameter : str
        Its full name in the target.
    before, after : object
        What it was and is: a value or what may vary; None if it was not there.
    reason : str
        Why.
    subject : str, default=""
        Kind of network that was changed, in AutoML, which trains several kinds.
    """

    parameter: str
    before: Any
    after: Any
    reason: str
    subject: str = ""

    def __str__(self) -> str:
        before, after = _text(self.before), _text(self.after)
        name = f"{self.subject}, {self.parameter}" if self.subject else self.parameter
        return f"{name}: {before} -> {after} ({self.reason})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """A target with remedies carried out.

    Parameters
    ----------
    target : object
        A changed copy.
    changes : tuple of AppliedChange
        What was changed and why; empty if nothing was.
    """

    target: Any
    changes: tuple[AppliedChange, ...]

    def __str__(self) -> str:
        return "\n".join(str(change) for change in self.changes) or "Nothing was changed."

    def _repr_html_(self) -> str:
        if not self.changes:
            return f"<p>{self}</p>"
        rows = [
            [c.parameter, _text(c.before), _text(c.after), c.reason] for c in self.changes
        ]
        return html_table(["parameter", "before", "after", "reason"], rows)


def apply(findings: Iterable[Finding] | Finding, target: Any) -> Applied:
    """Carry out the remedies of findings.

    Parameters
    ----------
    findings : iterable of Finding, or Finding
        As from ``diagnose``.
    target : dict, list, estimator or search
        A space as the searches take it, a network or a pipeline that ends in one, or a
        search, of which space, estimator and resources are changed.

    Returns
    -------
    Applied
        A changed copy, not fitted, and the changes.

    Notes
    -----
    Issues of one candidate have a common cause: only the most important one that has a
    remedy is treated.  None is if a fold is unlike the others or folds leak into each
    other (see ``find_leaks``), because that spoils all else; and where rows are too few no
    other than this.  The network is then to be trained and looked at again.  Tips are
    followed if they are about a space; any other has to be given alone.

    A parameter that a space lacks is added to it with one value, where the other names tell
    what stands in front of it.  Distributions that are not uniform are left alone.

    Examples
    --------
    >>> from sk_tune.diagnosis import Change, Finding, apply
    >>> change = Change(
    ...     parameter="dropout", action="at least", value=0.2, reason="overfits")
    >>> finding = Finding(code="SKT101", name="overfitting", outcome="issue",
    ...     severity="high", message="The held-out loss rises.", changes=(change,))
    >>> applied = apply([finding], {"net__dropout": [0.0, 0.1, 0.3]})
    >>> applied.target
    {'net__dropout': [0.3]}
    >>> print(applied)
    net__dropout: [0.0, 0.1, 0.3] -> [0.3] (overfits)
    """
    if isinstance(findings, Finding):
        changes = list(findings.changes)
    else:
        changes = _chosen(list(findings))
    if isinstance(target, Mapping | list | tuple):
        target, made = _changed_space(target, changes, tuples_are_ranges=True)
    elif is_search(target):
        target, made = _changed_search(target, changes)
    else:
        target, made = _changed_estimator(target, changes)
    return Applied(target=target, changes=tuple(made))


def _chosen(findings: list[Finding]) -> list[Change]:
    """Return the changes to make: of one parameter only one."""
    issues = ranked(f for f in findings if f.outcome == "issue")
    if any(f.name in _SPOILS_ALL for f in issues):
        issues = []
    # With few samples, all else that is found may be chance.
    issues = [f for f in issues if f.name == "too few rows"] or issues
    chosen = [f for f in issues if f.changes][:1]
    chosen += [f for f in findings if f.outcome == "tip" and f.name == _ABOUT_SPACE]
    changes: dict[str, Change] = {}
    for finding in chosen:
        for change in finding.changes:
            changes.setdefault(change.parameter, change)
    return list(changes.values())


def _changed_estimator(
    estimator: Any, changes: list[Change]
) -> tuple[Any, list[AppliedChange]]:
    target = clone(estimator)
    _, prefix = network_part(target)
    params = target.get_params()
    made = []
    for change in changes:
        names = (prefix + change.parameter, change.parameter)
        name = next((n for n in names if n in params), None)
        if name is None:
            continue
        after = changed_value(params[name], change)
        if after != params[name]:
            made.append(_made(name, params[name], after, change))
    target.set_params(**{change.parameter: change.after for change in made})
    return target, made


def _changed_search(search: Any, changes: list[Change]) -> tuple[Any, list[AppliedChange]]:
    target = clone(search)
    name, described, are_ranges = described_space(target)
    known = set(_names(described))
    _, prefix = network_part(target.estimator)
    resource = getattr(target, "resource", None)
    of_rungs, of_space, of_estimator = [], [], []
    for change in changes:
        full = prefix + change.parameter
        if change.parameter == "max_epochs" and grants_epochs(resource):
            of_rungs.append(change)
        elif known & {full, change.parameter}:
            of_space.append(change)
        else:
            of_estimator.append(change)
    space, made = _changed_space(
        described, of_space, tuples_are_ranges=are_ranges, prefix=prefix
    )
    estimator, also_made = _changed_estimator(target.estimator, of_estimator)
    target.set_params(**{name: space, "estimator": estimator})
    for change in of_rungs:
        # Fitted, a search knows what "auto" came to.
        before = getattr(search, "max_resources_", target.max_resources)
        after = changed_value(before, change)
        # Fewer epochs are what the rungs already try.
        if isinstance(before, int) and after > before:
            target.set_params(max_resources=after)
            also_made.append(_made("max_resources", before, after, change))
    return target, [*made, *also_made]


def _changed_space(
    space: Any, changes: list[Change], *, tuples_are_ranges: bool, prefix: str | None = None
) -> tuple[Any, list[AppliedChange]]:
    """Change a space; without a prefix its names tell where the network's are."""
    if prefix is None:
        known = [name for name in _names(space) if name.rpartition("__")[2] in _OF_NETWORKS]
        prefixes = {name[: -len(name.rpartition("__")[2])] for name in known}
        # Parameters of a module are none of its network.
        prefixes = {p for p in prefixes if p.rpartition("module__")[1] == ""}
        prefix = prefixes.pop() if len(prefixes) == 1 else None
    changer = _SpaceChanger(changes, prefix, tuples_are_ranges)
    if isinstance(space, Mapping):
        return changer.completed(space), changer.made
    target = [
        (changer.completed(element[0]), *element[1:])
        if isinstance(element, tuple)
        else changer.completed(element)
        for element in space
    ]
    return target, changer.made


@dataclass(frozen=True, slots=True)
class _SpaceChanger:
    """Changes dictionaries of a space, and notes what was `made` of them."""

    changes: list[Change]
    prefix: str | None
    tuples_are_ranges: bool
    made: list[AppliedChange] = field(default_factory=list)

    def completed(self, inner: Mapping[str, Any]) -> dict[str, Any]:
        """Return a changed dictionary, with the parameters that it lacks."""
        target, known = self._changed(inner), set(_names(inner))
        for change in self.changes:
            is_value = change.action in {"set", "at least", "at most"}
            if self.prefix is None or not is_value:
                continue
            name = self.prefix + change.parameter
            if name not in known:
                target[name] = [change.value]
                self.made.append(_made(name, None, [change.value], change))
        return target

    def _changed(self, inner: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._described(name, inner[name]) for name in inner}

    def _described(self, name: str, described: Any) -> Any:
        if isinstance(described, Choice):
            return Choice([(v, self._changed(inner)) for v, inner in described.pairs()])
        for change in self.changes:
            if name == change.parameter or name.endswith("__" + change.parameter):
                before = described
                described = changed_range(
                    before, change, tuples_are_ranges=self.tuples_are_ranges
                )
                if described is not before:
                    self.made.append(_made(name, before, described, change))
        return described


def _names(space: Any) -> Iterable[str]:
    for element in [space] if isinstance(space, Mapping) else space:
        names = element[0] if isinstance(element, tuple) else element
        for name, described in names.items():
            yield name
            if isinstance(described, Choice):
                yield from _names([inner for _, inner in described.pairs()])


def _made(name: str, before: Any, after: Any, change: Change) -> AppliedChange:
    return AppliedChange(parameter=name, before=before, after=after, reason=change.reason)


def _text(described: Any) -> str:
    dist = getattr(described, "dist", None)
    if dist is None:
        return repr(described)
    low, high = described.support()
    return f"{dist.name} from {low:.3g} to {high:.3g}"
