# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The diagnosis, and optional probes: trainings of slightly changed networks."""

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import is_classifier
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from sk_tune._diagnosis import (
    Curves,
    Finding,
    Findings,
    Probe,
    best_candidate,
    check_half,
    configured,
    curves_of,
    decisive,
    effects,
    findings_of,
    is_search,
    is_trained,
    measured,
    remedies,
    variations,
    with_good_fit,
    without_doubled_epochs,
)
from sk_tune._search._drop_in_searches import GridSearchCV
from sk_tune._search._guided import (
    Course,
    GuidedSearch,
    candidate_estimator,
    changes_of,
    max_epochs_of,
    shared_options,
    with_place_for_scaler,
)
from sk_tune._search._outcomes import positions
from sk_tune._space import Candidate
from sk_tune._text import LiveLine, counted
from sk_tune._types import Features

# Probes take at most this share of the epochs of a search.
_MOST_OF_SEARCH = 0.2
# Least number of trainings, including the unchanged network, for probes to be useful.
_FEWEST = 2.0
# Cost of a training on half of the samples.
_HALF = 0.5


def diagnose(
    source: Any,
    X: Features | None = None,
    y: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    times: ArrayLike | None = None,
    result_row: int | None = None,
    extra_checks: Sequence[Callable[[Any], Finding]] = (),
    probes: bool = False,
) -> tuple[Finding, ...]:
    """Check a network, or a search, for faults of training, data and folds.

    Parameters
    ----------
    source : search, estimator, Curves or SampleCurve
        A fitted search of sk_tune; a fitted network or a pipeline that ends in a network,
        preferably with ``early_stopping=True``, because most checks need held-out rows;
        curves; or a learning curve over samples, such as scikit-learn's
        ``LearningCurveDisplay``.
    X : array-like of shape (n_samples, ...) or None, default=None
        Features of the fit, to check their scale for a fitted network; a search has
        recorded their scale.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs) or None, default=None
        Targets of the fit.  With X and y, the checks of ``find_leaks`` run as well, on the
        folds of a search.
    groups, times : array-like of shape (n_samples,) or None, default=None
        Groups and times of the rows, for ``find_leaks``.
    result_row : int or None, default=None
        Row of a search's ``cv_results_`` to diagnose instead of the best candidate.
    extra_checks : sequence of callable, default=()
        Further checks, which take `source` and return a ``Finding``.  Their findings are
        ranked by severity.
    probes : bool, default=False
        Whether to train changed copies of the network on the same folds (five for a single
        network), together as one fleet: the remedies of the findings, a third and three
        times the learning rate, another width, depth, regularisation and seed, twice and a
        third of the epochs, and half the samples.  Their effects on the held-out loss
        confirm, withdraw or add findings.  Needs X and y.  Prints the number of epochs.
        For a search, it is at most a fifth of the search's epochs, which may reduce the
        number of probes.

    Returns
    -------
    tuple of Finding
        One finding per check, passed or not; prints as a report.  Findings about a search
        as a whole have no ``result_row`` and come last.

    Raises
    ------
    ValueError
        If the candidate does not exist or is not a network, if X, y, groups and times
        differ in length, or if X or y are missing for `probes`.
    TypeError
        If `source` has another type, or `probes` cannot train it.

    See Also
    --------
    verdict : The finding that matters most.
    apply_remedies : The remedies as a changed space or estimator.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_tune import Curves, diagnose, verdict
    >>> epochs = np.arange(1, 31)
    >>> train = np.tile(np.exp(-epochs / 5), (3, 1))
    >>> valid = 0.4 + np.exp(-epochs / 3) + 0.02 * epochs
    >>> valid = valid + np.array([[0.0], [0.01], [0.02]])
    >>> curves = Curves(train_loss=train, valid_loss=valid, valid_score=-valid)
    >>> print(verdict(diagnose(curves)).message)
    The held-out loss rose by 55 % after epoch 8, while the training loss fell.
    """
    if probes and (X is None or y is None):
        raise ValueError("'probes' need X and y of the fit. Pass both, or probes=False.")
    if probes and not hasattr(source, "get_params"):
        raise TypeError(
            "'probes' need a network or a search to train. "
            f"Got {type(source).__name__} instead: pass probes=False."
        )
    findings = findings_of(
        source,
        X,
        y,
        groups=groups,
        times=times,
        result_row=result_row,
        extra_checks=extra_checks,
    )
    return _probed(source, X, y, groups, result_row, findings) if probes else findings


def _probed(
    source: Any, X: Any, y: Any, groups: Any, row: int | None, findings: Sequence[Finding]
) -> tuple[Finding, ...]:
    """Return findings with the measured effects of probes."""
    options: dict[str, Any] = {}
    estimator, n_networks = source, math.inf
    if is_search(source):
        row = best_candidate(source) if row is None else row
        if not is_trained(source, row):
            return Findings(findings)
        estimator, options = candidate_estimator(source, row), shared_options(source)
        of_one = source.n_splits_ * curves_of(source, row).n_epochs
        n_networks = _MOST_OF_SEARCH * source.ledger_.epochs_trained / of_one
    elif groups is not None:
        options["cv"] = (StratifiedGroupKFold if is_classifier(source) else GroupKFold)(5)
    if n_networks < _FEWEST:
        text = "a fifth of the search's training is too short for a network and a probe"
        LiveLine().end(f"No probes: {text}. Diagnose its best_estimator_ instead.")
        return Findings(findings)
    estimator, scaler_step = with_place_for_scaler(estimator, X, y)
    probing = _Probing(scaler_step, n_networks)
    options |= {"refit": False, "verbose": 0}
    search = GuidedSearch(estimator, course=probing.course, **options)
    fit_params = {} if groups is None else {"groups": groups}
    # Failed probes are results.
    with warnings.catch_warnings(action="ignore"):
        search.fit(X, y, **fit_params)
    base, *probed = (
        curves_of(search, k) if is_trained(search, k) else None
        for k in range(len(search.cv_results_["params"]))
    )
    if not is_search(source):
        # Findings on the folds replace those of the single fit, which has no held-out
        # losses. But issues of the fit stay until a probe disproves them.
        of_folds = [f for f in findings_of(search, X) if f.result_row is not None]
        issues = {f.name for f in findings if f.outcome == "issue"}
        of_folds = [f for f in of_folds if f.name not in issues]
        names = {f.name for f in of_folds}
        findings = [*of_folds, *(f for f in findings if f.name not in names)]
    if base is None or not probed:
        return Findings(findings)
    findings = measured(findings, effects(probing.probes[: len(probed)], base, probed))
    findings = [f for f in findings if f.name not in {"good fit", "more data"}]
    if n_networks >= probing.n_used + _HALF:
        with suppress(ValueError):
            # Training may fail in all folds.
            findings.append(_on_half(search, X, y, groups, base))
    return Findings(with_good_fit(without_doubled_epochs(findings), result_row=row))


class _Probing:
    """Chooses probes after the network's own training, within `n_networks` trainings."""

    def __init__(self, scaler_step: str, n_networks: float) -> None:
        self._scaler_step, self._n_networks = scaler_step, n_networks
        self.probes: list[Probe] = []
        # Includes the network itself.
        self.n_used = 1.0

    def course(self) -> Course:
        """Yield the network, then as many probes as the epochs allow."""
        search = yield [{}]
        if not is_trained(search, 0):
            return
        _, params = configured(search, 0)
        n_epochs = curves_of(search, 0).n_epochs
        candidates: list[Candidate] = []
        suspected = remedies(findings_of(search))
        for probe in (*suspected, *decisive(params), *variations(params)):
            changes = changes_of(search.estimator, probe.changes, self._scaler_step)
            candidate = {change.parameter: change.after for change in changes}
            cost = max_epochs_of(changes, n_epochs) / n_epochs
            is_new = bool(candidate) and candidate not in candidates
            if is_new and self.n_used + cost <= self._n_networks:
                candidates.append(candidate)
                self.probes.append(probe)
                self.n_used += cost
        n_all = round(self.n_used * n_epochs * search.n_splits_)
        networks = counted(len(candidates), "changed network")
        where = f"on {counted(search.n_splits_, 'fold')}"
        LiveLine().end(f"Probes: {networks} {where}, up to {n_all} epochs.")
        yield candidates


def _on_half(search: Any, X: Any, y: Any, groups: Any, base: Curves) -> Finding:
    """Train the network on half of the samples of each fold, and check the difference."""
    rng, folds = np.random.default_rng(0), search._checked_cv_orig.split(X, y, groups)
    halves = [
        (np.sort(rng.choice(train, len(train) // 2, replace=False)), test)
        for train, test in ((positions(a), positions(b)) for a, b in folds)
    ]
    options = {**shared_options(search), "cv": halves, "refit": False}
    half = GridSearchCV(search.estimator, {}, **options).fit(X, y)
    n_rows = float(np.mean([len(train) for train, _ in halves]))
    return check_half(curves_of(half, 0), base, n_rows)
