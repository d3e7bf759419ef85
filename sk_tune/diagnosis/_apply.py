# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Remedies carried out on an estimator, a space or a search."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone

from sk_tune.diagnosis._edge import NATURAL_BOUNDS, described_space
from sk_tune.diagnosis._records import Change, Finding
from sk_tune.diagnosis._reshape import changed_range, changed_value
from sk_tune.diagnosis._sources import is_search, network_part
from sk_tune.diagnosis._verdict import ranked
from sk_tune.space import Choice

__all__ = ["Applied", "AppliedChange", "apply"]

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
    """

    parameter: str
    before: Any
    after: Any
    reason: str

    def __str__(self) -> str:
        before, after = _text(self.before), _text(self.after)
        return f"{self.parameter}: {before} -> {after} ({self.reason})"


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
    # Where rows are few, all else that is found may be chance.
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
        if change.parameter == "max_epochs" and _is_epochs(resource):
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
    return target, [*made, *also_made, *_longer_rungs(search, target, of_rungs)]


def _is_epochs(resource: Any) -> bool:
    return isinstance(resource, str) and resource.rpartition("__")[2] == "max_epochs"


def _longer_rungs(search: Any, target: Any, changes: list[Change]) -> list[AppliedChange]:
    """Grant the last rung more epochs; fewer are what the rungs already try."""
    made = []
    for change in changes:
        # Fitted, a search knows what "auto" came to.
        before = getattr(search, "max_resources_", target.max_resources)
        after = changed_value(before, change)
        if isinstance(before, int) and after > before:
            target.set_params(max_resources=after)
            made.append(_made("max_resources", before, after, change))
    return made


def _changed_space(
    space: Any,
    changes: list[Change],
    *,
    tuples_are_ranges: bool,
    prefix: str | None = None,
) -> tuple[Any, list[AppliedChange]]:
    """Change a space; without a prefix its names tell where the network's are."""
    made: list[AppliedChange] = []
    if prefix is None:
        prefix = _prefix_in(space)
    if isinstance(space, Mapping):
        target: Any = _changed_dict(space, changes, made, tuples_are_ranges)
        _add_missing(space, target, changes, made, prefix)
        return target, made
    elements = []
    for element in space:
        own = element[0] if isinstance(element, tuple) else element
        changed = _changed_dict(own, changes, made, tuples_are_ranges)
        _add_missing(own, changed, changes, made, prefix)
        elements.append((changed, *element[1:]) if isinstance(element, tuple) else changed)
    return elements, made


def _changed_dict(
    space: Mapping[str, Any],
    changes: list[Change],
    made: list[AppliedChange],
    are_ranges: bool,  # noqa: FBT001
) -> dict[str, Any]:
    target = {}
    for name, described in space.items():
        if isinstance(described, Choice):
            target[name] = Choice([
                (value, _changed_dict(inner, changes, made, are_ranges))
                for value, inner in described.pairs()
            ])
            continue
        target[name] = described
        for change in changes:
            if name == change.parameter or name.endswith("__" + change.parameter):
                after = changed_range(described, change, tuples_are_ranges=are_ranges)
                if after is not described:
                    made.append(_made(name, described, after, change))
                target[name] = after
    return target


def _add_missing(
    space: Mapping[str, Any],
    target: dict[str, Any],
    changes: list[Change],
    made: list[AppliedChange],
    prefix: str | None,
) -> None:
    if prefix is None:
        return
    known = list(_names([space]))
    for change in changes:
        name = prefix + change.parameter
        is_value = change.action in {"set", "at least", "at most"}
        if name not in known and is_value:
            target[name] = [change.value]
            made.append(_made(name, None, [change.value], change))


def _prefix_in(space: Any) -> str | None:
    """Return what stands in front of a network's parameters, if the names tell."""
    own = [name for name in _names(space) if name.rpartition("__")[2] in _OF_NETWORKS]
    prefixes = {name[: -len(name.rpartition("__")[2])] for name in own}
    # What a module takes is no parameter of its network.
    prefixes = {p for p in prefixes if p.rpartition("module__")[1] == ""}
    return prefixes.pop() if len(prefixes) == 1 else None


def _names(space: Any) -> Iterable[str]:
    for element in [space] if isinstance(space, Mapping) else space:
        own = element[0] if isinstance(element, tuple) else element
        for name, described in own.items():
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
