# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Several targets at once
=======================

A network has one output per target.  This example trains a network on the position of a
robot's hand, two numbers from three angles, and compares it with one network per number.
Multilabel targets work in the same way: ``y`` has several columns of 0 and 1.
"""

# %%
# The arm has three joints.  The sensors of the angles are exact, the positions are noisy.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import MLPClassifier, MLPRegressor


def hand(angles):
    """Return the position of the hand of an arm with links of 1, 0.7 and 0.4 metres."""
    total = np.cumsum(angles, axis=1)
    lengths = np.array([1.0, 0.7, 0.4])
    return np.column_stack([np.cos(total) @ lengths, np.sin(total) @ lengths])


rng = np.random.default_rng(0)
angles = rng.uniform(-1.5, 1.5, (600, 3))
positions = hand(angles) + rng.normal(0, 0.05, (600, 2))
new_angles = rng.uniform(-1.5, 1.5, (2000, 3))

# %%
# The network takes both columns at once.  For comparison: a linear model, a forest, and two
# networks of the same size, one per coordinate.

net = MLPRegressor(width=32, max_epochs=60, learning_rate=0.01, random_state=0)
models = {
    "linear": Ridge(),
    "forest": RandomForestRegressor(random_state=0),
    "two\nnetworks": MultiOutputRegressor(net),
    "one\nnetwork": net,
}
error = {}
for name, model in models.items():
    predicted = model.fit(angles, positions).predict(new_angles)
    error[name] = np.linalg.norm(predicted - hand(new_angles), axis=1)
    centimetres = 100 * np.median(error[name])
    print(f"{name.replace(chr(10), ' '):13} off by {centimetres:.1f} cm (median)")

# %%
# Multilabel targets: a text may have several topics.  ``predict`` returns 0 or 1 for each,
# ``predict_proba`` the probability of each.

X, Y = make_multilabel_classification(
    n_samples=1500, n_features=30, n_classes=6, n_labels=2, random_state=0
)
X, X_new, Y, Y_new = train_test_split(X, Y, test_size=0.5, random_state=0)
topics = {
    "linear": MultiOutputClassifier(LogisticRegression(max_iter=1000)),
    "one network": MLPClassifier(random_state=0),
}
f1 = {}
for name, model in topics.items():
    model = make_pipeline(StandardScaler(), model).fit(X, Y)
    f1[name] = f1_score(Y_new, model.predict(X_new), average=None)
    print(
        f"{name:13} F1 of the six labels: {f1[name].round(2)}, mean {f1[name].mean():.3f}"
    )

# %%
# Left: a path of the hand as the angles sweep, and the predictions of the models.  Middle:
# their errors.  Right: the labels.

fig, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
sweep = np.column_stack([
    np.linspace(-1.3, 1.3, 200),
    1.2 * np.sin(np.linspace(0, 6, 200)),
    np.zeros(200),
])
axes[0].plot(*hand(sweep).T, "k:", label="truth")
for name, colour in [
    ("linear", "tab:gray"),
    ("forest", "tab:orange"),
    ("one\nnetwork", "tab:blue"),
]:
    axes[0].plot(
        *models[name].predict(sweep).T,
        color=colour,
        label=name.replace("\n", " "),
        linewidth=1,
    )
axes[0].set(
    xlabel="x (m)",
    ylabel="y (m)",
    title="Position of the hand",
    aspect="equal",
    adjustable="datalim",
)
axes[0].legend(fontsize="small")
axes[1].boxplot(
    [100 * e for e in error.values()], tick_labels=list(error), showfliers=False
)
axes[1].set(
    ylabel="Distance from the truth (cm)", yscale="log", title="2,000 new positions"
)
for shift, (name, values) in zip([-0.2, 0.2], f1.items(), strict=True):
    axes[2].bar(np.arange(6) + shift, values, 0.38, label=name)
axes[2].set(
    xlabel="Label", ylabel="F1 on new samples", ylim=(0, 1.15), title="Six labels at once"
)
axes[2].legend(loc="upper center", ncols=2)
plt.show()

# %%
# One network is as accurate as two, takes half the time, and needs a single file.  The
# linear model cannot follow the curve, and the forest approximates it by steps.
#
# Note: the loss is the sum over the targets in units of their standard deviations, so that
# all have equal influence.  If one target matters more, or if targets are unrelated, train
# separate networks.
