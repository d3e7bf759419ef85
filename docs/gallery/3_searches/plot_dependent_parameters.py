# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Parameters that depend on others, and their importance
======================================================

Good learning rates for SGD are bad for AdamW, and only SGD has a momentum.
:class:`~sk_tune.Choice` declares the parameters of each option.  After the search,
two displays show the importance of each parameter and the direction of its effect.
"""

# %%
# The space has a branch for each optimizer, with its own ranges.

import matplotlib.pyplot as plt
from scipy.stats import loguniform, uniform
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import (
    Choice,
    HyperparameterImportanceDisplay,
    MLPClassifier,
    RandomizedSearchCV,
)

X, y = load_digits(return_X_y=True)
X, y = X[:600], y[:600]
cv = StratifiedKFold(3, shuffle=True, random_state=0)
pipe = make_pipeline(
    StandardScaler(), MLPClassifier(width=32, max_epochs=10, random_state=0)
)
space = {
    "mlpclassifier__dropout": uniform(0, 0.5),
    "mlpclassifier__activation": ["relu", "tanh"],
    "mlpclassifier__optimizer": Choice({
        "sgd": {
            "mlpclassifier__learning_rate": loguniform(1e-3, 1),
            "mlpclassifier__momentum": uniform(0, 0.95),
        },
        "adamw": {"mlpclassifier__learning_rate": loguniform(1e-4, 1e-1)},
    }),
}

# %%
# Sixty candidates on three folds are 180 networks, which train together.  A candidate with
# AdamW has no momentum in ``cv_results_``: the entry is masked, as in scikit-learn's lists
# of grids.

search = RandomizedSearchCV(pipe, space, n_iter=60, cv=cv, random_state=0, n_jobs=1).fit(
    X, y
)
print("best:", search.best_params_)
momentum = search.cv_results_["param_mlpclassifier__momentum"]
print(f"{momentum.mask.sum()} of {len(momentum)} candidates have no momentum")

# %%
# Left: the share of the variance of the score that each parameter explains, alone (dark)
# and with interactions (light).  The dotted line is the importance of a random column:
# values not well above it are noise.  Right: the learning rate, separately for each
# optimizer.

fig, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.4), layout="constrained")
HyperparameterImportanceDisplay.from_search(search, ax=left)
results = search.cv_results_
for optimizer, colour, marker in [("sgd", "tab:orange", "s"), ("adamw", "tab:blue", "o")]:
    has_optimizer = results["param_mlpclassifier__optimizer"] == optimizer
    right.plot(
        results["param_mlpclassifier__learning_rate"][has_optimizer].astype(float),
        results["mean_test_score"][has_optimizer],
        marker,
        color=colour,
        alpha=0.7,
        label=optimizer,
    )
right.set(xscale="log", xlabel="Learning rate", ylabel="Held-out accuracy")
right.set_title("SGD needs a rate some ten times as high")
right.legend()
plt.show()

# %%
# The learning rate matters most, and the optimizer, because each needs its own rate;
# dropout and activation hardly matter here, so choose the cheapest values.
#
# Note: importance depends on the range of the search.  A parameter whose range has only
# good values looks unimportant, and a parameter with an absurdly wide range dominates.
