# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Tune your own torch module
==========================

:class:`~sk_tune.NetClassifier` tunes any ``torch.nn.Module`` that returns a score for each
class.  Its constructor's arguments become hyperparameters with the prefix ``module__``, as
in skorch.  The module of this example uses prior knowledge: the data are points on two
spirals, which are easier to separate by sines of their coordinates.
"""

# %%
# Arguments named ``n_features`` and ``n_outputs`` are set from the data.  You choose all
# others.  The module starts with fixed random sines (Rahimi and Recht 2007), whose
# ``frequency`` limits the detail that they can follow; 0 omits them, for comparison.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.model_selection import StratifiedKFold, cross_val_score
from torch import nn

from sk_tune import GridSearchCV, NetClassifier


class SineNet(nn.Module):
    """Random sines of the inputs, then two layers."""

    def __init__(self, n_features, n_outputs, frequency=1.0, width=32, p=0.1):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        directions = torch.randn(n_features, 32, generator=generator)
        self.register_buffer("directions", frequency * directions)
        n_inputs = 64 if frequency > 0 else n_features
        self.frequency = frequency
        self.layers = nn.Sequential(
            nn.Linear(n_inputs, width),
            nn.ReLU(),
            nn.Dropout(p),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, n_outputs),
        )

    def forward(self, x):
        if self.frequency > 0:
            angles = x @ self.directions
            x = torch.cat([angles.sin(), angles.cos()], dim=1)
        return self.layers(x)


# %%
# Two spirals of 250 points each, with some noise.

rng = np.random.default_rng(0)
turn = np.sqrt(rng.uniform(0.02, 1, 500)) * 4 * np.pi
y = np.repeat([0, 1], 250)
angle = turn + np.pi * y
X = np.column_stack([turn * np.cos(angle), turn * np.sin(angle)]) / (4 * np.pi)
X += rng.normal(0, 0.025, X.shape)

# %%
# The search is scikit-learn's :class:`~sklearn.model_selection.GridSearchCV` with another
# import: all candidates train together on all folds.  Gradient boosting is the baseline.

net = NetClassifier(
    SineNet, max_epochs=40, learning_rate=0.01, batch_size=100, random_state=0
)
grid = {"module__frequency": [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]}
cv = StratifiedKFold(4, shuffle=True, random_state=0)
search = GridSearchCV(net, grid, cv=cv, n_jobs=1).fit(X, y)
boosting = cross_val_score(HistGradientBoostingClassifier(random_state=0), X, y, cv=cv)
print("best:", search.best_params_, f"accuracy {search.best_score_:.3f}")
print(f"boosting: accuracy {boosting.mean():.3f}")

# %%
# The plots show the effect of the frequency.  Without sines, the decision boundary does not
# bend enough.  If the frequency is too high, the network memorises single points.

scores = search.cv_results_["mean_test_score"]
fig, axes = plt.subplots(1, 4, figsize=(12, 3.5), layout="constrained")
for ax, frequency in zip(
    axes, [0.0, search.best_params_["module__frequency"], 32.0], strict=False
):
    shown = clone(net).set_params(module__frequency=frequency).fit(X, y)
    DecisionBoundaryDisplay.from_estimator(
        shown,
        X,
        response_method="predict_proba",
        class_of_interest=1,
        plot_method="pcolormesh",
        grid_resolution=200,
        eps=0.1,
        cmap="RdBu",
        alpha=0.6,
        vmin=0,
        vmax=1,
        ax=ax,
    )
    ax.scatter(*X.T, c=np.where(y == 1, "navy", "darkred"), s=5)
    score = scores[grid["module__frequency"].index(frequency)]
    ax.set(title=f"frequency {frequency:g}: accuracy {score:.2f}", xticks=[], yticks=[])
axes[3].errorbar(
    range(7),
    scores,
    search.cv_results_["std_test_score"],
    marker="o",
    capsize=3,
    label="network",
)
axes[3].axhline(boosting.mean(), color="tab:gray", linestyle="--", label="boosting")
axes[3].set(
    xticks=range(7),
    xticklabels=[f"{frequency:g}" for frequency in grid["module__frequency"]],
    xlabel="module__frequency",
    ylabel="Held-out accuracy",
    title="Mean and deviation of four folds",
)
axes[3].legend()
plt.show()

# %%
# Note: if a module needs random numbers, draw them from a generator with a fixed seed, as
# here, or from torch's global generator, which ``random_state`` seeds while the network is
# built.  Do not let ``forward`` branch on values of the data; otherwise the networks cannot
# be batched and train alone, with the same result and a warning.
