# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
BOHB against random search
==========================

Hyperband draws its candidates at random.  With ``sampler="tpe"`` or ``"bayes"`` a model
proposes candidates from earlier results, which makes it BOHB (Falkner et al. 2018).  One
run of a search proves little, so this example compares five seeds of each.
"""

# %%
# The task is a synthetic regression on which learning rate, weight decay, width and
# activation all matter.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform
from sklearn.datasets import make_friedman1
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import HyperbandSearchCV, MLPRegressor, RandomizedSearchCV

X, y = make_friedman1(n_samples=300, n_features=10, noise=1.0, random_state=0)
cv = KFold(3, shuffle=True, random_state=0)
pipe = make_pipeline(
    StandardScaler(), MLPRegressor(max_epochs=27, batch_size=64, random_state=0)
)
space = {
    "mlpregressor__learning_rate": loguniform(1e-4, 1e-1),
    "mlpregressor__weight_decay": loguniform(1e-4, 10),
    "mlpregressor__width": [8, 16, 32],
    "mlpregressor__activation": ["relu", "tanh", "gelu"],
}
boosting = cross_val_score(
    HistGradientBoostingRegressor(random_state=0), X, y, cv=cv
).mean()

# %%
# For each search, record the best score of a fully trained candidate against the epochs so
# far.  A promoted candidate costs only the additional epochs.


def best_so_far(search):
    """Return epochs trained over all folds and the best full score, by result row."""
    results = search.cv_results_
    n_rows = len(results["params"])
    granted = np.broadcast_to(results.get("n_resources", 27), n_rows).astype(int)
    previous_epochs, new = {}, np.zeros(n_rows, dtype=int)
    for row, params in enumerate(results["params"]):
        key = str({name: params[name] for name in space})
        new[row] = granted[row] - previous_epochs.get(key, 0)
        previous_epochs[key] = granted[row]
    score = np.where(granted == 27, results["mean_test_score"], -np.inf)
    return search.n_splits_ * new.cumsum(), np.maximum.accumulate(score)


# %%
# Hyperband and BOHB follow the same plan; random search trains the same number of epochs.

options = {"cv": cv, "refit": False, "n_jobs": 1}
rungs = {"factor": 3, "select_epoch": "last", **options}
paths = {"random search": [], "Hyperband": [], "BOHB": []}
for seed in range(5):
    hyperband = HyperbandSearchCV(pipe, space, random_state=seed, **rungs).fit(X, y)
    bohb = HyperbandSearchCV(pipe, space, sampler="tpe", random_state=seed, **rungs).fit(
        X, y
    )
    n_iter = round(hyperband.ledger_.epochs_trained / (27 * 3))
    random = RandomizedSearchCV(
        pipe, space, n_iter=n_iter, random_state=seed, **options
    ).fit(X, y)
    for name, search in zip(paths, (random, hyperband, bohb), strict=True):
        paths[name].append(best_so_far(search))

# %%
# Left: the mean over the seeds of the best score so far, once all five have a fully trained
# candidate.  Right: the final score of each seed.

fig, (left, right) = plt.subplots(
    1, 2, figsize=(11, 4.3), width_ratios=[1.6, 1], layout="constrained"
)
n_epochs = max(epochs[-1] for runs in paths.values() for epochs, _ in runs)
times = np.arange(1, n_epochs + 1)
for place, (name, runs) in enumerate(paths.items()):
    best_scores = np.full((len(runs), n_epochs), np.nan)
    for row, (epochs, best) in enumerate(runs):
        last = np.searchsorted(epochs, times, side="right") - 1
        best_scores[row] = np.where(last >= 0, best[last], -np.inf)
    mean = np.where(np.isfinite(best_scores).all(axis=0), best_scores.mean(axis=0), np.nan)
    (line,) = left.plot(times, mean, label=name)
    final = best_scores[:, -1]
    right.plot(np.full(len(final), place), final, "o", color=line.get_color(), alpha=0.6)
    right.plot(place, final.mean(), "_", color="black", markersize=30)
    print(f"{name:14} best R² {final.mean():.3f}, worst seed {final.min():.3f}")
print(f"boosting       R² {boosting:.3f}")
for ax in (left, right):
    ax.axhline(boosting, color="tab:red", linestyle="--", label="boosting, defaults")
left.set(
    xlabel="Epochs trained, over all folds", ylabel="Best R² so far (mean of five seeds)"
)
left.legend(loc="lower right")
right.set(
    xticks=range(3), xticklabels=list(paths), ylabel="Best R² in the end", xlim=(-0.5, 2.5)
)
right.set_title("Each seed, and the mean")
plt.show()

# %%
# The rungs gain most: both searches that drop candidates early beat the search that trains
# each to the end.  The model of BOHB adds a little, mainly in unlucky draws, and less than
# the differences between seeds.
#
# Note: the model takes time, too, so BOHB pays if a candidate takes seconds or minutes, not
# hundredths of a second.  The scores here also chose the candidates: they compare searches
# fairly but are optimistic for new data.
