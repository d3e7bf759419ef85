# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The repair of a network by experiment: diagnose, vary and train again.

Each round trains remedies and variations of the best network so far as one fleet. All
rounds use the same folds.
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning

from sk_tune._diagnosis import (
    AppliedChange,
    Change,
    Finding,
    Probe,
    configured,
    curves_of,
    findings_of,
    fold_scores,
    is_search,
    is_trained,
    remedies,
    variations,
)
from sk_tune._scores import ScoreEstimate
from sk_tune._search._choice import Outcomes
from sk_tune._search._guided import (
    Course,
    GuidedSearch,
    candidate_estimator,
    changes_of,
    max_epochs_of,
    shared_options,
    with_place_for_scaler,
)
from sk_tune._search_record import fold_layout
from sk_tune._space import Candidate
from sk_tune._types import Features, Floats, Folds, Scoring

# Most variations in a round; up to `_MOST_CHEAP` if their epochs sum to `_CHEAP` or less.
_MOST, _MOST_CHEAP, _CHEAP = 3, 8, 40
# Consecutive rounds without a gain beyond noise after which the network counts as good.
_MOST_IDLE = 2
# Joins the names of findings whose remedies are tried together.
_AND = " and "
# A best epoch after this share of the epochs counts as late.
_LATE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Improvement:
    """A repaired network, and the effects of all changes that were tried.

    Parameters
    ----------
    estimator : estimator
        The best network or pipeline, fitted on all samples.
    score : float
        Its mean score over the folds.  The best of many scores is optimistic.
    expected_score : ScoreEstimate or None
        Expected score on new data, corrected for all candidates that were tried, including
        the candidates of a search as source; None for metrics without an expected score.
    table : DataFrame
        One row per training: round (0 is the start), reason (the finding, or the kind of
        variation), change, score, gain over the best network of earlier rounds, its
        standard error over the folds, and whether the change was kept.
    findings : tuple of Finding
        Findings about the best network.
    search : search
        The search behind the rounds, for reports and ensembles.
    """

    estimator: Any
    score: float
    expected_score: ScoreEstimate | None
    table: pd.DataFrame
    findings: tuple[Finding, ...]
    search: Any

    def __str__(self) -> str:
        lines = []
        for row in self.table.to_dict("records"):
            text = f"Round {row['round']}, {row['reason']}: {row['score']:.4g}"
            if row["round"]:
                error = "" if np.isnan(row["error"]) else f" ± {row['error']:.2g}"
                text += f" ({row['gain']:+.2g}{error})"
                text += ", kept" if row["is_kept"] else ""
            lines.append(text)
            lines += [f"    {change}" for change in row["change"].split("; ") if change]
        return "\n".join([*lines, self._summary()])

    def _repr_html_(self) -> str:
        return f"{self.table.to_html(index=False)}<p>{self._summary()}</p>"

    def _summary(self) -> str:
        expected = self.expected_score
        said = "" if expected is None else f", expected on new data: {expected}"
        return f"Score {self.table['score'][0]:.4g} -> {self.score:.4g}{said}."


def improve(
    source: Any,
    X: Features,
    y: ArrayLike | None = None,
    *,
    rounds: int = 3,
    cv: Folds = None,
    scoring: Scoring = None,
    time_budget: float | None = None,
    **params: Any,
) -> Improvement:
    """Repair a network: diagnose it, train its remedies, keep the best, and repeat.

    Parameters
    ----------
    source : estimator or search
        A network, alone or as the last step of a pipeline; or a search, fitted here if
        necessary: its best candidate is improved, with the folds and the score of the
        search.
    X : array-like of shape (n_samples, ...)
        Features.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Targets.
    rounds : int, default=3
        Largest number of rounds.
    cv : int, splitter or iterable, default=None
        Folds for an estimator; 5 if None.
    scoring : str or callable, default=None
        Score for an estimator; its ``score`` if None.
    time_budget : float or None, default=None
        Seconds in total.
    **params : dict of str to object
        For ``fit`` of the search, such as ``groups`` and ``sample_weight``.

    Returns
    -------
    Improvement
        The fitted estimator, its scores, and a table of changes with reasons and effects.

    Raises
    ------
    ValueError
        If `rounds` is not positive, if `cv` or `scoring` are passed with a search, or if
        all trainings failed.

    See Also
    --------
    diagnose : The findings, optionally with probes.
    apply_remedies : One remedy, without training.

    Notes
    -----
    Each round trains the remedies of all findings on the best network so far, and small
    variations of it (learning rate, epochs, size, regularisation), together on the same
    folds: three, or up to eight with 40 epochs in total.  The best score of all rounds is
    kept, so the score never falls.  Two consecutive rounds that improve it by less than one
    standard error of the difference over folds, corrected for overlapping training samples
    [1]_, are the last.

    References
    ----------
    .. [1] C. Nadeau, Y. Bengio. Inference for the generalization error. Machine Learning
       52:239-281, 2003.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import MLPClassifier, improve
    >>> X, y = load_iris(return_X_y=True)
    >>> slow = MLPClassifier(learning_rate=1e-5, max_epochs=20, random_state=0)
    >>> better = improve(slow, X, y, cv=3)
    >>> bool(better.score > 0.9), "learning rate too low" in better.table["reason"][1]
    (True, True)
    """
    start = time.monotonic()
    if rounds < 1:
        raise ValueError(f"'rounds' must be an int >= 1. Got {rounds!r} instead.")
    options: dict[str, Any] = {"cv": cv, "scoring": scoring}
    earlier: Outcomes = ()
    estimator = source
    if is_search(source):
        if cv is not None or scoring is not None:
            raise ValueError(
                "'cv' and 'scoring' must be None for a search, which has its own. "
                f"Got cv={cv!r} and scoring={scoring!r}."
            )
        if not hasattr(source, "best_index_"):
            source = clone(source).fit(X, y, **params)
        if not hasattr(source, "best_index_"):
            raise ValueError(
                "A search with several metrics must have a metric as 'refit' to be "
                f"improved. Got refit={source.refit!r}."
            )
        estimator = candidate_estimator(source, source.best_index_)
        options = shared_options(source)
        rows = source._search_record.last_rows
        earlier = [source._outcomes[row] for row in rows]
    if time_budget is not None:
        options["time_budget"] = max(time_budget - (time.monotonic() - start), 1e-3)
    estimator, scaler_step = with_place_for_scaler(estimator, X, y)
    repairs = _Repairs(rounds, scaler_step)
    options["n_planned"] = 1 + rounds * _MOST
    search = GuidedSearch(estimator, course=repairs.course, **options)
    with warnings.catch_warnings():
        # Failed trainings are results, which the table shows.
        warnings.filterwarnings("ignore", "One or more of the .* non-finite")
        warnings.filterwarnings("ignore", category=FitFailedWarning)
        search.fit(X, y, **params)
    if earlier:
        search.add_earlier(earlier)
    return Improvement(
        estimator=getattr(search, "best_estimator_", None),
        score=float(search.best_score_),
        expected_score=search.expected_score_,
        table=repairs.table(search),
        findings=findings_of(search, X, y, groups=params.get("groups")),
        search=search,
    )


@dataclass(frozen=True, slots=True)
class _Tried:
    """A training of a round: a probe, its changes, and the row that they change."""

    round: int
    probe: Probe
    changes: Sequence[AppliedChange]
    params: Candidate
    base: int


_START = Probe(name="start", finding="start", changes=())


@dataclass(slots=True)
class _Repairs:
    """Proposes the changes of each round from the findings on the best network so far."""

    n_rounds: int
    scaler_step: str
    tried: list[_Tried] = field(default_factory=list)
    # Rows of the best network before each round.
    best: list[int] = field(default_factory=list)

    def course(self) -> Course:
        """Yield the candidates of each round, until two bring no gain beyond noise."""
        self.tried = [_Tried(0, _START, changes=(), params={}, base=0)]
        search = yield [{}]
        self.best, n_idle = [0], 0
        while len(self.best) <= self.n_rounds and n_idle < _MOST_IDLE:
            new = self._next(search, self.best[-1])
            if not new:
                return
            self.tried += new
            search = yield [tried.params for tried in new]
            scores = fold_scores(search)
            # A failed training, whose score is NaN, is the worst.
            self.best.append(int(np.nan_to_num(scores.mean(axis=1), nan=-np.inf).argmax()))
            gain, error = _gain(search, scores, self.best[-1], self.best[-2])
            n_idle = n_idle + 1 if gain <= np.nan_to_num(error) else 0

    def _next(self, search: Any, row: int) -> list[_Tried]:
        """Return the most promising new variations of the best network."""
        params = self.tried[row].params
        estimator = clone(search.estimator).set_params(**clone(dict(params), safe=False))
        start_epochs, best_epochs = (_n_epochs(search, k) for k in (0, row))
        # A network with more epochs than at the start gets fewer variations.
        limit = _MOST * min(start_epochs, best_epochs)
        new: list[_Tried] = []
        n_epochs = 0
        for probe in self._probes(search, row, best_epochs):
            changes = changes_of(estimator, probe.changes, self.scaler_step)
            candidate = {**params, **{c.parameter: c.after for c in changes}}
            is_new = all(repr(candidate) != repr(t.params) for t in (*self.tried, *new))
            if not changes or not is_new:
                continue
            n_epochs += max_epochs_of(changes, best_epochs)
            is_cheap = n_epochs <= _CHEAP and len(new) < _MOST_CHEAP
            if new and not (is_cheap or (n_epochs <= limit and len(new) < _MOST)):
                break
            new.append(_Tried(len(self.best), probe, changes, candidate, base=row))
        return new

    def _probes(self, search: Any, row: int, n_epochs: int) -> list[Probe]:
        """Return changes of the best network, in the order in which to try them."""
        _, params = configured(search, row)
        findings = {f.name: f for f in findings_of(search, result_row=row)}
        parameters: set[str] = set()
        first: list[Probe] = []
        later: list[Probe] = []
        for probe in remedies(findings.values()):
            names = {change.parameter for change in probe.changes}
            # A less important finding often has the same cause.
            (later if names & parameters else first).append(probe)
            parameters |= names
        overfitting = findings.get("overfitting")
        best_epoch = overfitting.evidence.get("best_epoch", 0) if overfitting else 0
        small = [probe for probe in variations(params) if probe.finding]
        if 0 < best_epoch < _LATE * n_epochs:
            small.sort(key=lambda probe: probe.finding != "overfitting")
        # The change that helped last is repeated first.
        small.sort(key=lambda probe: probe.name != self.tried[row].probe.name)
        together = first if len(self.best) == 1 else self._helped(search, row)
        return [*_together(together), *first, *later, *small]

    def _helped(self, search: Any, row: int) -> list[Probe]:
        """Return the probes of the last round that helped, except the best one."""
        mean = fold_scores(search).mean(axis=1)
        last = [k for k, t in enumerate(self.tried) if t.round == len(self.best) - 1]
        helped = [k for k in last if k != row and mean[k] > mean[self.tried[k].base]]
        return [self.tried[k].probe for k in sorted(helped, key=lambda k: -mean[k])]

    def table(self, search: Any) -> pd.DataFrame:
        scores = fold_scores(search)
        rows = []
        for k, tried in enumerate(self.tried[: len(scores)]):
            gain, error = _gain(search, scores, k, tried.base)
            # The best network of a round is kept; the last round may have been cut short.
            best = [*self.best[tried.round :], int(search.best_index_)]
            rows.append({
                "round": tried.round,
                "reason": tried.probe.finding,
                "change": "; ".join(
                    f"{c.parameter}: {c.before!r} -> {c.after!r}" for c in tried.changes
                ),
                "score": float(scores[k].mean()),
                "gain": gain,
                "error": error,
                "is_kept": k == best[0],
            })
        return pd.DataFrame(rows)


def _together(probes: Sequence[Probe]) -> list[Probe]:
    """Return one probe with the changes of several; empty for a single probe."""
    changes: dict[str, Change] = {}
    for change in chain.from_iterable(probe.changes for probe in probes):
        changes.setdefault(change.parameter, change)
    findings = (name for probe in probes for name in probe.finding.split(_AND))
    names = _AND.join(dict.fromkeys(findings))
    together = Probe(name=names, finding=names, changes=tuple(changes.values()))
    return [together] if len(probes) > 1 else []


def _n_epochs(search: Any, row: int) -> int:
    """Return the epochs of a result row, or `max_epochs` if its training failed."""
    if is_trained(search, row):
        return curves_of(search, row).n_epochs
    return int(configured(search, row)[1]["max_epochs"])


def _gain(search: Any, scores: Floats, row: int, base: int) -> tuple[float, float]:
    """Return mean and error of the gain over `base`; infinite if only `base` failed.

    The error is NaN for a single fold.
    """
    gains = scores[row] - scores[base]
    if np.isnan(scores[base]).any() and not np.isnan(scores[row]).any():
        return np.inf, 0.0
    deviation = gains.std(ddof=1) if len(gains) > 1 else np.nan
    error = deviation * fold_layout(search, row).error_factor
    return float(gains.mean()), float(error)
