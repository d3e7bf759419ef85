# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Checks of the target: whether its classes are equally frequent."""

import numpy as np
from numpy.typing import ArrayLike

from sk_tune._diagnosis._findings import RULES, Finding, share

# Classes are imbalanced below this share of an even share: 20 % for two classes.
_IMBALANCED, _VERY_IMBALANCED = 0.4, 0.1
_REMEDY = (
    "Score by ROC AUC, average precision or log loss instead of accuracy. For labels, tune "
    "the threshold (threshold='balanced_accuracy' of AutoClassifier, or "
    "TunedThresholdClassifierCV) or train with class_weight='balanced'."
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
        SKT301: a tip if the rarest class has less than 0.4 of an even share, which is 20 %
        of two classes, with the remedy; otherwise passed.

    Examples
    --------
    >>> from sk_tune import check_classes
    >>> finding = check_classes(["no"] * 180 + ["yes"] * 20)
    >>> finding.code, finding.outcome, finding.message
    ('SKT301', 'tip', "10 % of 200 rows are of the class 'yes'.")
    """
    rule = RULES["class imbalance"]
    labels, counts = np.unique(np.asarray(y), return_counts=True)
    rarest, n_rows = int(counts.min()), int(counts.sum())
    evidence = {"share": rarest / n_rows, "n_rarest": rarest, "n_rows": n_rows}
    name = labels.tolist()[counts.argmin()]
    message = f"{share(rarest / n_rows)} of {n_rows:,} rows are of the class {name!r}."
    if rarest >= _IMBALANCED * counts.mean():
        return rule.passed(f"No class is rare: {message}", evidence)
    is_very = rarest < _VERY_IMBALANCED * counts.mean()
    return rule.tip("medium" if is_very else "low", message, evidence, _REMEDY)
