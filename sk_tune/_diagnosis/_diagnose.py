# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Diagnosis of a search, a network or curves, and the checks across candidates.

References
----------
.. [1] C. Nadeau, Y. Bengio. Inference for the generalization error. Machine Learning
   52:239-281, 2003. Section 4, the corrected resampled t-test.
"""

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.stats import t as student
from sklearn.base import is_classifier, is_regressor

from sk_tune._diagnosis._curves import (
    Summary,
    best_candidate,
    checked_row,
    configured,
    curves_of,
    curves_of_estimator,
    is_search,
    is_trained,
    larger_in_search,
    summarise,
)
from sk_tune._diagnosis._findings import (
    RULES,
    Change,
    Curves,
    Finding,
    Findings,
    share,
    with_good_fit,
    without,
    without_doubled_epochs,
)
from sk_tune._diagnosis._fit_checks import (
    check_baseline,
    check_converged,
    check_improving,
    check_overfitting,
    check_underfitting,
)
from sk_tune._diagnosis._fold_checks import (
    SampleCurve,
    check_folds,
    check_more_data,
    check_rows,
)
from sk_tune._diagnosis._leak_copies import MOST_DENSE
from sk_tune._diagnosis._leaks import find_leaks
from sk_tune._diagnosis._rate_checks import (
    check_diverged,
    check_rate_high,
    check_rate_low,
    diverged,
)
from sk_tune._diagnosis._remedies import clipped, in_steps, lower_rate
from sk_tune._diagnosis._scale_checks import can_normalise, check_scale, scale_of_inputs
from sk_tune._nesting import innermost, nested
from sk_tune._search_record import (
    NOT_TRAINED,
    UNSCORED,
    deciding_metric,
    fold_layout,
    granted_resource,
    search_record,
)
from sk_tune._space import as_space
from sk_tune._types import Bools, Features, Floats, Ints

# Failure reason of a training with too large steps.
_RAN_AWAY = re.compile(r"became (nan|inf|infinite)\b")
_Checks = dict[str, Callable[[Summary], Finding]]
_CHECKS_OF_CURVES: _Checks = {
    "overfitting": check_overfitting,
    "underfitting": check_underfitting,
    "still improving": check_improving,
    "converged long ago": check_converged,
    "diverged": check_diverged,
    "learning rate too high": check_rate_high,
    "learning rate too low": check_rate_low,
    "folds disagree": check_folds,
    "too few rows": check_rows,
    "no better than the baseline": check_baseline,
}


def findings_of(
    source: Any,
    X: Features | None = None,
    y: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    times: ArrayLike | None = None,
    result_row: int | None = None,
    extra_checks: Sequence[Callable[[Any], Finding]] = (),
) -> tuple[Finding, ...]:
    """Return the findings of ``diagnose`` without probes."""
    if isinstance(source, SampleCurve) or hasattr(source, "train_sizes"):
        curve = SampleCurve(source.train_sizes, source.train_scores, source.test_scores)
        return Findings([check_more_data(curve), *extra_findings(source, extra_checks)])
    data = check_data(source, X, y, groups, times)
    data += extra_findings(source, extra_checks)
    if isinstance(source, Curves):
        return Findings(with_good_fit([*_of_curves(source), *data]))
    if is_search(source):
        return Findings(_of_search(source, result_row, X, data))
    curves = curves_of_estimator(source)
    network = innermost(source)
    findings = _of_curves(curves, keeps_best=curves.params.get("early_stopping") is True)
    scale = check_scale(
        scale_of_inputs(source, X),
        curves.params,
        findings,
        may_normalise=can_normalise(network, curves.params),
    )
    return Findings(with_good_fit([*findings, scale, *data]))


def extra_findings(
    source: Any, checks: Sequence[Callable[[Any], Finding]]
) -> list[Finding]:
    """Return the findings of a user's checks."""
    findings = [check(source) for check in checks]
    for finding in findings:
        if not isinstance(finding, Finding):
            raise TypeError(f"A check must return a Finding. Got {finding!r} instead.")
    return findings


def _of_search(
    search: Any, result_row: int | None, X: Any, data: list[Finding]
) -> list[Finding]:
    """Return the findings of a candidate, of the data and of the search as a whole."""
    row = best_candidate(search) if result_row is None else result_row
    chosen = checked_row(search, row)
    network, params = configured(search, chosen)
    failures = check_failures(search, chosen, params)
    findings: list[Finding] = []
    if is_trained(search, chosen) or failures.outcome != "issue":
        curves = curves_of(search, chosen)
        keeps_best = getattr(search, "select_epoch", "last") == "best"
        findings = _of_curves(
            curves,
            keeps_best=keeps_best or bool(params.get("early_stopping", False)),
            larger=larger_in_search(search, chosen),
        )
    record = search_record(search)
    if record is not None and chosen in record.cut_rows:
        message = "The time budget ended this training early."
        findings = without(_OF_WHOLE_TRAINING, findings, message)
    scale = record.inputs[chosen] if record is not None and record.inputs else None
    fitted = getattr(search, "best_estimator_", network)
    if scale is None and X is not None:
        scale = scale_of_inputs(fitted, X)
    normalises = can_normalise(innermost(fitted), params)
    findings.append(
        check_scale(scale, params, [*findings, failures], may_normalise=normalises)
    )
    findings = [replace(finding, result_row=chosen) for finding in findings]
    ceiling = check_noise_ceiling(search)
    if ceiling.evidence.get("alike") == 1.0:
        # A candidate that is best by chance may lie anywhere.
        edge = RULES["optimum at the edge"].not_applicable(
            "The folds cannot distinguish the candidates."
        )
    else:
        edge = check_edge(search)
    of_search = [edge, ceiling, check_optimism(search), check_cut_short(search), failures]
    return with_good_fit([*findings, *data, *of_search], result_row=chosen)


def _of_curves(
    curves: Curves, *, keeps_best: bool = False, larger: Curves | None = None
) -> list[Finding]:
    summary = summarise(curves, keeps_best=keeps_best)
    if summary is None:
        return [
            diverged("No fold has a finite training loss.", {}, curves.params)
            if name == "diverged"
            else RULES[name].not_applicable("No fold has a training loss.")
            for name in _CHECKS_OF_CURVES
        ]
    beyond = None if larger is None else summarise(larger)
    underfitting = partial(check_underfitting, larger=beyond)
    checks: _Checks = {**_CHECKS_OF_CURVES, "underfitting": underfitting}
    return without_doubled_epochs(
        _consistent([check(summary) for check in checks.values()])
    )


# A training that the time budget ended early does not show whether these are issues.
_OF_WHOLE_TRAINING = ("underfitting", "converged long ago", "learning rate too low")
_TOO_FAST = ("diverged", "learning rate too high")
# Curves at too high a learning rate do not predict curves at a lower rate.
_NOT_TOO_FAST = ("still improving", "learning rate too low")


def _consistent(findings: list[Finding]) -> list[Finding]:
    """Withdraw findings that hold only if the learning rate is not too high."""
    fast = next((f for f in findings if f.name in _TOO_FAST and f.outcome == "issue"), None)
    if fast is None:
        return findings
    message = f"This cannot be checked until the learning rate is lower ({fast.name})."
    return without(_NOT_TOO_FAST, findings, message)


# Checks of the leak guard that need no folds.
_OF_COLUMNS = (
    "target among the features",
    "feature that gives the target away",
    "outliers",
)


def check_data(source: Any, X: Any, y: Any, groups: Any, times: Any) -> list[Finding]:
    """Return the findings of the leak guard; without a search, only about columns."""
    if X is None or y is None or not _is_table(X):
        return []
    estimator = getattr(source, "estimator", source)
    cv = getattr(source, "_checked_cv_orig", getattr(source, "cv", None))
    record = search_record(source)
    if groups is None and record is not None and record.n_rows == len(y):
        groups = record.groups
    classes = is_classifier(estimator) or (None if not is_regressor(estimator) else False)
    with warnings.catch_warnings(action="ignore"):
        findings = find_leaks(
            X, y, cv=cv, groups=groups, times=times, is_classification=classes
        )
    return [f for f in findings if is_search(source) or f.name in _OF_COLUMNS]


def _is_table(X: Any) -> bool:
    """Return whether samples are rows of equal length, as the leak guard needs."""
    if sparse.issparse(X):
        return bool(math.prod(X.shape) <= MOST_DENSE)
    if hasattr(X, "iloc") or hasattr(X, "to_pandas"):
        return True
    try:
        return np.ndim(X) > 1
    except ValueError:
        return False


def last_rows(search: Any) -> Ints:
    """Return the result rows with the most resources; all rows without rungs."""
    results = search.cv_results_
    resources = np.asarray(results.get("n_resources", np.zeros(len(results["params"]))))
    return np.flatnonzero(resources == resources.max())


def check_noise_ceiling(search: Any) -> Finding:
    """Check whether folds can distinguish candidates from the best: a tip if not."""
    rule = RULES["noise ceiling"]
    rows = last_rows(search)
    scores = fold_scores(search)[rows]
    complete = np.isfinite(scores).all(axis=1)
    scores = scores[complete]
    n_candidates, n_folds = scores.shape
    if n_candidates < 5 or n_folds < 2:
        return rule.not_applicable("This check needs 5 candidates and two folds.")
    best = int(scores.mean(axis=1).argmax())
    layout = fold_layout(search, int(rows[complete][best]))
    behind = scores[best] - np.delete(scores, best, axis=0)
    mean, spread = behind.mean(axis=1), behind.std(axis=1, ddof=1)
    error = spread * layout.error_factor
    limit = float(student.ppf(0.95, n_folds - 1))
    share_tied = float((mean <= limit * error).mean())
    evidence = {
        "n_candidates": n_candidates,
        "alike": share_tied,
        "score_spread": float(scores.mean(axis=1).std(ddof=1)),
        "n_repeats": layout.n_repeats,
        "fold_error": float(scores[best].std(ddof=1)) * layout.error_factor,
    }
    if share_tied < 0.8:
        return rule.passed(
            f"The folds distinguish the best candidate from {share(1 - share_tied)} of "
            "the rest.",
            evidence,
        )
    tied = "any candidate"
    if share_tied < 1.0:
        tied = f"{share(share_tied)} of the candidates"
    return rule.tip(
        "medium",
        f"The folds cannot distinguish {tied} from the best (95 % confidence).",
        evidence,
        "Stop tuning these parameters. To distinguish the candidates, get more rows or "
        "repeat the folds.",
    )


def check_optimism(search: Any) -> Finding:
    """Check the best score for selection bias: a tip if it is considerable."""
    rule = RULES["optimistic best score"]
    expected = getattr(search, "expected_score_", None)
    if expected is None or not math.isfinite(expected.score):
        return rule.not_applicable("No expected score is available for this metric.")
    optimism = expected.naive_score - expected.score
    half_width = (expected.high - expected.low) / 2
    evidence = {
        "naive_score": expected.naive_score,
        "expected_score": expected.score,
        "low": expected.low,
        "high": expected.high,
        "optimism": optimism,
    }
    if optimism <= 0.25 * half_width:
        return rule.passed("The selection bias of the best score is small.", evidence)
    return rule.tip(
        "medium" if optimism > half_width else "low",
        f"Choosing the best candidate inflates its score by about {optimism:.2g}.",
        evidence,
        f"Report the expected score: {expected.score:.4g} [{expected.low:.4g}, "
        f"{expected.high:.4g}].",
    )


def check_cut_short(search: Any) -> Finding:
    """Check for omitted parts: an issue if the best candidate was cut short, else a tip."""
    rule = RULES["search cut short"]
    record = search_record(search)
    if record is None:
        return rule.not_applicable("Only searches of sk_tune have a time budget.")
    if not record.omitted:
        return rule.passed("The time budget did not limit the search.")
    row = best_candidate(search)
    message, _, remedy = record.omitted.partition(" Set ")
    n_epochs = (
        {"n_epochs": curves_of(search, row).n_epochs} if is_trained(search, row) else {}
    )
    if row in record.cut_rows:
        return rule.issue("high", message, n_epochs, f"Set {remedy}")
    return rule.tip("low", message, n_epochs, f"Set {remedy}")


def check_failures(search: Any, chosen: int, params: Mapping[str, Any]) -> Finding:
    """Check for failed candidates: an issue if `chosen` failed, else a tip."""
    rule = RULES["failed candidates"]
    n = len(search.cv_results_["params"])
    recorded = [*map(str, search.cv_results_.get("failure_reason", [""] * n))]
    # Undefined metrics have a warning of their own.
    reasons = [
        r for r in recorded if r and not r.startswith(UNSCORED) and r not in NOT_TRAINED
    ]
    if not reasons:
        return rule.passed("No candidate failed.", {"n_failed": 0, "n_candidates": n})
    evidence = {"n_failed": len(reasons), "n_candidates": n}
    # With a number as error_score, a failed candidate has a score.
    failed = recorded[chosen] in reasons
    reason = f"First reason: {reasons[0]}"
    if failed:
        reason = f"This candidate's reason: {recorded[chosen]}"
    message = f"{len(reasons)} of {n} candidates failed. {reason}"
    ran_away = _RAN_AWAY.search(reason)
    if not failed and np.isfinite(fold_scores(search)[chosen]).all():
        return rule.tip(
            "medium" if 2 * len(reasons) > n else "low",
            message,
            evidence,
            "Exclude high learning rates, the usual cause, from the space."
            if ran_away
            else "Correct the cause, or exclude the failing values from the space.",
        )
    # A failure names its remedy, except for diverged losses, which get theirs here.
    steps = (lower_rate(params), clipped(params)) if ran_away else ()
    return rule.issue("high", message, evidence, "", *in_steps(steps))


def fold_scores(search: Any) -> Floats:
    """Return the deciding score of each candidate on each fold, (n_candidates, F)."""
    name = deciding_metric(search)
    columns = [search.cv_results_[f"split{k}_test_{name}"] for k in range(search.n_splits_)]
    return np.array(columns, dtype=np.float64).T


# Factor by which a bound on a logarithmic scale moves, and share by which a linear range
# widens.
_FACTOR = 4.0
_WIDENING = 0.5
_WHOLE = (
    "width", "members", "n_channels", "kernel_size", "hidden_size", "embedding_size",
    "batch_size", "max_epochs", "n_iter_no_change",
)  # fmt: skip
_POSITIVE = ("weight_decay", "l1", "learning_rate", "lr", "gradient_clip", "tol")
# Limits by the meaning of a parameter, or beyond which values do not help; integer limits
# mark integer parameters.
NATURAL_BOUNDS: dict[str, tuple[float, float]] = {
    "dropout": (0.0, 0.8),
    "momentum": (0.0, 0.99),
    "label_smoothing": (0.0, 0.5),
    "n_layers": (0, math.inf),
    **dict.fromkeys(_WHOLE, (1, math.inf)),
    **dict.fromkeys(_POSITIVE, (0.0, math.inf)),
}


def is_whole(parameter: str, *values: Any) -> bool:
    """Return whether a parameter, by its name or else by `values`, takes integers only."""
    bounds = NATURAL_BOUNDS.get(parameter.rpartition("__")[2])
    if bounds is not None:
        return isinstance(bounds[0], int)
    return all(isinstance(value, Integral) for value in values)


def described_space(search: Any) -> tuple[str, Any, bool]:
    """Return the name and value of a search's space, and whether tuples are ranges."""
    for name in ("search_spaces", "param_distributions", "param_grid"):
        if hasattr(search, name):
            return name, getattr(search, name), name == "search_spaces"
    raise TypeError(f"{type(search).__name__} has no space.")


def check_edge(search: Any) -> Finding:
    """Check for best values at an end of their range: a tip with wider ranges."""
    rule = RULES["optimum at the edge"]
    _, described, are_ranges = described_space(search)
    space = as_space(described, tuples_are_ranges=are_ranges, may_be_empty=True)
    if not space.columns:
        return rule.not_applicable("The search does not vary any parameter.")
    if not all(column.dimension.has_codes for column in space.columns):
        return rule.not_applicable("A distribution has unknown limits.")
    resource = granted_resource(search)
    rows = last_rows(search)
    scores = fold_scores(search)[rows].mean(axis=1)
    rows, scores = rows[np.isfinite(scores)], scores[np.isfinite(scores)]
    if len(rows) < 4:
        return rule.not_applicable("This check needs 4 candidates with a score.")
    params = [search.cv_results_["params"][row] for row in rows]
    params = [{k: v for k, v in p.items() if k != resource} for p in params]
    codes = space.encode(params)
    active = space.active(codes)
    order = np.argsort(-scores, kind="stable")
    prefix = nested(search.estimator)[-1][1]
    changes = []
    for j, column in enumerate(space.columns):
        if column.name is None or column.dimension.n_categories:
            continue
        side = _side(column.dimension, codes[order, j], active[order, j])
        values = [p[column.name] for p in params if column.name in p]
        if side and len(set(values)) > 1:
            changes += _extension(column.name.removeprefix(prefix), values, column, side)
    evidence = {"n_candidates": len(rows), "n_at_edge": len(changes)}
    if not changes:
        return rule.passed("The best candidates lie inside the space.", evidence)
    names = ", ".join(
        f"{c.parameter} ({'low' if c.action == 'extend down to' else 'high'} end)"
        for c in changes
    )
    return rule.tip(
        "medium",
        f"The best candidates lie at an edge of the space: {names}.",
        evidence,
        "Widen these ranges and search again.",
        tuple(changes),
    )


def _side(dimension: Any, codes: Floats, active: Bools) -> int:
    """Return the end (-1 or 1) at which the best candidates cluster, else 0."""
    codes = codes[active]
    if not len(codes) or not active[0]:
        return 0
    n_points = dimension.n_points
    # A code this close to 0 or 1 is at the edge.
    reach = 0.1 if n_points is None else max(0.1, 0.75 / n_points)
    n_best = max(2, math.ceil(0.25 * len(codes)))
    best = float(codes[0])
    typical = float(np.median(codes[:n_best]))
    # The median candidate must lie elsewhere, or the position shows no preference.
    overall = float(np.median(codes))
    if best <= reach and typical < 0.3 and overall > typical:
        return -1
    if best >= 1 - reach and typical > 0.7 and overall < typical:
        return 1
    return 0


def _extension(name: str, values: list[Any], column: Any, side: int) -> list[Change]:
    ends = [float(v) for v in values]
    low, high = min(ends), max(ends)
    bounds = NATURAL_BOUNDS.get(name.rpartition("__")[2], (-math.inf, math.inf))
    is_integer = is_whole(name, *values)
    # A range of positive values is not extended to 0 or below, where its meaning is
    # unknown.
    named = 1 if is_integer and low >= 1 else 0
    least = max(bounds[0], named) if low >= 0 else bounds[0]
    is_wide = low > 0 and high / low >= _FACTOR**2
    if side > 0:
        bound = high * _FACTOR if is_wide else high + _WIDENING * (high - low)
        bound = min(bound, bounds[1])
    else:
        bound = low / _FACTOR if is_wide else low - _WIDENING * (high - low)
        if low > 0 and bound <= 0:
            bound = low / _FACTOR
        bound = max(bound, least)
    value: Any = bound
    if is_integer:
        value = math.floor(bound) if least == -math.inf else max(math.floor(bound), least)
    if (side > 0 and value <= high) or (side < 0 and value >= low):
        return []
    return [
        Change(
            parameter=name,
            action="extend up to" if side > 0 else "extend down to",
            value=value,
            reason=f"the best candidates lie at the {'high' if side > 0 else 'low'} end",
        )
    ]
