# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
A first network and its baselines
=================================

A network is worth the effort only if it beats a dummy and a linear model.  This example
trains :class:`~sk_tune.MLPClassifier` on scikit-learn's digits like any other estimator,
in a pipeline, and compares the three by cross-validation.
"""

# %%
# The data are 1,797 images of 8 x 8 pixels, each flattened to 64 numbers.  All models use
# the same folds.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import EpochCurveDisplay, MLPClassifier, fleet

X, y = load_digits(return_X_y=True)
cv = StratifiedKFold(5, shuffle=True, random_state=0)

# %%
# The network has two layers of 64 units.  The scaler is part of the pipeline, so each fold
# learns means and standard deviations only from its training samples.  Inside
# ``with fleet():``, the networks of the five folds train together, with the same scores as
# outside.

network = make_pipeline(
    StandardScaler(), MLPClassifier(width=64, max_epochs=30, random_state=0)
)
models = {
    "always the\nsame class": DummyClassifier(),
    "logistic\nregression": make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=300)
    ),
    "network": network,
}
with fleet(n_jobs=1):
    scores = {name: cross_val_score(model, X, y, cv=cv) for name, model in models.items()}

for name, score in scores.items():
    print(f"{name.replace(chr(10), ' '):25} {score.mean():.3f} ± {score.std():.3f}")

# %%
# With ``early_stopping=True``, a tenth of the training samples is held out, and the network
# keeps the weights of the epoch with the lowest loss on them.  The plot shows the losses on
# both parts.  Its title is the verdict of the diagnosis.

watched = make_pipeline(
    StandardScaler(),
    MLPClassifier(width=64, max_epochs=30, early_stopping=True, random_state=0),
).fit(X, y)

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for place, score in enumerate(list(scores.values())[1:]):
    left.plot(100 * (1 - score), np.full(5, place), "o", alpha=0.7)
    left.plot(100 * (1 - score.mean()), place, "k|", markersize=24)
left.set(
    yticks=[0, 1],
    yticklabels=list(scores)[1:],
    ylim=(-0.6, 1.6),
    xlabel="Wrong digits (%), one point per fold",
    title="The network makes fewer mistakes",
)
left.set_xlim(left=0)
EpochCurveDisplay.from_estimator(watched, ax=right)
plt.show()

# %%
# The linear model is a good baseline: flat decision boundaries separate most digits.  The
# network makes a quarter fewer mistakes.  Always check the spread over the folds, too: here
# the scores overlap, and a single fold might have favoured the linear model.
#
# Note: the 30 epochs and the learning rate are defaults that suit small tables.  The
# examples about searches tune them.
