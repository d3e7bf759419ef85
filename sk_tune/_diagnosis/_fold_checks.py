# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Checks of folds and rows: outlying folds, too few rows, more rows, rare classes.

References
----------
.. [1] G. K. Smyth. Linear models and empirical Bayes methods for assessing differential
   expression in microarray experiments. Statistical Applications in Genetics and Molecular
   Biology 3(1), 2004. Section 3: the moderated t-statistic.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm
from scipy.stats import t as student

from sk_tune._diagnosis._curves import (
    USUAL_FOLDS,
    Summary,
    estimate,
    log_losses,
    log_ratio,
    smooth,
    target_variances,
)
from sk_tune._diagnosis._findings import RULES, Finding, share
from sk_tune._diagnosis._fit_checks import SURE, trend
from sk_tune._diagnosis._remedies import (
    Steps,
    in_steps,
    longer_training,
    more_steps,
    regularise,
)
from sk_tune._types import Array, Floats

# A standard normal value exceeds this number with a probability of 5 %.
_UNUSUAL = 1.645


def check_folds(summary: Summary) -> Finding:
    """Check for a fold with a higher loss than the rest: an issue if so."""
    rule = RULES["folds disagree"]
    if not summary.has_valid or len(summary.valid) < 3:
        return rule.not_applicable("This check needs a held-out loss on three folds.")
    n = len(summary.valid)
    deviations = _deviations_of_folds(summary)
    fold = int(np.argmax([t for t, _ in deviations]))
    learnt = smooth(np.delete(summary.valid, fold, axis=0)).mean(axis=0).min()
    if summary.has_baseline and learnt > 0.95 * summary.reference:
        return rule.not_applicable(
            "The network learns almost nothing, so folds differ only in their targets."
        )
    t, relative = deviations[fold]
    # As a standard normal value of equal probability.
    z = float(norm.isf(student.sf(t, n - 2 + USUAL_FOLDS)))
    if (errors := _excess_errors(summary, fold)) is not None:
        # A mean of two such values varies by 1 at most, whatever their correlation.
        z = (z + errors) / 2
    # Chance that one of several equal folds is called different, or is mentioned.
    limit, mentioned = (float(norm.isf(chance / n)) for chance in (0.02, 0.04))
    evidence = {"fold": fold, "deviation": z, "limit": limit, "difference": relative}
    if z > mentioned and relative > 0.3:
        trained = summary.train_end
        if trained[fold] > 1.3 * np.median(np.delete(trained, fold)):
            return rule.tip(
                "low",
                f"The loss of fold {fold} is also higher on its training rows, so the "
                "cause is probably its training and not its rows.",
                evidence,
                "Train again with another random_state, or with a lower learning rate.",
            )
        message = (
            f"The held-out loss of fold {fold} is {share(relative)} higher than on the "
            "remaining folds"
        )
        remedy = (
            "Check whether its rows differ in time, source or group. Keep rows of a group "
            "in one fold, and leave out rows that lower the score of the remaining folds."
        )
        if z <= limit:
            return rule.tip("low", f"{message}, which may be chance.", evidence, remedy)
        return rule.issue("medium", f"{message}.", evidence, remedy)
    return rule.passed("No fold has a clearly higher loss than the rest.", evidence)


def _deviations_of_folds(summary: Summary) -> list[tuple[float, float]]:
    """Return each fold's t-value and relative excess of the held-out loss."""
    variances = target_variances(summary)
    # The relative variance of one sample's loss is 2 for squares of normal errors, and less
    # for most cross entropies.
    if variances is None:
        return _deviations(summary, summary.valid, 1.0)
    # Unpredictable extreme targets raise a fold's loss and the variance of its targets
    # alike; a truly different fold also has more of its variance unexplained.  If both
    # values are unusual, their mean varies by no more than one of them.
    unexplained = summary.valid / variances[:, np.newaxis]
    several = (_deviations(summary, curves, 2.0) for curves in (summary.valid, unexplained))
    pairs = [sorted(pair) for pair in zip(*several, strict=True)]
    return [
        ((t + other) / 2 if t > _UNUSUAL else t, excess)
        for (t, excess), (other, _) in pairs
    ]


def _excess_errors(summary: Summary, fold: int) -> float | None:
    """Return the excess errors of a fold in standard deviations; None without accuracies.

    Errors are those at the epoch that is best for the remaining folds.
    """
    if summary.n_held_out is None or summary.n_repeats != 1:
        return None
    n_folds, scores = len(summary.score), summary.score
    n_rows = summary.n_held_out
    # Accuracies are whole numbers of rows; folds differ by one row at most.
    sizes = np.array([math.floor(n_rows), math.ceil(n_rows)])[:, None, None]
    if not (np.abs(scores * sizes - np.rint(scores * sizes)).min(axis=0) < 0.01).all():
        return None
    other_folds = np.delete(np.arange(n_folds), fold)
    best = int(np.argmin(smooth(summary.valid)[other_folds].mean(axis=0)))
    error, error_of_rest = (
        1 - scores[fold, best],
        1 - float(scores[other_folds, best].mean()),
    )
    if not 0 <= error_of_rest < error <= 1:
        return 0.0
    share_of_errors = (error + error_of_rest * len(other_folds)) / n_folds
    variance = share_of_errors * (1 - share_of_errors) / n_rows
    return float((error - error_of_rest) / math.sqrt(variance * (1 + 1 / len(other_folds))))


def _deviations(
    summary: Summary, curves: Floats, relative_variance: float
) -> list[tuple[float, float]]:
    """Return each fold's excess loss: in standard deviations of the rest, and relative."""
    valid, deviations = smooth(curves), []
    # A few epochs around the best, because single epochs are noisy.
    reach = summary.n_epochs // 10
    for fold in range(len(valid)):
        # Compare folds at the best epoch of the rest: a different fold is often best before
        # the network has learnt the common pattern.
        best = int(np.argmin(np.sort(np.delete(valid, fold, 0), 0).mean(axis=0)))
        losses = valid[:, max(best - reach, 0) : best + reach + 1].mean(axis=1)
        logs = log_losses(losses)
        rest_logs = np.sort(np.delete(logs, fold))
        squares = float(((rest_logs - rest_logs.mean()) ** 2).sum())
        degrees = len(rest_logs) - 1 + USUAL_FOLDS
        # Logarithms of the loss vary by a tenth, plus the sampling error of a fold.
        usual = 0.1**2
        if summary.n_held_out is not None:
            # A low mean loss comes from a few samples.
            level = math.exp(rest_logs.mean()) / summary.reference
            usual += max(relative_variance, 0.6 / level) / summary.n_held_out
        spread = math.sqrt((squares + USUAL_FOLDS * usual) / degrees)
        difference = float(logs[fold] - rest_logs.mean())
        z = difference / (spread * math.sqrt(1 + 1 / len(rest_logs)))
        deviations.append((z, math.expm1(difference)))
    return deviations


def _of_few_rows(summary: Summary) -> Steps:
    """Return remedies for a network trained on few samples."""
    rise = float(np.median(log_ratio(summary.valid_end, summary.valid_best)))
    is_tiny = summary.train_end.mean() < 0.05 * summary.valid_end.mean()
    if rise > math.log1p(0.05) or (is_tiny and not summary.is_weighted):
        return regularise(summary.params, summary.best_epoch + 1, summary.n_epochs)
    if summary.n_samples is not None and summary.n_held_out is not None:
        n_rows = max(1, round(summary.n_samples - summary.n_held_out))
        if steps := more_steps(summary.params, summary.n_epochs, n_rows):
            return (steps,)
    coming = trend(summary)
    is_sure = coming.gain.mean > 0.05 and coming.gain.at_least(SURE) > 0
    if summary.is_least_late and is_sure:
        return (longer_training(summary.params, summary.n_epochs, 2.0),)
    return ()


def check_rows(summary: Summary) -> Finding:
    """Check whether there are too few samples for reliable results: an issue if so."""
    rule = RULES["too few rows"]
    if not summary.has_valid:
        return rule.not_applicable("No held-out loss is available.")
    level = summary.estimate(summary.valid_best, summary.reference)
    learnt = max(summary.reference - level.mean, 0.0)
    unsure = level.error / learnt if learnt > 0 else math.inf
    evidence = {"valid_loss": level.mean, "valid_loss_error": level.error}
    if math.isfinite(unsure):
        evidence["error_by_learnt"] = unsure
    if summary.n_samples is not None:
        evidence["n_samples"] = summary.n_samples
    # With fewer samples, results of a network depend largely on chance.
    is_few = summary.n_samples is not None and summary.n_samples < 80
    if is_few or (summary.n_samples is None and level.n > 1 and unsure > 0.2):
        return rule.issue(
            "medium",
            "There are too few rows to compare configurations reliably.",
            evidence,
            "Get more rows, or repeat the folds. Until then, prefer simple models or the "
            "average of several networks.",
            *in_steps(_of_few_rows(summary)),
        )
    return rule.passed("No sign of too few rows to compare configurations.", evidence)


# Collecting samples is worthwhile if twice as many close more than this share of the gap to
# the training score.
_WORTH_ROWS = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class SampleCurve:
    """A learning curve by samples, as from ``sklearn.model_selection.learning_curve``.

    Parameters
    ----------
    train_sizes : ndarray of shape (S,)
        Numbers of training rows, ascending.
    train_scores, test_scores : ndarray of shape (S, F)
        Scores on training rows and on held-out rows; greater is better.
    """

    train_sizes: Array
    train_scores: Floats
    test_scores: Floats


def check_more_data(curve: SampleCurve) -> Finding:
    """Check whether the held-out score rises with the number of samples: a tip if so."""
    rule = RULES["more data"]
    sizes = np.asarray(curve.train_sizes, dtype=np.float64)
    test = np.asarray(curve.test_scores, dtype=np.float64)
    train = np.asarray(curve.train_scores, dtype=np.float64)
    usable = np.isfinite(test).any(axis=1)
    sizes, test, train = sizes[usable], test[usable], train[usable]
    if len(sizes) < 2 or sizes[-1] < 1.5 * sizes[0]:
        return rule.not_applicable(
            "This check needs scores for two numbers of rows that differ by a factor of "
            "1.5."
        )
    # Over logarithms of the samples, a power law loses a constant ratio per doubling.
    doublings = np.log2(sizes / sizes[-1])
    step = min(1.0, -float(doublings[0]) / 2)
    quarter, half, end = (
        np.array([np.interp(-k * step, doublings, fold) for fold in test.T])
        for k in (2, 1, 0)
    )
    earlier, recent = float(np.nanmean(half - quarter)), float(np.nanmean(end - half))
    ratio = float(np.clip(recent / earlier, 0.0, 1.0)) if earlier > 0 else 0.7
    # The gain of one more step, scaled to a whole doubling.
    gain = estimate((end - half) * ratio / step)
    gap = estimate(train[-1] - test[-1])
    evidence = {
        "n_rows": float(sizes[-1]),
        "test_score": float(np.nanmean(test[-1])),
        "gain": gain.mean,
        "gain_error": gain.error,
        "gap": gap.mean,
        "gap_error": gap.error,
    }
    message = f"Twice the rows would raise the score by about {gain.mean:.2g}"
    # The error of a single fold is unknown.
    error = f" (standard error {gain.error:.1g})" if gain.error > 0 else ""
    if gain.mean <= 0 or (gain.n > 1 and gain.at_least(SURE) <= 0):
        return rule.passed("The score no longer rises with the number of rows.", evidence)
    if gain.mean <= _WORTH_ROWS * gap.mean:
        of_gap = f"{share(gain.mean / gap.mean)} of its distance to the training score"
        return rule.passed(f"{message}, only {of_gap}.", evidence)
    return rule.tip(
        "medium" if gain.mean > 2 * _WORTH_ROWS * abs(gap.mean) else "low",
        f"{message}{error}.",
        evidence,
        "Get more rows before further tuning.",
    )


# Classes are imbalanced below this share of an even share: 20 % for two classes.
_IMBALANCED, _VERY_IMBALANCED = 0.4, 0.1
_TWO_CLASSES_REMEDY = (
    "If the metric is accuracy, use ROC AUC, average precision or log loss instead. For "
    "labels, tune the threshold (threshold='balanced_accuracy' of AutoClassifier, or "
    "TunedThresholdClassifierCV) or train with class_weight='balanced'."
)
# A threshold decides between two classes only.
_MORE_CLASSES_REMEDY = (
    "If the metric is accuracy, use log loss or balanced accuracy instead. For labels, "
    "train with class_weight='balanced'."
)


def check_classes(y: ArrayLike) -> Finding:
    """Check whether a class is much rarer than an even share of the rows.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels of at least two classes.

    Returns
    -------
    Finding
        SKT301: a tip with a remedy if the rarest class has less than 0.4 of an even share
        (20 % for two classes); otherwise passed.

    Examples
    --------
    >>> from sk_tune import check_classes
    >>> finding = check_classes(["no"] * 180 + ["yes"] * 20)
    >>> finding.code, finding.outcome, finding.message
    ('SKT301', 'tip', "10 % of 200 rows belong to class 'yes'.")
    """
    rule = RULES["class imbalance"]
    labels, counts = np.unique(np.asarray(y), return_counts=True)
    rarest, n_rows = int(counts.min()), int(counts.sum())
    evidence = {"share": rarest / n_rows, "n_rarest": rarest, "n_rows": n_rows}
    name = labels.tolist()[counts.argmin()]
    message = f"{share(rarest / n_rows)} of {n_rows:,} rows belong to class {name!r}."
    if rarest >= _IMBALANCED * counts.mean():
        return rule.passed(f"No class is rare: {message}", evidence)
    is_very = rarest < _VERY_IMBALANCED * counts.mean()
    remedy = _TWO_CLASSES_REMEDY if len(labels) == 2 else _MORE_CLASSES_REMEDY
    return rule.tip("medium" if is_very else "low", message, evidence, remedy)
