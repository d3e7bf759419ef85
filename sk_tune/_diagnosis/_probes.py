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
from sk_tune._diagnosis._findings import Change, Finding, ranked, share
from sk_tune._diagnosis._fold_checks import SampleCurve, check_more_data
from sk_tune._diagnosis._remedies import number, rate_name, regularise, scaled_widths

# A remedy that lowers the held-out loss by this share, at this confidence, shows a fault.
_LEAST_GAIN, _CONFIDENCE = 0.05, 0.95
# A fault with a smaller share of the largest gain is another description of that fault.
_RIVAL = 0.9
# Findings that a probe can confirm or withdraw; no change of a network disproves a fault of
# the data.
_OF_TRAINING = frozenset({
    "overfitting",
    "underfitting",
    "still improving",
    "learning rate too high",
    "learning rate too low",
    "features not scaled",
})
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
    """The measured fall of the logarithm of the held-out loss by a probe."""

    probe: Probe
    gain: Estimate

    @property
    def is_large(self) -> bool:
        """Whether the fall is worth a change and more than noise."""
        is_sure = self.gain.at_least(_CONFIDENCE) > 0
        return is_sure and self.gain.mean > -math.log1p(-_LEAST_GAIN)

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


def _described(changes: Iterable[Change]) -> str:
    text = {"multiply": "times ", "at least": "", "at most": "", "set": ""}
    return " and ".join(
        f"{c.parameter}={text.get(c.action, '')}{c.value:.4g}"
        if isinstance(c.value, int | float)
        else f"{c.parameter}={c.value}"
        for c in changes
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
        ("learning rate too low", "three times the rate", {of_rate: rate and 3 * rate}),
        ("still improving", "twice the epochs", {"max_epochs": n_epochs and 2 * n_epochs}),
        ("underfitting", "twice the width", scaled_widths(params, 2)),
        ("underfitting", "weaker regularisation", weaker),
        ("learning rate too high", "a third of the rate", {of_rate: rate and rate / 3}),
        ("underfitting", "one more layer", {"n_layers": n_layers and n_layers + 1}),
        ("overfitting", "stronger regularisation", stronger),
        ("overfitting", "half the width", scaled_widths(params, 0.5)),
        ("", "another seed", {"random_state": 1 + (seed or 0)}),
    ]
    probes = [
        Probe(
            name=name,
            finding=finding,
            changes=tuple(
                Change(parameter=n, action="set", value=_like(params[n], v), reason=name)
                for n, v in values.items()
                if v is not None and v != params.get(n, v)
            ),
        )
        for finding, name, values in by_name
    ]
    return [probe for probe in probes if probe.changes]


def _like(value: Any, new: Any) -> Any:
    """Return a number of the type of the parameter's value, rounded."""
    if isinstance(new, tuple):
        return new
    return int(new) if isinstance(value, int | None) else float(f"{new:.6g}")


def effects(
    probes: Sequence[Probe], base: Curves, probed: Sequence[Curves | None]
) -> list[Effect]:
    """Return the effects of the probes that were trained (not None)."""
    losses = _end(base)
    falls = [
        None if curves is None else log_ratio(losses, _end(curves)) for curves in probed
    ]
    # The difference between seeds is the usual spread of all differences.
    by_seed = [
        f for p, f in zip(probes, falls, strict=True) if f is not None and not p.finding
    ]
    spread = max([_USUAL_SPREAD, *(float(np.sqrt(np.mean(f**2))) for f in by_seed)])
    return [
        Effect(probe=probe, gain=estimate(fall, usual=spread, n_repeats=base.n_repeats))
        for probe, fall in zip(probes, falls, strict=True)
        if fall is not None
    ]


def _end(curves: Curves) -> Any:
    """Return the held-out loss of each fold at the end, (F,); NaN without losses."""
    keeps_best = curves.params.get("early_stopping") is True
    summary = summarise(curves, keeps_best=keeps_best)
    if summary is None:
        return np.full(curves.n_folds, np.nan)
    return summary.valid_best if keeps_best else summary.valid_end


def check_half(half: Curves, base: Curves, n_rows: float) -> Finding:
    """Check for a lack of samples by a network trained on half of them, `n_rows`."""
    losses = -np.stack([_end(half), _end(base)])
    train = -np.stack([c.train_loss[:, -1] for c in (half, base)])
    return check_more_data(SampleCurve(np.array([1.0, 2.0]) * n_rows, train, losses))


def measured(findings: Iterable[Finding], effects: Iterable[Effect]) -> list[Finding]:
    """Return findings with the effects of probes: confirmed, withdrawn or new issues."""
    by_name: dict[str, list[Effect]] = {}
    for effect in effects:
        by_name.setdefault(effect.probe.finding, []).append(effect)
    best = {
        name: max(tested, key=lambda e: e.gain.mean)
        for name, tested in by_name.items()
        if name in _OF_TRAINING
    }
    largest = max([e.gain.mean for e in best.values() if e.is_large], default=math.inf)
    return [_measured(f, best[f.name], largest) if f.name in best else f for f in findings]


def _measured(finding: Finding, effect: Effect, largest: float) -> Finding:
    """Return a finding that rests on a probe; `largest` is the largest gain of all."""
    evidence = {
        **finding.evidence,
        "probe_gain": -math.expm1(-effect.gain.mean),
        "probe_error": effect.gain.error,
    }
    text = f"Measured: {effect}."
    is_fault = effect.is_large and effect.gain.mean >= _RIVAL * largest
    if is_fault:
        message = text if finding.outcome != "issue" else f"{finding.message} {text}"
        return replace(
            finding,
            outcome="issue",
            severity="high" if effect.gain.mean > math.log(1.5) else "medium",
            message=message,
            evidence=evidence,
            remedy=f"Change {_described(effect.probe.changes)}.",
            changes=effect.probe.changes,
        )
    finding = replace(finding, message=f"{finding.message} {text}", evidence=evidence)
    if finding.outcome == "issue":
        finding = replace(finding, outcome="tip", severity="low")
    return finding
