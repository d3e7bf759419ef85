# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Probes: changed networks, trained on the same folds to test the findings.

Curves suggest a fault; a probe measures the effect of its remedy.  Effects are relative
falls of the held-out loss, averaged over folds as logarithms.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sk_tune._diagnosis._curves import Curves, Estimate, estimate, log_ratio, summarise
from sk_tune._diagnosis._diagnose import is_whole
from sk_tune._diagnosis._findings import Change, Finding, ranked, share
from sk_tune._diagnosis._fold_checks import SampleCurve, check_more_data
from sk_tune._diagnosis._remedies import (
    has_early_stopping,
    lower_rate,
    number,
    raise_rate,
    rate_name,
    regularise,
    relative_rate,
    rounded,
    scaled_widths,
)
from sk_tune._types import Floats

# A remedy that lowers the held-out loss by this share, at this confidence, confirms a
# fault.  It disproves the fault if, at the same confidence, its effect is smaller.
_LEAST_GAIN, _CONFIDENCE = 0.05, 0.95
# Fall of the held-out loss that shows a fault which the curves do not suggest.  The best of
# several probes is optimistic, so its confidence is corrected for their number.
_LEAST_NEW_GAIN = 0.2
# A fault with less than this share of the largest gain is another effect of that fault.
_RIVAL = 0.9
# If training for a third of the epochs raises the held-out loss by less than this, about
# its error, the other epochs had no effect.
_WASTED = 0.03
# Faults whose remedies make the network fit its training rows better.
_OF_FIT = frozenset({
    "underfitting",
    "still improving",
    "learning rate too high",
    "learning rate too low",
    "features not scaled",
})
# Findings that a probe can confirm or withdraw; no change of a network disproves a fault of
# the data.
_OF_TRAINING = _OF_FIT | {"overfitting"}
_BASELINE, _CONVERGED = "no better than the baseline", "converged long ago"
_TOO_HIGH = "learning rate too high"
# If a learning rate differs from the typical rate by more than this factor, a third and
# three times the rate show little.
_FAR = 10.0
# Share of a constant prediction's loss below which a network has learnt a pattern.
_USEFUL = 0.985
# Usual deviation over folds of the difference between two networks.
_USUAL_SPREAD = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A change of a network; `finding` is the check that it tests, "" for noise."""

    name: str
    finding: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The measured falls of the logarithms of losses with a probe."""

    probe: Probe
    gain: Estimate  # of the held-out loss
    fitted: float  # mean fall of the logarithm of the training loss
    is_useful: bool  # The changed network is better than a constant prediction.

    @property
    def finding(self) -> str:
        """Name of the fault that an improvement would show, "" if none.

        A remedy that makes the training loss rise is a regularisation.  A lower learning
        rate can also be one.
        """
        is_fit, name = self.fitted > 0, self.probe.finding
        if name == _TOO_HIGH and not is_fit:
            return "overfitting"
        is_expected = name not in _OF_TRAINING or is_fit == (name in _OF_FIT)
        return name if is_expected else ""

    def exceeds(self, share: float, confidence: float = _CONFIDENCE) -> bool:
        """Return whether the held-out loss falls by a share, and by more than noise."""
        is_sure = self.gain.at_least(confidence) > 0
        return is_sure and self.gain.mean > -math.log1p(-share)

    @property
    def is_small(self) -> bool:
        """Whether the fall is certainly too small for a fault."""
        return self.gain.at_least(1 - _CONFIDENCE) < -math.log1p(-_LEAST_GAIN)

    def __str__(self) -> str:
        fall, error = -math.expm1(-self.gain.mean), self.gain.error
        verb = "lowers" if fall > 0 else "raises"
        size = f"{share(abs(fall))} ± {share(error)}"
        return f"{self.probe.name} {verb} the held-out loss by {size}"


def remedies(findings: Iterable[Finding]) -> list[Probe]:
    """Return the remedies of issues, then of tips, in the order of importance."""
    ordered = [f for f in ranked(findings) if f.outcome in {"issue", "tip"}]
    probes = []
    for finding in sorted(ordered, key=lambda f: f.outcome != "issue"):
        # With fewer epochs, the alternatives take less time, too.
        fewer = tuple(
            c
            for c in finding.changes
            if c.parameter == "max_epochs" and c.action == "at most"
        )
        for changes in (finding.changes, *finding.alternatives):
            combined = (*fewer, *(c for c in changes if c not in fewer))
            # Ranges are extended in a space only.
            if changes and not any(c.action.startswith("extend") for c in combined):
                name = _described(combined)
                probes.append(Probe(name=name, finding=finding.name, changes=combined))
    return probes


def _described(changes: Sequence[Change]) -> str:
    values = (
        f"{c.value:.4g}" if isinstance(c.value, int | float) else str(c.value)
        for c in changes
    )
    return " and ".join(
        f"{c.parameter}={value}{' times its value' if c.action == 'multiply' else ''}"
        for c, value in zip(changes, values, strict=True)
    )


def variations(params: Mapping[str, Any]) -> list[Probe]:
    """Return small changes of a network, which the checks of the curves do not suggest."""
    decay, dropout = (number(params, name) or 0.0 for name in ("weight_decay", "dropout"))
    of_rate = rate_name(params)
    rate, n_epochs = number(params, of_rate), number(params, "max_epochs")
    n_layers, seed = number(params, "n_layers"), number(params, "random_state")
    weaker = {"dropout": dropout / 2, "weight_decay": decay / 10, "l1": 0.0}
    stronger = {c.parameter: c.value for (c,) in regularise(params, 1, 1)}
    by_name: list[tuple[str, str, dict[str, Any]]] = [
        (
            "learning rate too low",
            "three times the learning rate",
            {of_rate: rate and 3 * rate},
        ),
        ("still improving", "twice the epochs", {"max_epochs": n_epochs and 2 * n_epochs}),
        ("underfitting", "twice the width", scaled_widths(params, 2)),
        ("underfitting", "weaker regularisation", weaker),
        (
            "learning rate too high",
            "a third of the learning rate",
            {of_rate: rate and rate / 3},
        ),
        ("underfitting", "one more layer", {"n_layers": n_layers and n_layers + 1}),
        ("overfitting", "stronger regularisation", stronger),
        ("overfitting", "half the width", scaled_widths(params, 0.5)),
        ("", "another seed", {"random_state": 1 + (seed or 0)}),
    ]
    return _probes(params, by_name)


def decisive(params: Mapping[str, Any]) -> list[Probe]:
    """Return changes that decide about the rate and the number of epochs."""
    n_epochs, relative = number(params, "max_epochs"), relative_rate(params)
    # Early stopping ends a long training, so fewer epochs would show nothing.
    fewer = {} if has_early_stopping(params) else {"max_epochs": n_epochs and n_epochs / 3}
    probes = _probes(params, [(_CONVERGED, "a third of the epochs", fewer)])
    if relative is not None and not 1 / _FAR < relative < _FAR:
        name = f"learning rate too {'low' if relative < 1 else 'high'}"
        changes = (raise_rate if relative < 1 else lower_rate)(params)
        probes.append(Probe(name=_described(changes), finding=name, changes=changes))
    return probes


def _probes(
    params: Mapping[str, Any], by_name: Iterable[tuple[str, str, Mapping[str, Any]]]
) -> list[Probe]:
    """Return probes that set values, without values that the network has."""
    probes = [
        Probe(
            name=name,
            finding=finding,
            changes=tuple(
                Change(parameter=n, action="set", value=_like(n, params[n], v), reason=name)
                for n, v in values.items()
                if v is not None and v != params.get(n, v)
            ),
        )
        for finding, name, values in by_name
    ]
    return [probe for probe in probes if probe.changes]


def _like(parameter: str, value: Any, new: Any) -> Any:
    """Return `new` as a number of the parameter's type, rounded."""
    if isinstance(new, tuple):
        return new
    values = () if value is None else (value,)
    return math.ceil(new) if is_whole(parameter, *values) else rounded(new)


def effects(
    probes: Sequence[Probe], base: Curves, probed: Sequence[Curves | None]
) -> list[Effect]:
    """Return the effects of the probes that were trained (not None)."""
    train, valid = _ends(base)
    ends = [None if curves is None else _ends(curves) for curves in probed]
    falls = [None if end is None else _falls(valid, end[1]) for end in ends]
    # The difference between seeds is the usual spread of all differences.
    by_seed = [
        f for p, f in zip(probes, falls, strict=True) if f is not None and not p.finding
    ]
    spread = max([
        _USUAL_SPREAD,
        *(float(np.sqrt(np.mean(f**2))) for f in by_seed if len(f)),
    ])
    constant = base.baseline_loss
    return [
        Effect(
            probe=probe,
            gain=estimate(fall, usual=spread, n_repeats=base.n_repeats),
            fitted=float(np.mean(_falls(train, end[0]))),
            is_useful=constant is None or bool(np.nanmean(end[1]) < _USEFUL * constant),
        )
        for probe, fall, end in zip(probes, falls, ends, strict=True)
        if fall is not None and len(fall) and end is not None
    ]


def _falls(before: Floats, after: Floats) -> Floats:
    """Return the falls of the logarithm of a loss on folds where both are finite."""
    both = np.isfinite(before) & np.isfinite(after)
    return log_ratio(before[both], after[both]) if both.any() else np.empty(0)


def _ends(curves: Curves) -> tuple[Floats, Floats]:
    """Return training and held-out loss of each fold at the end, (F,); NaN if unknown."""
    keeps_best = curves.params.get("early_stopping") is True
    summary = summarise(curves, keeps_best=keeps_best)
    train, valid = np.full((2, curves.n_folds), np.nan)
    if summary is not None:
        # The summary has no folds that failed.
        folds = np.isfinite(curves.train_loss).any(axis=1)
        train[folds] = summary.train_end
        valid[folds] = summary.valid_best if keeps_best else summary.valid_end
    return train, valid


def check_half(half: Curves, base: Curves, n_rows: float) -> Finding:
    """Check for a lack of samples by a network trained on half of them, `n_rows`."""
    losses = -np.stack([_ends(half)[1], _ends(base)[1]])
    train = -np.stack([c.train_loss[:, -1] for c in (half, base)])
    return check_more_data(SampleCurve(np.array([1.0, 2.0]) * n_rows, train, losses))


def measured(findings: Iterable[Finding], effects: Iterable[Effect]) -> list[Finding]:
    """Return findings with the effects of probes: confirmed, withdrawn or new issues."""
    findings, effects = list(findings), list(effects)
    issues = {f.name for f in findings if f.outcome == "issue"}
    best: dict[str, Effect] = {}
    for effect in sorted(effects, key=lambda e: e.gain.mean):
        # The remedy of an issue tests it, whatever happens to the training loss.
        is_lower_rate = effect.probe.finding == _TOO_HIGH
        is_suspected = is_lower_rate and _TOO_HIGH in issues
        best[_TOO_HIGH if is_suspected else effect.finding] = effect
    of_training = {name: effect for name, effect in best.items() if name in _OF_TRAINING}
    faults = {n for n, e in of_training.items() if n in issues and e.exceeds(_LEAST_GAIN)}
    if not faults:
        faults = _new_faults(of_training, len(effects), needs_pattern=_BASELINE in issues)
    result = []
    for finding in findings:
        name = finding.name
        if name == _CONVERGED and name in best:
            finding = _measured_end(finding, best[name])
        elif name in faults:
            finding = _confirmed(finding, best[name])
        elif name in of_training:
            finding = _unconfirmed(finding, best[name])
        result.append(finding)
    return result


def _new_faults(
    best: Mapping[str, Effect], n_probes: int, *, needs_pattern: bool
) -> set[str]:
    """Return the faults that only probes show.

    With `needs_pattern`, the changed network must beat a constant prediction: without a
    pattern to learn, regularisation lowers the loss, but not below that of a constant.
    """
    confidence = 1 - (1 - _CONFIDENCE) / max(n_probes, 1)
    new = {
        name: effect.gain.mean
        for name, effect in best.items()
        if effect.exceeds(_LEAST_NEW_GAIN, confidence)
        and (effect.is_useful or not needs_pattern)
    }
    largest = max(new.values(), default=0.0)
    return {name for name, gain in new.items() if gain >= _RIVAL * largest}


def _evidence(finding: Finding, effect: Effect) -> dict[str, float]:
    return {
        **finding.evidence,
        "probe_gain": -math.expm1(-effect.gain.mean),
        "probe_error": effect.gain.error,
    }


def _measured_end(finding: Finding, effect: Effect) -> Finding:
    """Return the finding on the end of the training, from a third of the epochs."""
    helps = -effect.gain.mean >= _WASTED
    remedy = "Train for a third of the epochs, or use early stopping."
    return replace(
        finding,
        outcome="passed" if helps else "tip",
        severity=None if helps else "low",
        message=f"Measured: {effect}.",
        evidence=_evidence(finding, effect),
        remedy="" if helps else remedy,
    )


def _confirmed(finding: Finding, effect: Effect) -> Finding:
    """Return an issue that rests on a probe."""
    text = f"Measured: {effect}."
    issue = replace(
        finding,
        outcome="issue",
        severity="high" if effect.gain.mean > math.log(1.5) else "medium",
        message=text if finding.outcome != "issue" else f"{finding.message} {text}",
        evidence=_evidence(finding, effect),
    )
    return _with_remedy(issue, effect)


def _unconfirmed(finding: Finding, effect: Effect) -> Finding:
    """Return a finding that no probe confirms.

    An issue becomes a tip if its best remedy certainly has a small effect, or does not
    lower the loss at all; otherwise it has this remedy.
    """
    message, evidence = f"{finding.message} Measured: {effect}.", _evidence(finding, effect)
    finding = replace(finding, message=message, evidence=evidence)
    if finding.outcome != "issue":
        return finding
    if effect.is_small or effect.gain.mean <= 0:
        return replace(finding, outcome="tip", severity="low")
    return _with_remedy(finding, effect)


def _with_remedy(finding: Finding, effect: Effect) -> Finding:
    changes = effect.probe.changes
    return replace(finding, remedy=f"Set {_described(changes)}.", changes=changes)
