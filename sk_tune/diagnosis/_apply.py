# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Remedies carried out on an estimator, a space or a search."""

import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline

from sk_tune._search_record import grants_epochs
from sk_tune._text import html_table
from sk_tune.diagnosis._changed_values import changed_range, changed_value
from sk_tune.diagnosis._curves import is_search, network_part
from sk_tune.diagnosis._diagnose import NATURAL_BOUNDS, described_space
from sk_tune.diagnosis._findings import PUT_IN_FRONT, Change, Finding, ranked
from sk_tune.space import Choice

_ABOUT_SPACE = "optimum at the edge"
_SCALE, _FEW_ROWS = "features not scaled", "too few rows"
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
# Faults of the folds, which no parameter mends.
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


# A remedy is told by the parameters that it changes and in which direction.
_Remedy = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Step:
    """How a target was made, for the next call of ``apply`` to judge by its score.

    `base` is the unfitted original, `score` and `findings` are its own; `changes` made the
    target of it, by `remedies`. `failed` are remedies that lowered a score before.
    """

    base: Any
    score: float | None
    findings: tuple[Finding, ...]
    changes: tuple[AppliedChange, ...]
    remedies: frozenset[_Remedy]
    failed: frozenset[_Remedy]

    def taken_back(self, score: float) -> list[AppliedChange]:
        """Return the changes in reverse, because they led to a lower `score`."""
        reason = f"the score fell from {self.score:.4g} to {score:.4g}"
        return [
            AppliedChange(
                parameter=c.parameter, before=c.after, after=c.before, reason=reason
            )
            for c in reversed(self.changes)
        ]


# Where the target of one call keeps its step until the next; ``clone`` drops it.
_STEP = "_applied_step"


def apply(findings: Iterable[Finding] | Finding, target: Any) -> Applied:
    """Carry out the remedy of the most important finding.

    Parameters
    ----------
    findings : iterable of Finding, or Finding
        As from ``diagnose``.
    target : dict, list, estimator or search
        A space as the searches take it; a network, a pipeline that ends in one, or a
        TransformedTargetRegressor of these; or a search, of which space, estimator and
        resources are changed.

    Returns
    -------
    Applied
        A changed copy, not fitted, and the changes.

    Notes
    -----
    One remedy is carried out at a time, that of the most important issue.  Fit the target
    and diagnose it again.  Nothing but the scale of features is changed if a fold is unlike
    the others or folds leak into each other (see ``find_leaks``).  Of tips, only the one
    about the edges of a space is followed; any other has to be given alone.

    The target remembers how it was made, until it is cloned.  If it was fitted and its
    score is lower than before (``best_score_`` of a search, the held-out loss of a network
    with early stopping), the next call takes the remedy back, tries the next one from the
    same start, and does not repeat the one that failed.

    A scaler that is put in front of a network makes a pipeline of it; parameters of a space
    are renamed, and a ``sample_weight`` for ``fit`` then needs the name of the step, too.
    A parameter that a space lacks is added with one value, if the other names tell its
    prefix.  Distributions other than uniform and log-uniform are left alone.

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
    if isinstance(target, Mapping | list | tuple):
        for steps in _remedies(findings, frozenset()):
            changed, made = _changed_space(target, _united(steps), tuples_are_ranges=True)
            if made:
                return Applied(target=changed, changes=tuple(made))
        return Applied(target=copy.copy(target), changes=())
    return _applied(findings, target)


def _applied(findings: Iterable[Finding] | Finding, target: Any) -> Applied:
    """Carry out a remedy on an estimator or a search, after taking back one that failed."""
    step: _Step | None = vars(target).get(_STEP)
    base, score = target, _score(target)
    failed: frozenset[_Remedy] = frozenset() if step is None else step.failed
    undone: list[AppliedChange] = []
    is_given = isinstance(findings, Finding)
    can_undo = step is not None and step.changes and not is_given
    if step is not None and can_undo and _is_lower(score, step.score):
        base, findings, score_before = step.base, step.findings, score
        failed |= step.remedies
        undone, score = step.taken_back(score_before or math.nan), step.score
    kept = (findings,) if isinstance(findings, Finding) else tuple(findings)
    change = _changed_search if is_search(base) else _changed_estimator
    changed, remedies = clone(base), frozenset[_Remedy]()
    made: list[AppliedChange] = []
    for steps in _remedies(findings if is_given else kept, failed):
        changed, made = change(base, _united(steps))
        if made:
            remedies = frozenset(map(_remedy, steps))
            break
    kept_step = _Step(
        base=clone(base),
        score=score,
        findings=kept,
        changes=tuple(made),
        remedies=remedies,
        failed=failed,
    )
    setattr(changed, _STEP, kept_step)
    return Applied(target=changed, changes=(*undone, *made))


def _score(target: Any) -> float | None:
    """Return the held-out score of a fitted search or network; None if there is none."""
    if is_search(target):
        score = getattr(target, "best_score_", None)
        return None if score is None else float(score)
    network, _ = network_part(target)
    if not hasattr(network, "net_"):
        return None
    losses = [float(epoch.get("valid_loss", math.nan)) for epoch in network.history_]
    return None if np.isnan(losses).all() else -float(np.nanmin(losses))


def _is_lower(score: float | None, before: float | None) -> bool:
    """Return whether a score fell; a missing one is the lowest."""
    if score is None or before is None or math.isnan(before):
        return False
    return math.isnan(score) or score < before - 1e-9 * abs(before)


def _remedy(changes: Iterable[Change]) -> _Remedy:
    return frozenset((change.parameter, change.action) for change in changes)


def _remedies(
    findings: Iterable[Finding] | Finding, failed: frozenset[_Remedy]
) -> Iterator[list[tuple[Change, ...]]]:
    """Yield what may be carried out together, in order, without remedies that failed."""
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


def _united(steps: Iterable[Iterable[Change]]) -> list[Change]:
    """Return the changes of several remedies, only the first of each parameter."""
    changes: dict[str, Change] = {}
    for change in itertools.chain.from_iterable(steps):
        changes.setdefault(change.parameter, change)
    return list(changes.values())


def _changed_estimator(
    estimator: Any, changes: list[Change]
) -> tuple[Any, list[AppliedChange]]:
    target = clone(estimator)
    made: list[AppliedChange] = []
    for change in changes:
        if change.action == PUT_IN_FRONT:
            target, scaled = _with_scaler(target, clone(change.value))
            made.append(_made(scaled.step, None, change.value, change))
    _, prefix = network_part(target)
    params, n_scalers = target.get_params(), len(made)
    for change in changes:
        if change.action == PUT_IN_FRONT:
            continue
        names = (prefix + change.parameter, change.parameter)
        name = next((n for n in names if n in params), None)
        if name is None:
            continue
        after = changed_value(params[name], change)
        if after != params[name]:
            made.append(_made(name, params[name], after, change))
    target.set_params(**{c.parameter: c.after for c in made[n_scalers:]})
    return target, made


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


def _with_scaler(estimator: Any, scaler: Any) -> tuple[Any, _Scaled]:
    """Put a scaler directly in front of the network in an estimator, which is changed."""
    name = type(scaler).__name__.lower()
    if isinstance(estimator, TransformedTargetRegressor):
        inner, scaled = _with_scaler(estimator.regressor, scaler)
        estimator.set_params(regressor=inner)
        return estimator, _Scaled(*(f"regressor__{part}" for part in scaled))
    if not isinstance(estimator, Pipeline):
        step = type(estimator).__name__.lower()
        pipeline = Pipeline([(name, scaler), (step, estimator)])
        return pipeline, _Scaled(name, "", f"{step}__")
    *before, (last, network) = estimator.steps
    if isinstance(network, Pipeline | TransformedTargetRegressor):
        inner, scaled = _with_scaler(network, scaler)
        estimator.set_params(**{last: inner})
        return estimator, _Scaled(*(f"{last}__{part}" for part in scaled))
    while name in dict(before):
        name += "_again"
    estimator.set_params(steps=[*before, (name, scaler), (last, network)])
    return estimator, _Scaled(name, f"{last}__", f"{last}__")


def _changed_search(search: Any, changes: list[Change]) -> tuple[Any, list[AppliedChange]]:
    target, scaled = clone(search), []
    name, described, are_ranges = described_space(target)
    for change in changes:
        if change.action == PUT_IN_FRONT:
            estimator, renamed = _with_scaler(target.estimator, clone(change.value))
            described = renamed.space(described)
            target.set_params(**{name: described, "estimator": estimator})
            resource = getattr(target, "resource", "n_samples")
            if resource != "n_samples":
                target.set_params(resource=renamed.name(resource))
            scaled.append(_made(f"estimator__{renamed.step}", None, change.value, change))
    changes = [change for change in changes if change.action != PUT_IN_FRONT]
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
    return target, [*scaled, *made, *also_made]


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
    # A space has no estimator to put anything in front of.
    changes = [change for change in changes if change.action != PUT_IN_FRONT]
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
