# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which trials are averaged, and what the average is worth.

Whether the columns help is judged in the same way for every metric: by the log loss against
that of the class shares, or by the ROC AUC, which shows weak effects on fewer rows; for
numbers by the squared error against that of the mean.  Other metrics can be raised without
any column, as F1 by always predicting the rare class, or cannot be raised although the
columns are informative, as the accuracy on a rare class.

Each part of the samples is predicted by a choice that is made again, from all trials that
were trained, without the scores of that part.  Where there is nothing to learn that is not
enough: models that the other parts judge were trained on labels of this one, so that a
model that is lucky there is lucky here.  A pair of labels from two folds counts in the
scores of both; therefore a share of what a trial scores on the part beyond chance is taken
from what it scores on the others.  All of it would cancel the pairs with a label of the
part where predictions are linear in the labels; ADR 13 has figures.  Where there is
something to learn, this makes the choice worse than it is, so it is dropped once the lead
over the dummy is clear.

Notation: C trials, P parts, N samples that were held out.
"""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sk_tune._metric import Metric
from sk_tune.automl._blend import Trial, library_of
from sk_tune.automl._problem import Problem
from sk_tune.automl._scoring import checked_metric
from sk_tune.automl._threshold import Threshold, ThresholdChoice
from sk_tune.ensemble import GreedyOptions, Library, Selector
from sk_tune.search import CorrectedScore, FoldScores

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

# Members of each family, so that a weaker but different family has its chance.
_MOST_OF_FAMILY = 8
_GREEDY = GreedyOptions(max_rounds=30, n_start=5, min_gain=0.0, n_bags=10)
# Samples from which on fewer bags are drawn: the choice is steady then.
_ROWS_IN_BAGS = 20_000
_N_BOOTSTRAPS, _CONFIDENCE = 300, 0.95
# Lighter members cost as much to predict as others.
_LEAST_WEIGHT = 0.02
# Folds without which nothing would be left to choose by, after a part was taken twice.
_FEWEST_FOLDS_TO_DEDUCT = 3
# Share of the luck on a part that is taken off: kernel methods share all of it, boosting
# and networks little.  Measured on noise, see docs/automl-quality.md.
_DEDUCTED = 0.25
# The scores that decide whether the columns help, by whether it is a classification.
_PROPER = {
    True: checked_metric("neg_log_loss"),
    False: checked_metric("neg_mean_squared_error"),
}
# A ROC AUC for each class takes long for many.
_RANKING, _MOST_RANKED = checked_metric("roc_auc_ovr"), 10
# Orders of the true values of a part that tell what predictions score on it by chance.
_N_SHUFFLES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How an estimator did, which no choice has flattered; greater is better.

    Parameters
    ----------
    name : {"dummy", "linear", "boosting", "networks", "best model", "ensemble"}
        The scored model.
    mean, std : float
        Mean and standard deviation of the score over the folds; NaN if it cannot be taken,
        the deviation also if there is one held-out part instead of folds.
    held_out : float, default=nan
        Score on rows that were set aside; NaN without any.
    lead : float, default=nan
        Low end of the 95 % interval of its lead over the dummy in the score, on the same
        rows; infinite without a dummy, NaN if it was not computed.
    loss : float, default=nan
        Mean log loss of a classifier, or squared error of a regressor, over the folds; of
        several targets in their standard deviations.
    loss_lead : float, default=nan
        Low end of the 95 % interval of the loss of the dummy less its own loss, on the same
        rows; infinite without a dummy, NaN if it was not computed.
    auc, auc_lead : float, default=nan
        ROC AUC of a classifier, and the low end of the 95 % interval of its lead over 0.5;
        computed only where a `loss_lead` is not above 0.
    """

    name: str
    mean: float
    std: float
    held_out: float = math.nan
    lead: float = math.nan
    loss: float = math.nan
    loss_lead: float = math.nan
    auc: float = math.nan
    auc_lead: float = math.nan

    @property
    def beats_dummy(self) -> bool:
        """Whether it clearly beats the dummy in loss or ROC AUC: the columns help."""
        return self.loss_lead > 0 or self.auc_lead > 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """Members with weights of sum 1, and what to expect of them and of others.

    `temperature` is that of the averaged probabilities.  `scores` are those of the
    "ensemble", of the best single trial of "linear", of "boosting" and, as "best model", of
    all, and of the "dummy", as far as there are some; `thresholds` are theirs.  `corrected`
    is the first score with an interval.  `held_out` are targets of the samples, and
    predictions of them by choices on others.
    """

    trials: Sequence[Trial]
    weights: Array
    temperature: float
    scores: dict[str, Score]
    thresholds: dict[str, Threshold]
    corrected: CorrectedScore | None
    held_out: tuple[Array, Array]


def choose(
    trials: Sequence[Trial],
    problem: Problem,
    metric: Metric,
    *,
    calibrate: bool,
    others: Sequence[Trial] = (),
    dummy: Trial | None = None,
    beats_dummy: bool | None = None,
    seconds: float | None = None,
    threshold: ThresholdChoice | None = None,
) -> Chosen:
    """Choose members by greedy selection over out-of-fold predictions.

    Members, of which there must be one at least, are chosen by log loss in classification.
    `others` were trained, too, but their models were not kept.  Without `beats_dummy` the
    scores have intervals, which tell it; a metric that has to be called often may take as
    many `seconds`.
    """
    threshold = threshold or ThresholdChoice()
    pool = _Pool([*trials, *others], dummy, problem, metric, threshold)
    is_classification = pool.library.classes is not None
    n_bags = int(np.clip(_ROWS_IN_BAGS // len(pool.library.y), 1, _GREEDY.n_bags))
    selector = Selector(
        library=pool.library,
        method="greedy",
        scoring=None if is_classification else problem.scoring,
        greedy=replace(_GREEDY, n_bags=n_bags),
        calibrate=calibrate and is_classification,
        random_state=problem.seed,
    )
    asks = beats_dummy is None
    deducts = pool.can_deduct and not beats_dummy
    crossed = _crossed(pool, selector, deducts=deducts)
    scores, corrected = pool.scores(crossed, intervals=asks, seconds=seconds)
    if asks and deducts and scores["ensemble"].beats_dummy:
        deducted = scores
        crossed = _crossed(pool, selector, deducts=False)
        scores, corrected = pool.scores(crossed, intervals=True, seconds=seconds)
        scores = {
            name: replace(
                s,
                lead=deducted[name].lead,
                loss_lead=deducted[name].loss_lead,
                auc=deducted[name].auc,
                auc_lead=deducted[name].auc_lead,
            )
            for name, s in scores.items()
        }
    members = pool.members(pool.criteria_of_all(), np.arange(len(trials)))
    candidates = [trials[k] for k in members]
    choice = selector.choose(library_of(candidates))
    light = choice.weights < min(_LEAST_WEIGHT, choice.weights.max())
    weights = np.where(light, 0.0, choice.weights)
    return Chosen(
        trials=candidates,
        weights=weights / weights.sum(),
        temperature=choice.temperature,
        scores=scores,
        thresholds={
            name: threshold.best(predictions, pool.y, pool.library.classes)
            for name, predictions in crossed.items()
        },
        corrected=corrected,
        held_out=(pool.y, crossed["ensemble"]),
    )


def choose_with_networks(
    trials: Sequence[Trial],
    problem: Problem,
    metric: Metric,
    *,
    others: Sequence[Trial],
    **options: Any,
) -> tuple[Chosen, Chosen | None]:
    """Choose among all trials, and among the networks alone; None without a network."""
    options["dummy"] = next((t for t in trials if t.family == "dummy"), None)
    candidates = [t for t in trials if t is not options["dummy"]] or trials
    chosen = choose(candidates, problem, metric, others=others, **options)
    networks = [t for t in candidates if t.is_network]
    if not networks:
        return chosen, None
    if networks == candidates:
        return chosen, chosen
    options["beats_dummy"] = chosen.scores["ensemble"].beats_dummy
    others = [t for t in others if t.is_network]
    return chosen, choose(networks, problem, metric, others=others, **options)


class _Pool:
    """Trials, and the dummy as the last of them, with their scores on each part."""

    def __init__(
        self,
        trials: Sequence[Trial],
        dummy: Trial | None,
        problem: Problem,
        metric: Metric,
        threshold: ThresholdChoice,
    ) -> None:
        self.trials, self._dummy = trials, dummy
        self._problem, self._metric, self._threshold = problem, metric, threshold
        every = [*trials, *([] if dummy is None else [dummy])]
        self.library = library_of(every)
        self.parts = np.unique(self.library.part)
        self._is_of_part = self.library.part == self.parts[:, np.newaxis]
        rows = np.unique(np.concatenate([held for _, held in problem.folds]))
        self._folds = np.array([np.isin(rows, held) for _, held in problem.folds])
        self.can_deduct = _train_for_each_other(problem.folds)
        self._families = np.array([trial.family for trial in trials])
        self._scores = self._scores_of(every)
        self._knows = self._scores
        if self.library.classes is not None:
            # Log-probabilities of each sample's class, (C, N), and those of luck.
            rows, least = np.arange(len(self.library.y)), np.finfo(np.float32).tiny
            logs = np.log(np.clip(self.library.predictions, least, None))
            true = logs[:, rows, self.library.y]
            beyond_chance = true - np.mean(
                [logs[:, rows, y] for y in self.shuffled()], axis=0
            )
            by_part, luck = (self._is_of_part @ part.T for part in (true, beyond_chance))
            self._knows = by_part, by_part.sum(axis=0) - by_part, luck

    @property
    def y(self) -> Array:
        """Labels or numbers of the samples."""
        y, classes = self.library.y, self.library.classes
        return y if classes is None else np.asarray(classes[y])

    def shuffled(self) -> list[Array]:
        """Return true values as they might be by chance: of each part in other orders."""
        rng = np.random.default_rng(self._problem.seed)
        found = []
        for _ in range(_N_SHUFFLES):
            y = self.library.y.copy()
            for samples in self._is_of_part:
                y[samples] = rng.permutation(y[samples])
            found.append(y)
        return found

    def _scores_of(self, every: Sequence[Trial]) -> tuple[Floats, Floats, Floats]:
        """Return scores on each part, sums of all others', and luck, of shape (P, C)."""
        by_part = self._fold_scores(self.library.predictions, self._is_of_part)
        n = len(self.parts)
        if np.array_equal(self._folds, self._is_of_part):
            scores = np.nan_to_num(np.array([trial.fold_scores for trial in every]).T)
            others = scores.sum(axis=0) - scores
        else:
            scores = np.nan_to_num(by_part.on_all())
            left = self._fold_scores(self.library.predictions, ~self._is_of_part)
            others = np.nan_to_num(left.on_all()) * (n - 1)
        luck = scores
        if self.can_deduct and not by_part.needs_calls:
            by_chance = [
                self._fold_scores(self.library.predictions, self._is_of_part, y).on_all()
                for y in self.shuffled()
            ]
            luck = scores - np.nan_to_num(np.mean(by_chance, axis=0))
        return scores, others, luck

    def _fold_scores(
        self,
        predictions: Array,
        folds: Array,
        y: Array | None = None,
        metric: Metric | None = None,
    ) -> FoldScores:
        classes, metric = self.library.classes, metric or self._metric
        if y is None:
            y = self.y
        elif classes is not None:
            y = classes[y]
        return FoldScores(metric, predictions, y, classes=classes, folds=folds)

    def criteria(self, part: int, *, deducts: bool) -> tuple[Floats, Floats]:
        """Return what to choose by for a part: score and knowledge of each trial."""
        scores, knows = (
            others[part] - _DEDUCTED * luck[part] if deducts else others[part]
            for _, others, luck in (self._scores, self._knows)
        )
        return scores, knows

    def without(self, library: Library, part: int) -> tuple[Library, Array]:
        """Return a library in which a part counts against, and by chance for; and signs."""
        samples = np.flatnonzero(self._is_of_part[part])
        shuffled = self.shuffled()
        signs = np.where(self._is_of_part[part], -_DEDUCTED, 1.0)
        by_chance = np.full(len(shuffled) * len(samples), _DEDUCTED / len(shuffled))
        signs = np.append(signs, by_chance)
        rows = np.concatenate([np.arange(len(library.y)), *[samples] * len(shuffled)])
        y = np.concatenate([library.y, *(one[samples] for one in shuffled)])
        return replace(library.take(rows), y=y), signs

    def criteria_of_all(self) -> tuple[Floats, Floats]:
        """Return score and knowledge of each trial on all samples."""
        scores = np.array([trial.score for trial in self.trials])
        if self._dummy is not None:
            scores = np.append(scores, self._dummy.score)
        is_known = self.library.classes is not None
        return scores, self._knows[0].sum(axis=0) if is_known else scores

    def members(self, criteria: tuple[Floats, Floats], among: Array) -> Array:
        """Return the best of each family of those that know more than the dummy.

        That is those with a smaller log loss, or a better score in a regression; the best
        of all if there are none.  In an average others do harm where they are far off, as a
        linear model on rows that are unlike those that it was fitted on.
        """
        scores, knows = criteria
        if self._dummy is not None:
            knowing = among[knows[among] > knows[-1]]
            among = knowing if len(knowing) else among
        ranked = among[np.argsort(-scores[among], kind="stable")]
        of_families = [
            ranked[self._families[ranked] == family][:_MOST_OF_FAMILY]
            for family in dict.fromkeys(self._families[among])
        ]
        return np.concatenate(of_families)

    def bests(self, criteria: tuple[Floats, Floats]) -> Iterable[tuple[str, int]]:
        """Yield the best single trial of all and of the families that have a score."""
        scores = criteria[0][: len(self.trials)]
        yield "best model", int(scores.argmax())
        for family in ("linear", "boosting"):
            of_family = np.flatnonzero(self._families == family)
            if len(of_family):
                yield family, int(of_family[scores[of_family].argmax()])

    def scores(
        self, crossed: dict[str, Array], *, intervals: bool, seconds: float | None
    ) -> tuple[dict[str, Score], CorrectedScore | None]:
        """Return the scores of predictions of all samples; an interval for the first."""
        predictions = dict(crossed)
        if self._dummy is not None:
            predictions["dummy"] = self._dummy.library.predictions[0]
        every = np.stack([*predictions.values()])
        is_classification = self.library.classes is not None
        n_times = _N_BOOTSTRAPS if intervals else 0
        loss, loss_lead = self._against_dummy(
            every, _PROPER[is_classification], n_times, seconds
        )
        auc = auc_lead = np.full(len(every), np.nan)
        if intervals and is_classification and not (loss_lead[:-1] > 0).all():
            auc, auc_lead = self._against_dummy(every, _RANKING, n_times, seconds)
        if is_classification and self._metric.takes_labels:
            every = np.stack([
                self._threshold.crossed(own, self.y, self.library.classes, self._is_of_part)
                for own in every
            ])
        own_scores = self._fold_scores(every, self._folds)
        by_fold = own_scores.on_all()
        resampled = _resampled(own_scores, n_times, seconds)
        lead = self._leads(resampled)
        # One held-out part tells nothing of a spread.
        std = by_fold.std(axis=0) if len(by_fold) > 1 else np.full(len(every), np.nan)
        columns = {"mean": by_fold.mean(axis=0), "std": std, "lead": lead, "loss": -loss}
        columns |= {"loss_lead": loss_lead, "auc": auc, "auc_lead": auc_lead}
        scores = {
            name: Score(name=name, **{key: float(own[k]) for key, own in columns.items()})
            for k, name in enumerate(predictions)
        }
        if not intervals:
            return scores, None
        low, high = _interval(resampled[:, 0])
        return scores, CorrectedScore(
            score=next(iter(scores.values())).mean,
            low=low,
            high=high,
            confidence=_CONFIDENCE,
            n_bootstraps=int(np.isfinite(resampled[:, 0]).sum()),
            naive_score=max(trial.score for trial in self.trials),
        )

    def _against_dummy(
        self, predictions: Array, metric: Metric, n_times: int, seconds: float | None
    ) -> tuple[Floats, Floats]:
        """Return scores (C,) by a metric and the low ends of leads, or NaN."""
        n_classes = 0 if self.library.classes is None else len(self.library.classes)
        if metric is _RANKING and not 2 <= n_classes <= _MOST_RANKED:
            return (np.full(len(predictions), np.nan),) * 2
        y = None
        if self.y.ndim > 1:
            # Several targets count equally, in their standard deviations.
            scale = self.y.std(axis=0) + np.finfo(float).tiny
            predictions, y = predictions / scale, self.y / scale
        scores = self._fold_scores(predictions, self._folds, y, metric)
        leads = self._leads(_resampled(scores, n_times, seconds))
        return scores.on_all().mean(axis=0), leads

    def _leads(self, resampled: Floats) -> Floats:
        """Return the low end of each lead over the dummy, the last of C candidates."""
        n_times, n_candidates = resampled.shape
        if self._dummy is None or not n_times:
            return np.full(n_candidates, np.inf if n_times else np.nan)
        leads = resampled - resampled[:, -1:]
        return np.array([_interval(own)[0] for own in leads.T])


def _resampled(scores: FoldScores, n: int, seconds: float | None) -> Floats:
    """Return scores (B, C) on `n` resamples of the same rows for each metric."""
    by_fold = scores.on_all().mean(axis=0)
    if not n:
        return np.full((0, len(by_fold)), np.nan)
    resampled = scores.on_resamples(n, np.random.default_rng(0), seconds)
    # A metric of few samples may be biased, as R^2 is.
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        shift = by_fold - np.nanmean(resampled, axis=0)
        # But none is higher than the metric can be.
        most = np.nanmax(resampled, axis=0, initial=-np.inf)
    corrected: Floats = np.minimum(resampled + shift, most)
    return corrected


def _crossed(pool: _Pool, selector: Selector, *, deducts: bool) -> dict[str, Array]:
    """Return predictions of each sample by choices that it has no part in, by name."""
    library = pool.library
    crossed: dict[str, Array] = {}
    every = np.arange(len(pool.trials))
    for k, part in enumerate(pool.parts):
        is_own = library.part == part
        criteria = pool.criteria(k, deducts=deducts)
        members = pool.members(criteria, every)
        candidates = library_of([pool.trials[m] for m in members])
        if deducts:
            choice = selector.choose(*pool.without(candidates, k))
        else:
            choice = selector.choose(candidates.take(~is_own))
        found = {"ensemble": choice.combine(candidates.predictions[:, is_own])}
        for name, best in pool.bests(criteria):
            found[name] = library.predictions[best, is_own]
        for name, predictions in found.items():
            shape = (len(library.y), *predictions.shape[1:])
            crossed.setdefault(name, np.empty(shape))[is_own] = predictions
    return crossed


def _train_for_each_other(folds: Sequence[tuple[Array, Array]]) -> bool:
    """Return whether each fold trains on what others hold out: not by time or one split."""
    if len(folds) < _FEWEST_FOLDS_TO_DEDUCT:
        return False
    pairs = list(zip(folds, [*folds[1:], folds[0]], strict=True))
    pairs += [(second, first) for first, second in pairs]
    return all(np.isin(held, train).any() for (train, _), (_, held) in pairs)


def _interval(values: Floats) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return float(low), float(high)


def leaderboard(
    trials: Sequence[Trial], chosen: Chosen, networks: Chosen | None
) -> pd.DataFrame:
    """Return a row for each model and for both ensembles, the best first."""
    weights = dict(zip(map(id, chosen.trials), chosen.weights, strict=True))
    rows = [
        (t.name, t.family, t.score, t.std, t.seconds, weights.get(id(t), 0.0), {**t.params})
        for t in trials
    ]
    for name, ensemble in (("ensemble", chosen), ("ensemble of networks", networks)):
        if ensemble is not None:
            members = zip(ensemble.trials, ensemble.weights, strict=True)
            seconds = sum(trial.seconds for trial, weight in members if weight > 0)
            score = ensemble.scores["ensemble"]
            rows.append((name, "ensemble", score.mean, score.std, seconds, np.nan, {}))
    names = ["model", "family", "cv_score", "cv_std", "seconds", "weight", "params"]
    table = pd.DataFrame(rows, columns=names).set_index("model")
    table.insert(names.index("weight") - 1, "in_ensemble", table["weight"] > 0)
    return table.sort_values("cv_score", ascending=False, kind="stable")
