# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Make a skorch script fast with one line
=======================================

You have a script that tunes a skorch net with scikit-learn's search, and you do not want
to rewrite it.  Put the slow call into ``with fleet():``.  All candidates then train on all
folds as one program; the script stays the same.
"""

# %%
# A typical script without sk_tune: a module, a skorch net, a pipeline, a grid.

import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn


class Net(nn.Module):
    """One hidden layer with dropout."""

    def __init__(self, p=0.1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 32), nn.ReLU(), nn.Dropout(p), nn.Linear(32, 10)
        )

    def forward(self, x):
        return self.layers(x)


torch.set_num_threads(1)  # small networks do not gain from more
X, y = load_digits(return_X_y=True)
X, y = X.astype(np.float32), y.astype(np.int64)
net = NeuralNetClassifier(
    Net, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.AdamW, batch_size=64,
    max_epochs=10, iterator_train__shuffle=True, verbose=0,
)  # fmt: skip
grid = {
    "neuralnetclassifier__lr": [0.001, 0.003, 0.01, 0.03],
    "neuralnetclassifier__module__p": [0.0, 0.4],
}
search = GridSearchCV(make_pipeline(StandardScaler(), net), grid, cv=3, refit=False)

# %%
# First without a block.  skorch draws weights, batches and dropout from torch's global
# generator, so the generator's seed makes the run repeatable.

torch.manual_seed(0)
start = time.perf_counter()
search.fit(X, y)
seconds_alone = time.perf_counter() - start
scores_alone = search.cv_results_["mean_test_score"]

# %%
# Then in a block.  ``report`` counts the networks that a fleet trained, and lists the
# networks trained alone with reasons.

from sk_tune import fleet

torch.manual_seed(0)
start = time.perf_counter()
with fleet(n_jobs=1) as report:
    search.fit(X, y)
seconds_fleet = time.perf_counter() - start
scores_fleet = search.cv_results_["mean_test_score"]
print(
    f"{report.n_in_fleets} networks trained in fleets, "
    f"{sum(report.alone_reasons.values())} alone"
)
print(f"{seconds_alone:.1f} s without the block, {seconds_fleet:.1f} s with it")

# %%
# The block predicts how many random numbers each net draws.  The networks are therefore
# identical, not merely equally good: the scores lie on the diagonal.

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
bars = left.barh(
    ["skorch alone", "in with fleet():"],
    [seconds_alone, seconds_fleet],
    color=["tab:gray", "tab:blue"],
)
left.bar_label(bars, fmt="%.1f s", padding=4)
left.set(
    xlabel="Seconds for 24 fits (one process)",
    title=f"{seconds_alone / seconds_fleet:.0f} times as fast",
    xlim=(0, 1.15 * seconds_alone),
)
left.invert_yaxis()
low = min(scores_alone.min(), scores_fleet.min()) - 0.02
right.plot([low, 1], [low, 1], color="tab:gray", linewidth=1)
right.plot(scores_alone, scores_fleet, "o", color="tab:blue", alpha=0.7)
right.set(
    xlabel="Mean accuracy, skorch alone",
    ylabel="Mean accuracy, in the block",
    title=f"Largest difference: {np.abs(scores_alone - scores_fleet).max():.1g}",
    xlim=(low, 1),
    ylim=(low, 1),
)
plt.show()

# %%
# Note: without ``n_jobs``, ``fleet()`` trains in as many workers as the search has.  Custom
# callbacks and an overridden ``train_step`` are respected, but such networks train alone;
# ``print(report)`` says so.  If the transformers take longer than the networks, omit the
# block.
