# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""All checks of a search, a network or curves."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from sk_tune.diagnosis._candidate_checks import (
    check_edge,
    check_failures,
    check_noise_ceiling,
    check_optimism,
)
from sk_tune.diagnosis._curve_sources import (
    best_candidate,
    curves_of,
    curves_of_estimator,
    is_search,
    larger_in_search,
    network_part,
)
from sk_tune.diagnosis._findings import RULES, Curves, Finding, Findings, good_fit
from sk_tune.diagnosis._fit_checks import (
    check_baseline,
    check_converged,
    check_improving,
    check_overfitting,
    check_underfitting,
)
from sk_tune.diagnosis._fold_checks import (
    SampleCurve,
    check_folds,
    check_more_data,
    check_rows,
)
from sk_tune.diagnosis._rate_checks import (
    check_diverged,
    check_rate_high,
    check_rate_low,
    diverged,
)
from sk_tune.diagnosis._summary import Summary, summarise

# A check looks for what the rule of that name says.
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


def diagnose(source: Any, *, candidate: int | None = None) -> tuple[Finding, ...]:
    """Say what is wrong with a network, or with a search for one.

    Parameters
    ----------
    source : search, estimator, Curves or SampleCurve
        A fitted search of sk_tune; a fitted network or a pipeline that ends in one, best
        with ``early_stopping=True``, because without held-out rows little can be said;
        curves; or a learning curve by samples, also scikit-learn's
        ``LearningCurveDisplay``.
    candidate : int or None, default=None
        Row of a search's ``cv_results_`` to look at instead of the best one.

    Returns
    -------
    tuple of Finding
        One for each check, passed or not; prints as a report.  Those of a search as a
        whole, which have no ``candidate``, come last.

    Raises
    ------
    ValueError
        If there is no such candidate, or it has no curves.
    TypeError
        If the source is none of these.

    See Also
    --------
    verdict : The finding that matters most.
    apply : The remedies as a changed space or estimator.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_tune.diagnosis import Curves, diagnose, verdict
    >>> epochs = np.arange(1, 31)
    >>> train = np.tile(np.exp(-epochs / 5), (3, 1))
    >>> valid = 0.4 + np.exp(-epochs / 3) + 0.02 * epochs
    >>> valid = valid + np.array([[0.0], [0.01], [0.02]])
    >>> curves = Curves(train_loss=train, valid_loss=valid, valid_score=-valid)
    >>> print(verdict(diagnose(curves)).message)
    The held-out loss rose by 55 % after epoch 8, while the training loss fell.
    """
    if isinstance(source, SampleCurve) or hasattr(source, "train_sizes"):
        curve = SampleCurve(source.train_sizes, source.train_scores, source.test_scores)
        return Findings([check_more_data(curve)])
    if isinstance(source, Curves):
        return Findings(_of_curves(source))
    if is_search(source):
        return Findings(_of_search(source, candidate))
    network, _ = network_part(source)
    keeps_best = bool(getattr(network, "early_stopping", False))
    return Findings(_of_curves(curves_of_estimator(source), keeps_best=keeps_best))


def _of_curves(
    curves: Curves, *, keeps_best: bool = False, larger: Curves | None = None
) -> tuple[Finding, ...]:
    summary = summarise(curves, keeps_best=keeps_best)
    if summary is None:
        return tuple(
            diverged("No fold has a finite training loss.", {}, curves.params)
            if name == "diverged"
            else RULES[name].not_applicable("No fold has a training loss.")
            for name in _CHECKS_OF_CURVES
        )
    beyond = None if larger is None else summarise(larger)
    underfitting = partial(check_underfitting, larger=beyond)
    checks: _Checks = {**_CHECKS_OF_CURVES, "underfitting": underfitting}
    found = [check(summary) for check in checks.values()]
    return (good_fit(found), *found)


def _of_search(search: Any, candidate: int | None) -> tuple[Finding, ...]:
    chosen = best_candidate(search) if candidate is None else candidate
    keeps_best = getattr(search, "epochs", "last") == "best"
    curves = curves_of(search, chosen)
    findings = _of_curves(
        curves,
        keeps_best=keeps_best or bool(curves.params.get("early_stopping", False)),
        larger=larger_in_search(search, chosen),
    )
    return (
        *(replace(finding, candidate=int(chosen)) for finding in findings),
        check_edge(search),
        check_noise_ceiling(search),
        check_optimism(search),
        check_failures(search),
    )
