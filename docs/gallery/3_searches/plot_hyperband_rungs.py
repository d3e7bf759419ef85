# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Hyperband and its rungs
=======================

Most configurations show after a few epochs that they are hopeless.
:class:`~sk_tune.HyperbandSearchCV` starts many with few epochs, and lets the best third
go on, exactly where they stopped.  This example looks at who was dropped when, and
compares with a random search that trains as many epochs.
"""

# %%
# Digits again, 600 of them.  The space is wide on purpose: learning rates over four orders
# of magnitude, most of which are bad.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform, uniform
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import HyperbandSearchCV, MLPClassifier, RandomizedSearchCV
from sk_tune.report import RungDisplay

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
# The plan says what the search will do, before anything is trained.  It does so in four
# brackets: the first is the most daring, the last gives all of its few candidates all
# epochs.

search = HyperbandSearchCV(pipe, space, cv=cv, n_jobs=1, random_state=0)
print(search.plan())
search = search.fit(X, y)

# %%
# The ledger says what it came to.  ``epochs_full`` is what the same candidates would have
# taken if each had been trained to the end.

ledger = search.ledger_
saved = ledger.epochs_saved_by_pruning / ledger.epochs_full
print(f"{ledger.epochs_trained} epochs instead of {ledger.epochs_full}: {saved:.0%} saved")

# %%
# The baseline: a random search that trains as many epochs, each candidate to the end.  One
# run of a search is an anecdote, so each is run with five seeds, and judged by digits that
# it has not seen.

n_iter = round(ledger.epochs_trained / (27 * 3))
found = {f"random search,\n{n_iter} candidates": [], "Hyperband,\n49 candidates": []}
for seed in range(5):
    searches = [
        RandomizedSearchCV(pipe, space, n_iter=n_iter, cv=cv, n_jobs=1, random_state=seed),
        HyperbandSearchCV(pipe, space, cv=cv, n_jobs=1, random_state=seed),
    ]
    for scores, one in zip(found.values(), searches, strict=True):
        scores.append(one.fit(X, y).score(X_new, y_new))
for name, scores in found.items():
    print(
        f"{name.replace(chr(10), ' '):29} {np.mean(scores):.3f}, worst {np.min(scores):.3f}"
    )

# %%
# Left: each line is a candidate of the first search, and ends at the rung that dropped it.
# Right: what the networks of both searches are worth, one point per seed.

fig, (left, right) = plt.subplots(
    1, 2, figsize=(11, 4.4), width_ratios=[1.5, 1], layout="constrained"
)
RungDisplay.from_search(search, ax=left)
for place, scores in enumerate(found.values()):
    right.plot(np.full(5, place), scores, "o", alpha=0.6)
    right.plot(place, np.mean(scores), "_", color="black", markersize=30)
right.set(
    xticks=range(2),
    xticklabels=list(found),
    xlim=(-0.6, 1.6),
    ylabel="Accuracy on new digits",
    title="As many epochs for each search",
)
plt.show()

# %%
# With luck a dozen candidates hold a good one, and both searches end alike.  What Hyperband
# buys for the same epochs is less dependence on luck: its worst seed is better.
#
# What to watch out for: if lines end while they rise as steeply as those that go on, the
# first rung was too short to tell; raise ``min_resources``.  Scores after few and after
# many epochs are not comparable: the best candidate is always one of those that were given
# most.  And where half of the space is good, a dozen full candidates do as well.
