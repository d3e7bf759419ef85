# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Remedies applied to an estimator, a space or a search."""

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sk_tune._diagnosis._changed_values import changed_range, changed_value
from sk_tune._diagnosis._curves import is_search
from sk_tune._diagnosis._diagnose import NATURAL_BOUNDS, described_space
from sk_tune._diagnosis._findings import PUT_IN_FRONT, Change, Finding, ranked
from sk_tune._nesting import innermost, nested
from sk_tune._search_record import grants_epochs
from sk_tune._space import Choice
from sk_tune._text import html_table

_ABOUT_SPACE = "optimum at the edge"
_SCALE, _FEW_ROWS = "features not scaled", "too few rows"
# Parameter names that reveal the prefix of the network in a space.
_OF_NETWORKS = frozenset({
    *NATURAL_BOUNDS,
    "activation",
    "early_stopping",
    "hidden_layer_sizes",
    "lr_schedule",
    "normalization",
    "optimizer",
})
# Faults of data and folds that no parameter can fix.
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
    """An applied change.

    Parameters
    ----------
    parameter : str
        Full name in the target.
    before, after : object
        Value or range before and after; None if it did not exist.
    reason : str
        Reason in a few words.
    subject : str, default=""
        Kind of network that was changed, in AutoML with several kinds.
    """

    parameter: str
    before: Any
    after: Any
    reason: str
    subject: str = ""

    def __str__(self) -> str:
        old, new = _text(self.before), _text(self.after)
        name = f"{self.subject}, {self.parameter}" if self.subject else self.parameter
        return f"{name}: {old} -> {new} ({self.reason})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """A changed target, and its changes.

    Parameters
    ----------
    target : object
        A changed copy.
    changes : tuple of AppliedChange
        Changes with reasons; empty if the target is unchanged.
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


# Identifies a remedy: the parameters and directions of its changes.
_Remedy = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Step:
    """The origin of a target, with which the next ``apply_remedies`` compares scores."""

    base: Any  # unfitted
    score: float | None  # of the base, as `findings`
    findings: tuple[Finding, ...]
    changes: tuple[AppliedChange, ...]
    remedies: frozenset[_Remedy]
    failed: frozenset[_Remedy]  # remedies that lowered a score


# Attribute of a target that holds its step until the next call; ``clone`` drops it.
_STEP = "_applied_step"


def apply_remedies(findings: Iterable[Finding] | Finding, target: Any) -> Applied:
    """Apply the remedy of the most important finding.

    Parameters
    ----------
    findings : iterable of Finding, or Finding
        As from ``diagnose``.
    target : dict, list, estimator or search
        The space of a search; a network, alone or in a pipeline or a
        TransformedTargetRegressor; or a search, in which the space, estimator and resources
        change.

    Returns
    -------
    Applied
        A changed copy, not fitted, and the changes.

    Notes
    -----
    Each call applies one remedy, for the most important issue.  Then fit the target and
    diagnose it again.  If folds differ, or leak into each other, only feature scaling is
    applied.  Tips are not applied, except "optimum at the edge"; to apply another tip, pass
    it alone.

    The target remembers its origin until it is cloned.  If its score after fitting is lower
    than before (``best_score_``, or the held-out loss of a network with early stopping),
    the next call reverts the remedy and applies the next one to the same original.

    Inserting a scaler turns a network into a pipeline and renames the parameters of a
    space.  If the space lacks a parameter, the parameter is added with a single value, with
    the prefix of the other names.  Distributions other than uniform and log-uniform stay
    unchanged.

    Examples
    --------
    >>> from sk_tune import Change, Finding, apply_remedies
    >>> change = Change(
    ...     parameter="dropout", action="at least", value=0.2, reason="overfits")
    >>> finding = Finding(code="SKT101", name="overfitting", outcome="issue",
    ...     severity="high", message="The held-out loss rises.", changes=(change,))
    >>> applied = apply_remedies([finding], {"net__dropout": [0.0, 0.1, 0.3]})
    >>> applied.target
    {'net__dropout': [0.3]}
    >>> print(applied)
    net__dropout: [0.0, 0.1, 0.3] -> [0.3] (overfits)
    """
    if isinstance(target, Mapping | list | tuple):
        of_space = partial(_changed_space, tuples_are_ranges=True)
        changed, changes, _ = _first_change(of_space, target, findings, frozenset())
        return Applied(
            target=changed if changes else copy.copy(target), changes=tuple(changes)
        )
    step: _Step | None = vars(target).get(_STEP)
    base, score = target, _score(target)
    failed: frozenset[_Remedy] = frozenset() if step is None else step.failed
    reverted: list[AppliedChange] = []
    can_revert = step is not None and step.changes and not isinstance(findings, Finding)
    if step is not None and can_revert and _is_lower(score, step.score):
        reason = f"the score fell from {step.score:.4g} to {score:.4g}"
        if math.isnan(score or 0.0):
            reason = f"the score of {step.score:.4g} became undefined"
        reverted = [
            AppliedChange(
                parameter=c.parameter, before=c.after, after=c.before, reason=reason
            )
            for c in reversed(step.changes)
        ]
        base, findings, score = step.base, step.findings, step.score
        failed |= step.remedies
    findings = findings if isinstance(findings, Finding) else tuple(findings)
    change = _changed_search if is_search(base) else _changed_estimator
    changed, changes, remedies = _first_change(change, base, findings, failed)
    next_step = _Step(
        base=clone(base),
        score=score,
        findings=(findings,) if isinstance(findings, Finding) else findings,
        changes=tuple(changes),
        remedies=remedies,
        failed=failed,
    )
    setattr(changed, _STEP, next_step)
    return Applied(target=changed, changes=(*reverted, *changes))


def _first_change(
    change: Callable[[Any, list[Change]], tuple[Any, list[AppliedChange]]],
    base: Any,
    findings: Iterable[Finding] | Finding,
    failed: frozenset[_Remedy],
) -> tuple[Any, list[AppliedChange], frozenset[_Remedy]]:
    """Return a target after the first remedy with an effect, its changes and remedies."""
    changed: tuple[Any, list[AppliedChange]] = (base, [])
    for steps in _remedies(findings, failed):
        united: dict[str, Change] = {}
        for each in itertools.chain.from_iterable(steps):
            united.setdefault(each.parameter, each)
        changed = change(base, list(united.values()))
        if changed[1]:
            return *changed, frozenset(map(_remedy, steps))
    return *changed, frozenset()


def _score(target: Any) -> float | None:
    """Return the held-out score of a fitted search or network; None without a score."""
    if is_search(target):
        score = getattr(target, "best_score_", None)
        return None if score is None else float(score)
    network = innermost(target)
    if not hasattr(network, "net_"):
        return None
    losses = [float(epoch.get("valid_loss", math.nan)) for epoch in network.history_]
    return None if np.isnan(losses).all() else -float(np.nanmin(losses))


def _is_lower(score: float | None, previous: float | None) -> bool:
    """Return whether a score fell; NaN is the lowest score."""
    if score is None or previous is None or math.isnan(previous):
        return False
    return math.isnan(score) or score < previous - 1e-9 * abs(previous)


def _remedy(changes: Iterable[Change]) -> _Remedy:
    return frozenset((change.parameter, change.action) for change in changes)


def _remedies(
    findings: Iterable[Finding] | Finding, failed: frozenset[_Remedy]
) -> Iterator[list[tuple[Change, ...]]]:
    """Yield remedies to apply together, in order of priority, without failed remedies."""
    if isinstance(findings, Finding):
        for changes in (findings.changes, *findings.alternatives):
            yield [changes]
        return
    findings = list(findings)
    issues = ranked(f for f in findings if f.outcome == "issue")
    scale = [f for f in issues if f.name == _SCALE]
    if any(f.name in _SPOILS_ALL for f in issues):
        issues = scale
    elif any(f.name == _FEW_ROWS for f in issues):
        # With few samples, other findings may be chance.
        issues = [*scale, *(f for f in issues if f.name == _FEW_ROWS)]
    edges = [
        f.changes
        for f in findings
        if f.outcome == "tip" and f.name == _ABOUT_SPACE
        if f.changes and _remedy(f.changes) not in failed
    ]
    for finding in issues:
        for changes in (finding.changes, *finding.alternatives):
            if changes and _remedy(changes) not in failed:
                yield [changes, *edges]
    yield edges


def _changed_estimator(
    estimator: Any, changes: list[Change]
) -> tuple[Any, list[AppliedChange]]:
    target = clone(estimator)
    applied: list[AppliedChange] = []
    for change in changes:
        if change.action == PUT_IN_FRONT:
            target, scaled = with_scaler(target, clone(change.value))
            applied.append(_record(scaled.step, None, change.value, change))
    of_values = [change for change in changes if change.action != PUT_IN_FRONT]
    changed = changed_parameters(target, of_values)
    target.set_params(**{c.parameter: c.after for c in changed})
    return target, [*applied, *changed]


def changed_parameters(estimator: Any, changes: Iterable[Change]) -> list[AppliedChange]:
    """Return the effects of changes on the values of an estimator's parameters."""
    prefix, params = nested(estimator)[-1][1], estimator.get_params()
    applied = []
    for change in changes:
        names = (prefix + change.parameter, change.parameter)
        name = next((n for n in names if n in params), None)
        if name is None:
            continue
        after = changed_value(params[name], change)
        if after != params[name]:
            applied.append(_record(name, params[name], after, change))
    return applied


class _Scaled(NamedTuple):
    """The step of a scaler, and the prefix of the network's parameters before and after."""

    step: str
    prefix: str
    new_prefix: str

    def name(self, parameter: str) -> str:
        """Return the new name of a parameter of the estimator."""
        if not parameter.startswith(self.prefix):
            return parameter
        return self.new_prefix + parameter.removeprefix(self.prefix)

    def space(self, space: Any) -> Any:
        """Return a space for the new names."""
        if isinstance(space, Mapping):
            return {self.name(name): self.space(inner) for name, inner in space.items()}
        if isinstance(space, Choice):
            return Choice([(v, self.space(inner)) for v, inner in space.pairs()])
        is_list = isinstance(space, list | tuple)
        if is_list and any(isinstance(e, Mapping | tuple) for e in space):
            return type(space)(self.space(element) for element in space)
        return space


def with_scaler(estimator: Any, scaler: Any) -> tuple[Any, _Scaled]:
    """Put a scaler directly in front of the network in an estimator, which is changed."""
    name = type(scaler).__name__.lower()
    *around, (network, prefix) = nested(estimator)
    if around and isinstance(pipeline := around[-1][0], Pipeline):
        *transformers, last = pipeline.steps
        while name in dict(transformers):
            name += "_again"
        pipeline.set_params(steps=[*transformers, (name, scaler), last])
        return estimator, _Scaled(around[-1][1] + name, prefix, prefix)
    step = type(network).__name__.lower()
    pipeline = Pipeline([(name, scaler), (step, network)])
    scaled = _Scaled(prefix + name, prefix, f"{prefix}{step}__")
    if not around:
        return pipeline, scaled
    return estimator.set_params(**{prefix.removesuffix("__"): pipeline}), scaled


def _changed_search(search: Any, changes: list[Change]) -> tuple[Any, list[AppliedChange]]:
    target, scaled = clone(search), []
    name, described, are_ranges = described_space(target)
    for change in changes:
        if change.action == PUT_IN_FRONT:
            estimator, renamed = with_scaler(target.estimator, clone(change.value))
            described = renamed.space(described)
            target.set_params(**{name: described, "estimator": estimator})
            resource = getattr(target, "resource", "n_samples")
            if resource != "n_samples":
                target.set_params(resource=renamed.name(resource))
            scaled.append(_record(f"estimator__{renamed.step}", None, change.value, change))
    changes = [change for change in changes if change.action != PUT_IN_FRONT]
    names = set(_names(described))
    prefix = nested(target.estimator)[-1][1]
    resource = getattr(target, "resource", None)
    of_rungs, of_space, of_estimator = [], [], []
    for change in changes:
        full = prefix + change.parameter
        if change.parameter == "max_epochs" and grants_epochs(resource):
            of_rungs.append(change)
        elif names & {full, change.parameter}:
            of_space.append(change)
        else:
            of_estimator.append(change)
    space, applied = _changed_space(
        described, of_space, tuples_are_ranges=are_ranges, prefix=prefix
    )
    estimator, applied_outside = _changed_estimator(target.estimator, of_estimator)
    target.set_params(**{name: space, "estimator": estimator})
    for change in of_rungs:
        # A fitted search has resolved "auto".
        old = getattr(search, "max_resources_", target.max_resources)
        new = changed_value(old, change)
        # Rungs already try fewer epochs.
        if isinstance(old, int) and new > old:
            target.set_params(max_resources=new)
            applied_outside.append(_record("max_resources", old, new, change))
    return target, [*scaled, *applied, *applied_outside]


def _changed_space(
    space: Any, changes: list[Change], *, tuples_are_ranges: bool, prefix: str | None = None
) -> tuple[Any, list[AppliedChange]]:
    """Change a space; without `prefix`, its parameter names reveal it."""
    if prefix is None:
        parts = [name.rpartition("__") for name in _names(space)]
        prefixes = {step + end for step, end, name in parts if name in _OF_NETWORKS}
        # Parameters of a module do not belong to its network.
        prefixes = {p for p in prefixes if "module__" not in p}
        prefix = prefixes.pop() if len(prefixes) == 1 else None
    # A space has no estimator that could get a scaler.
    changes = [change for change in changes if change.action != PUT_IN_FRONT]
    changer = _SpaceChanger(changes, prefix, tuples_are_ranges)
    if isinstance(space, Mapping):
        return changer.completed(space), changer.records
    target = [
        (changer.completed(element[0]), *element[1:])
        if isinstance(element, tuple)
        else changer.completed(element)
        for element in space
    ]
    return target, changer.records


@dataclass(frozen=True, slots=True)
class _SpaceChanger:
    """Changes dictionaries of a space, and records the changes."""

    changes: list[Change]
    prefix: str | None
    tuples_are_ranges: bool
    records: list[AppliedChange] = field(default_factory=list)

    def completed(self, inner: Mapping[str, Any]) -> dict[str, Any]:
        """Return a changed dictionary, with missing parameters added."""
        target, names = self._changed(inner), set(_names(inner))
        for change in self.changes if self.prefix is not None else ():
            name = f"{self.prefix}{change.parameter}"
            if name not in names and change.action in {"set", "at least", "at most"}:
                target[name] = [change.value]
                self.records.append(_record(name, None, [change.value], change))
        return target

    def _changed(self, inner: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._described(name, inner[name]) for name in inner}

    def _described(self, name: str, described: Any) -> Any:
        if isinstance(described, Choice):
            return Choice([(v, self._changed(inner)) for v, inner in described.pairs()])
        for change in self.changes:
            if f"__{name}".endswith(f"__{change.parameter}"):
                old = described
                described = changed_range(
                    old, change, tuples_are_ranges=self.tuples_are_ranges
                )
                if described is not old:
                    self.records.append(_record(name, old, described, change))
        return described


def _names(space: Any) -> Iterable[str]:
    for element in [space] if isinstance(space, Mapping) else space:
        names = element[0] if isinstance(element, tuple) else element
        for name, described in names.items():
            yield name
            if isinstance(described, Choice):
                yield from _names([inner for _, inner in described.pairs()])


def _record(name: str, before: Any, after: Any, change: Change) -> AppliedChange:
    return AppliedChange(parameter=name, before=before, after=after, reason=change.reason)


def _text(described: Any) -> str:
    dist = getattr(described, "dist", None)
    if dist is None:
        return repr(described)
    low, high = described.support()
    return f"{dist.name} from {low:.3g} to {high:.3g}"
