# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Hyperband and its rungs
=======================

Most bad configurations can be recognised after a few epochs.
:class:`~sk_tune.HyperbandSearchCV` starts many with few epochs and promotes the best third,
which continue from their saved state.  This example shows the dropped candidates and
compares with a random search of the same number of epochs.
"""

# %%
# Digits again, 600 of them.  The space is wide on purpose: learning rates over four orders
# of magnitude, most of them bad.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform, uniform
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import HyperbandSearchCV, MLPClassifier, RandomizedSearchCV, RungDisplay

X, y = load_digits(return_X_y=True)
X, X_new, y, y_new = train_test_split(X, y, train_size=600, stratify=y, random_state=0)
cv = StratifiedKFold(3, shuffle=True, random_state=0)
pipe = make_pipeline(StandardScaler(), MLPClassifier(max_epochs=27, random_state=0))
space = {
    "mlpclassifier__learning_rate": loguniform(1e-5, 1),
    "mlpclassifier__dropout": uniform(0, 0.9),
    "mlpclassifier__width": [8, 16, 32, 64],
    "mlpclassifier__n_layers": [1, 2, 3],
}

# %%
# The plan is available before training.  With ``factor=3`` it has the four brackets of the
# paper on Hyperband: the first drops candidates most aggressively, the last trains its few
# candidates for all epochs.  (The default saves more: it trains on one fold up to the last
# rung.)

options = {"cv": cv, "n_jobs": 1, "factor": 3, "select_epoch": "last"}
search = HyperbandSearchCV(pipe, space, random_state=0, **options)
print(search.plan())
search = search.fit(X, y)

# %%
# The ledger has the actual counts.  ``epochs_full`` is the cost of training each of these
# candidates to the end.

ledger = search.ledger_
saved = ledger.epochs_saved_by_pruning / ledger.epochs_full
print(f"{ledger.epochs_trained} epochs instead of {ledger.epochs_full}: {saved:.0%} saved")

# %%
# The baseline is a random search with the same number of epochs that trains each candidate
# to the end.  One run proves little, so each search runs with five seeds and is scored on
# new digits.

n_iter = round(ledger.epochs_trained / (27 * 3))
accuracies = {f"random search,\n{n_iter} candidates": [], "Hyperband,\n49 candidates": []}
for seed in range(5):
    searches = [
        RandomizedSearchCV(pipe, space, n_iter=n_iter, cv=cv, n_jobs=1, random_state=seed),
        HyperbandSearchCV(pipe, space, random_state=seed, **options),
    ]
    for scores, tuner in zip(accuracies.values(), searches, strict=True):
        scores.append(tuner.fit(X, y).score(X_new, y_new))
for name, scores in accuracies.items():
    print(
        f"{name.replace(chr(10), ' '):29} {np.mean(scores):.3f}, worst {np.min(scores):.3f}"
    )

# %%
# Left: each line is a candidate of the first search and ends at the rung that dropped it.
# Right: the accuracy of both searches, one point per seed.

fig, (left, right) = plt.subplots(
    1, 2, figsize=(11, 4.4), width_ratios=[1.5, 1], layout="constrained"
)
RungDisplay.from_search(search, ax=left)
for place, scores in enumerate(accuracies.values()):
    right.plot(np.full(5, place), scores, "o", alpha=0.6)
    right.plot(place, np.mean(scores), "_", color="black", markersize=30)
right.set(
    xticks=range(2),
    xticklabels=list(accuracies),
    xlim=(-0.6, 1.6),
    ylabel="Accuracy on new digits",
    title="Equal epochs for each search",
)
plt.show()

# %%
# If a dozen candidates happen to include a good candidate, both searches reach the same
# score.  For the same number of epochs, Hyperband depends less on luck: its worst seed is
# better.
#
# Note: if dropped lines rise as steeply as promoted lines, the first rung was too short;
# raise ``min_resources``.  Scores after few and after many epochs are not comparable, so
# the best candidate is chosen among those that trained longest.  If half of the space is
# good, a dozen fully trained candidates do as well.
