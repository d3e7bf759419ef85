# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Choice of the ensemble's members, and an unbiased score of the ensemble.

Whether the columns help is judged by log loss against the class shares, or by ROC AUC,
which shows weak effects on fewer rows; in regression by squared error against the mean.
Other metrics can rise without any informative column, as F1 does by always predicting the
rare class, or cannot rise although the columns are informative, as accuracy does.

Each part of the samples is predicted by a choice made without the scores on that part. On
pure noise that is still biased: models scored on the other parts were trained on labels of
this part. Therefore a share of a trial's score beyond chance on the part is subtracted from
its score on the other parts (ADR 13). On informative columns the deduction makes the choice
worse, so it is dropped once the lead over the dummy is clear.

Notation: C trials, P parts, N held-out samples.
"""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sk_tune._automl._blend import Blend, Trial, blend_of, library_of
from sk_tune._automl._prediction_costs import PredictionCosts
from sk_tune._automl._problem import Problem
from sk_tune._automl._scoring import checked_metric
from sk_tune._automl._threshold import Threshold, ThresholdChoice
from sk_tune._conformal import Calibration
from sk_tune._ensemble import CandidateWeights, GreedyOptions, Library, Selector
from sk_tune._scores import FoldScores, Metric, ScoreEstimate
from sk_tune._types import Array

Floats = npt.NDArray[np.float64]

# Members per family, so that weaker families can contribute.
_MOST_OF_FAMILY = 8
_GREEDY = GreedyOptions(max_rounds=30, n_bags=10)
# Samples above which fewer bags suffice for a stable choice.
_ROWS_IN_BAGS = 20_000
_N_BOOTSTRAPS, _CONFIDENCE = 300, 0.95
LARGER = "larger ensemble"
# Least weight of a member, because light members cost as much to predict as others.
_LEAST_WEIGHT = 0.02
# Least number of folds for the deduction: with fewer, no score remains to choose by.
_FEWEST_FOLDS_TO_DEDUCT = 3
# Share of the score beyond chance that is deducted: kernel methods need all of it, boosting
# and networks little.  Measured on noise, see docs/automl-quality.md.
_DEDUCTED = 0.25
# Metrics that decide whether the columns help; the key is True for classification.
_PROPER = {
    True: checked_metric("neg_log_loss"),
    False: checked_metric("neg_mean_squared_error"),
}
# With many classes, a ROC AUC for each takes too long.
_RANKING, _MOST_RANKED = checked_metric("roc_auc_ovr"), 10
# Number of permutations of the targets of a part that estimate the score by chance.
_N_SHUFFLES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScore(ScoreEstimate):
    """Expected score of a model, the mean over the folds, and its lead over the dummy.

    Parameters
    ----------
    name : {"dummy", "linear", "boosting", "networks", "best", "ensemble"}
        The scored model.
    std : float
        Standard deviation of the score over the folds; NaN for a single held-out part.
    held_out : float, default=nan
        Score on the rows set aside; NaN without any.
    lead : float, default=nan
        Low end of the 95 % interval of the lead in score over the dummy on the same rows;
        infinite without a dummy, NaN if it was not computed.
    linear_lead : float, default=nan
        Low end of the 95 % interval of the lead in score over the linear model on the same
        rows; NaN without a linear model, or if it was not computed.
    loss : float, default=nan
        Mean over the folds of the log loss in classification, or of the squared error in
        regression; several targets are divided by their standard deviations first.
    loss_lead : float, default=nan
        Low end of the 95 % interval of the dummy's loss minus this loss on the same rows;
        infinite without a dummy, NaN if it was not computed.
    auc, auc_lead : float, default=nan
        ROC AUC of a classifier, and the low end of the 95 % interval of its lead over 0.5;
        computed only if the `loss_lead` of a model is not above 0.
    """

    name: str
    std: float
    held_out: float = math.nan
    lead: float = math.nan
    linear_lead: float = math.nan
    loss: float = math.nan
    loss_lead: float = math.nan
    auc: float = math.nan
    auc_lead: float = math.nan

    @property
    def beats_dummy(self) -> bool:
        """Whether the columns help: the model clearly beats the dummy in loss or AUC."""
        return self.loss_lead > 0 or self.auc_lead > 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """Members with weights that sum to 1, and scores of the ensemble and single models.

    `temperature` scales the averaged probabilities.  `scores` and `thresholds` are for the
    "ensemble", the best single "linear" and "boosting" trial, the "best", and the "dummy",
    if they exist.  `held_out` are the targets, the ensemble's predictions by choices made
    on other samples, and the part of each sample; `calibrations` of single models and the
    ensemble are based on such predictions.  `larger` are the weights without a limit on the
    prediction time, None if they are the same.  `ms` and `megabytes` are measured times of
    models to predict 10,000 rows, and their sizes.  Members that share transformers are
    faster together, by the factor `speedup` for the ensemble and the larger one.
    """

    trials: Sequence[Trial]
    weights: Array
    temperature: float
    scores: dict[str, ModelScore]
    thresholds: dict[str, Threshold]
    held_out: tuple[Array, Array, Array]
    calibrations: dict[str, Calibration | None]
    larger: Array | None = None
    ms: Mapping[str, float] = field(default_factory=dict)
    megabytes: Mapping[str, float] = field(default_factory=dict)
    speedup: Mapping[str, float] = field(default_factory=dict)

    def of_folds(self) -> Blend:
        """Return the average of the models of the folds."""
        classes = self.trials[0].library.classes
        threshold = self.thresholds["ensemble"]
        return blend_of(
            self.trials, self.weights, self.temperature, threshold, classes=classes
        )


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
    costs: PredictionCosts | None = None,
) -> Chosen:
    """Choose members by greedy selection over out-of-fold predictions.

    At least one trial is needed.  Classifiers are chosen by log loss.  `others` are trials
    without fitted models.  If `beats_dummy` is None, it is decided by intervals of the
    scores; `seconds` limits the time for metrics that need many calls.  `costs` limit the
    prediction time.
    """
    threshold = threshold or ThresholdChoice()
    pool = _Pool([*trials, *others], dummy, problem, metric, threshold)
    is_classification = pool.library.classes is not None
    n_bags = int(np.clip(_ROWS_IN_BAGS // len(pool.library.y), 1, _GREEDY.n_bags))
    selector = Selector(
        library=pool.library,
        method=replace(_GREEDY, n_bags=n_bags),
        scoring=None if is_classification else problem.scoring,
        calibrate=calibrate and is_classification,
        random_state=problem.seed,
    )
    asks = beats_dummy is None
    deducts = pool.can_deduct and not beats_dummy
    crossed = _crossed(pool, selector, costs, deducts=deducts)
    scores = pool.scores(crossed, intervals=asks, seconds=seconds)
    if asks and deducts and scores["ensemble"].beats_dummy:
        deducted = scores
        crossed = _crossed(pool, selector, costs, deducts=False)
        scores = pool.scores(crossed, intervals=True, seconds=seconds)
        leads = ("lead", "loss_lead", "auc", "auc_lead")
        scores = {
            name: replace(s, **{field: getattr(deducted[name], field) for field in leads})
            for name, s in scores.items()
        }
    members = pool.members(pool.criteria_of_all(), np.arange(len(trials)))
    candidates = [trials[k] for k in members]
    choice, large = _choices(selector, library_of(candidates), candidates, costs)
    weights, larger = map(_without_light, (choice.weights, large.weights))
    ensembles = {"ensemble": weights, LARGER: larger}
    return Chosen(
        trials=candidates,
        weights=weights,
        larger=None if np.array_equal(weights > 0, larger > 0) else larger,
        ms={} if costs is None else costs.ms,
        megabytes={} if costs is None else costs.megabytes,
        speedup={}
        if costs is None
        else {k: _speedup(candidates, part, costs) for k, part in ensembles.items()},
        temperature=choice.temperature,
        scores=scores,
        thresholds={
            name: threshold.best(predictions, pool.y, pool.library.classes)
            for name, predictions in pool.with_dummy(crossed).items()
        },
        held_out=(pool.y, crossed["ensemble"], pool.library.part),
        calibrations={
            name: pool.library.calibration_of(predictions)
            for name, predictions in crossed.items()
        },
    )


def _choices(
    selector: Selector,
    library: Library,
    trials: Sequence[Trial],
    costs: PredictionCosts | None,
    signs: Array | None = None,
) -> tuple[CandidateWeights, CandidateWeights]:
    """Return the choices with and without the limit on the prediction time."""
    choice = selector.choose(library, signs)
    if costs is None:
        return choice, choice

    def cost(positions: Sequence[int]) -> float:
        return costs(*(trials[position] for position in positions))

    return selector.lighter(library, choice, cost, costs.most, signs), choice


def _speedup(trials: Sequence[Trial], weights: Floats, costs: PredictionCosts) -> float:
    """Return how much faster members are together than one after the other."""
    members = [trials[position] for position in np.flatnonzero(weights).tolist()]
    return sum(map(costs, members)) / costs(*members)


def _without_light(weights: Floats) -> Floats:
    weights = np.where(weights < min(_LEAST_WEIGHT, weights.max()), 0.0, weights)
    return np.asarray(weights / weights.sum())


def choose_with_networks(
    trials: Sequence[Trial], *args: Any, others: Sequence[Trial], **options: Any
) -> tuple[Chosen, Chosen | None]:
    """Choose among all trials, and among the networks alone; None without a network."""
    options["dummy"] = next((t for t in trials if t.family == "dummy"), None)
    candidates = [t for t in trials if t is not options["dummy"]] or trials
    chosen = choose(candidates, *args, others=others, **options)
    networks = [t for t in candidates if t.is_network]
    if not networks or networks == candidates:
        return chosen, chosen if networks else None
    options["beats_dummy"] = chosen.scores["ensemble"].beats_dummy
    options |= {"others": [t for t in others if t.is_network], "costs": None}
    return chosen, choose(networks, *args, **options)


class _Pool:
    """Trials and their scores on each part; the dummy is the last trial."""

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
        every = [*trials, dummy] if dummy is not None else [*trials]
        self.library = library_of(every)
        self.parts = np.unique(self.library.part)
        self._is_of_part = self.library.part == self.parts[:, np.newaxis]
        rows = np.unique(np.concatenate([test for _, test in problem.folds]))
        self._folds = np.array([np.isin(rows, test) for _, test in problem.folds])
        self._groups = None if problem.groups is None else problem.groups[rows]
        self.can_deduct = _train_for_each_other(problem.folds)
        self._families = np.array([trial.family for trial in trials])
        self._scores = self._scores_of(every)
        self._proper = self._scores
        if self.library.classes is not None:
            # Log-probabilities of the true classes, (C, N), and the part beyond chance.
            rows, least = np.arange(len(self.library.y)), np.finfo(np.float32).tiny
            logs = np.log(np.clip(self.library.predictions, least, None))
            true = logs[:, rows, self.library.y]
            beyond_chance = true - np.mean(
                [logs[:, rows, y] for y in self.shuffled()], axis=0
            )
            by_part, luck = (self._is_of_part @ part.T for part in (true, beyond_chance))
            self._proper = by_part, by_part.sum(axis=0) - by_part, luck

    @property
    def y(self) -> Array:
        """Labels or numeric targets of the samples."""
        y, classes = self.library.y, self.library.classes
        return y if classes is None else np.asarray(classes[y])

    def shuffled(self) -> list[Array]:
        """Return targets permuted within each part, several times."""
        rng = np.random.default_rng(self._problem.seed)
        targets = []
        for _ in range(_N_SHUFFLES):
            y = self.library.y.copy()
            for samples in self._is_of_part:
                y[samples] = rng.permutation(y[samples])
            targets.append(y)
        return targets

    def _scores_of(self, every: Sequence[Trial]) -> tuple[Floats, Floats, Floats]:
        """Return scores on each part, on the other parts, and beyond chance, (P, C)."""
        by_part = self._fold_scores(self.library.predictions, self._is_of_part)
        n = len(self.parts)
        if np.array_equal(self._folds, self._is_of_part):
            scores = np.nan_to_num(np.array([trial.fold_scores for trial in every]).T)
            rest_scores = scores.sum(axis=0) - scores
        else:
            scores = np.nan_to_num(by_part.on_all())
            outside = self._fold_scores(self.library.predictions, ~self._is_of_part)
            rest_scores = np.nan_to_num(outside.on_all()) * (n - 1)
        luck = scores
        if self.can_deduct and not by_part.needs_calls:
            by_chance = [
                self._fold_scores(self.library.predictions, self._is_of_part, y).on_all()
                for y in self.shuffled()
            ]
            luck = scores - np.nan_to_num(np.mean(by_chance, axis=0))
        return scores, rest_scores, luck

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
        return FoldScores(
            metric, predictions, y, classes=classes, folds=folds, groups=self._groups
        )

    def criteria(self, part: int, *, deducts: bool) -> tuple[Floats, Floats]:
        """Return the criteria of the choice for a part: metric and proper score, (C,)."""
        scores, proper = (
            rest_scores[part] - _DEDUCTED * luck[part] if deducts else rest_scores[part]
            for _, rest_scores, luck in (self._scores, self._proper)
        )
        return scores, proper

    def without(self, library: Library, part: int) -> tuple[Library, Array]:
        """Return samples with signs: a part counts negative, its permutations positive."""
        samples = np.flatnonzero(self._is_of_part[part])
        shuffled = self.shuffled()
        signs = np.where(self._is_of_part[part], -_DEDUCTED, 1.0)
        by_chance = np.full(len(shuffled) * len(samples), _DEDUCTED / len(shuffled))
        signs = np.append(signs, by_chance)
        rows = np.concatenate([np.arange(len(library.y)), *[samples] * len(shuffled)])
        y = np.concatenate([library.y, *(one[samples] for one in shuffled)])
        return replace(library.take(rows), y=y), signs

    def criteria_of_all(self) -> tuple[Floats, Floats]:
        """Return metric and proper score of each trial on all samples."""
        dummy = [] if self._dummy is None else [self._dummy]
        scores = np.array([trial.score for trial in [*self.trials, *dummy]])
        is_known = self.library.classes is not None
        return scores, self._proper[0].sum(axis=0) if is_known else scores

    def members(self, criteria: tuple[Floats, Floats], among: Array) -> Array:
        """Return the best trials of each family, without those worse than the dummy.

        Worse means a larger log loss, or a lower score in regression. Such trials harm an
        average where they are far off, as a linear model does on rows unlike its training
        rows. If all are worse, the best of all are returned.
        """
        scores, proper = criteria
        if self._dummy is not None:
            better = among[proper[among] > proper[-1]]
            among = better if len(better) else among
        ranked = among[np.argsort(-scores[among], kind="stable")]
        of_families = [
            ranked[self._families[ranked] == family][:_MOST_OF_FAMILY]
            for family in dict.fromkeys(self._families[among])
        ]
        return np.concatenate(of_families)

    def bests(self, criteria: tuple[Floats, Floats]) -> Iterable[tuple[str, int]]:
        """Yield the best single trial of all, and of the linear and boosting families."""
        scores = criteria[0][: len(self.trials)]
        yield "best", int(scores.argmax())
        for family in ("linear", "boosting"):
            of_family = np.flatnonzero(self._families == family)
            if len(of_family):
                yield family, int(of_family[scores[of_family].argmax()])

    def with_dummy(self, predictions: dict[str, Array]) -> dict[str, Array]:
        """Return predictions by name, with those of the dummy, if there is one."""
        if self._dummy is None:
            return predictions
        return {**predictions, "dummy": self._dummy.library.predictions[0]}

    def scores(
        self, crossed: dict[str, Array], *, intervals: bool, seconds: float | None
    ) -> dict[str, ModelScore]:
        """Return the scores of out-of-sample predictions, with `intervals` if asked."""
        predictions = self.with_dummy(crossed)
        every, y, classes = np.stack([*predictions.values()]), self.y, self.library.classes
        options: dict[str, Any]
        options = {"n_times": _N_BOOTSTRAPS if intervals else 0, "seconds": seconds}
        # Several targets count equally, divided by their standard deviations.
        scale = np.where(np.ptp(y, axis=0) > 0, y.std(axis=0), 1.0) if y.ndim > 1 else 1.0
        scaled = y / scale if y.ndim > 1 else None
        proper = _PROPER[classes is not None]
        losses = self._fold_scores(every / scale, self._folds, scaled, proper)
        loss = self._measured(losses, **options)
        auc = dict.fromkeys(("score", "lead"), np.full(len(every), np.nan))
        can_rank = intervals and classes is not None and len(classes) <= _MOST_RANKED
        if can_rank and not (loss["lead"][:-1] > 0).all():
            ranks = self._fold_scores(every, self._folds, metric=_RANKING)
            auc = self._measured(ranks, **options)
        if classes is not None and self._metric.takes_labels:
            every = np.stack([
                self._threshold.crossed(values, y, classes, self._is_of_part)
                for values in every
            ])
        linear = list(predictions).index("linear") if "linear" in predictions else None
        columns = self._measured(
            self._fold_scores(every, self._folds), **options, linear=linear
        )
        n_bootstraps = columns.pop("n_bootstraps")
        columns |= {"loss": -loss["score"], "loss_lead": loss["lead"]}
        columns |= {"auc": auc["score"], "auc_lead": auc["lead"]}
        naive = max(trial.score for trial in self.trials)
        return {
            name: ModelScore(
                name=name,
                confidence=_CONFIDENCE,
                method="cross-fitting",
                naive_score=naive if name in {"ensemble", "best"} else np.nan,
                n_bootstraps=int(n_bootstraps[k]),
                **{key: float(values[k]) for key, values in columns.items()},
            )
            for k, name in enumerate(predictions)
        }

    def _measured(
        self,
        scores: FoldScores,
        n_times: int,
        seconds: float | None,
        linear: int | None = None,
    ) -> dict[str, Array]:
        """Return means over the folds, their intervals, and leads over two baselines, (C,).

        A lead is the low end of its interval; the dummy is the last of C candidates, and
        `linear` is the position of the linear model.
        """
        by_fold = scores.on_all()
        resampled = _resampled(scores, n_times, seconds)
        low, high = np.array([_interval(values) for values in resampled.T]).T
        lead = np.full(len(low), np.inf if n_times else np.nan)
        if self._dummy is not None and n_times:
            lead = _leads(resampled, -1)
        linear_lead = np.full(len(low), np.nan)
        if linear is not None and n_times:
            linear_lead = _leads(resampled, linear)
        return {
            "score": by_fold.mean(axis=0),
            "low": low,
            "high": high,
            # A single held-out part has no spread.
            "std": by_fold.std(axis=0) if len(by_fold) > 1 else np.full(len(low), np.nan),
            "lead": lead,
            "linear_lead": linear_lead,
            "n_bootstraps": np.isfinite(resampled).sum(axis=0),
        }


def _resampled(scores: FoldScores, n: int, seconds: float | None) -> Floats:
    """Return scores (B, C) on `n` resamples; the same rows for each candidate."""
    by_fold = scores.on_all().mean(axis=0)
    if not n:
        return np.empty((0, len(by_fold)))
    resampled = scores.on_resamples(n, np.random.default_rng(0), seconds)
    # Metrics such as R^2 are biased on few samples.
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        shift = by_fold - np.nanmean(resampled, axis=0)
        # The shift must not lift a score above the maximum of the metric.
        most = np.nanmax(resampled, axis=0, initial=-np.inf)
    corrected: Floats = np.minimum(resampled + shift, most)
    return corrected


def _crossed(
    pool: _Pool, selector: Selector, costs: PredictionCosts | None, *, deducts: bool
) -> dict[str, Array]:
    """Return predictions of each sample by choices made without its part, by name."""
    library = pool.library
    crossed: dict[str, Array] = {}
    every = np.arange(len(pool.trials))
    for k, part in enumerate(pool.parts):
        is_own = library.part == part
        criteria = pool.criteria(k, deducts=deducts)
        members = pool.members(criteria, every)
        trials = [pool.trials[m] for m in members]
        candidates, signs = library_of(trials), None
        training = candidates.take(~is_own)
        if deducts:
            training, signs = pool.without(candidates, k)
        choice, large = _choices(selector, training, trials, costs, signs)
        predictions = candidates.predictions[:, is_own]
        part_predictions = {"ensemble": choice.combine(predictions)}
        if costs is not None:
            part_predictions[LARGER] = large.combine(predictions)
        for name, best in pool.bests(criteria):
            part_predictions[name] = library.predictions[best, is_own]
        for name, predictions in part_predictions.items():
            shape = (len(library.y), *predictions.shape[1:])
            crossed.setdefault(name, np.empty(shape))[is_own] = predictions
    return crossed


def _train_for_each_other(folds: Sequence[tuple[Array, Array]]) -> bool:
    """Return whether folds train on each other's held-out rows, unlike a single split."""
    if len(folds) < _FEWEST_FOLDS_TO_DEDUCT:
        return False
    pairs = list(zip(folds, [*folds[1:], folds[0]], strict=True))
    pairs += [(second, first) for first, second in pairs]
    return all(np.isin(test, train).any() for (train, _), (_, test) in pairs)


def _leads(resampled: Floats, baseline: int) -> Floats:
    """Return the low ends of the intervals of leads over a candidate, (C,)."""
    leads = resampled - resampled[:, baseline, np.newaxis]
    return np.array([_interval(values)[0] for values in leads.T])


def _interval(values: Floats) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.nan, np.nan
    low, high = np.quantile(finite, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return float(low), float(high)
