# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Sequences of unequal length
===========================

Visits of a patient, strokes of a pen, seconds of a sensor: a sample may be a sequence of
any length.  :class:`~sk_tune.RNNClassifier` takes a list of arrays, or one array in which
short sequences are padded with NaN, which the network ignores.
"""

# %%
# Synthetic data: a sensor signal of 12 to 40 steps.  In half of the sequences a short burst
# comes *before* a dip, in the other half after it.  The classes have the same content and
# differ only in its order.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict, cross_val_score

from sk_tune import RNNClassifier, fleet

rng = np.random.default_rng(0)


def sequence(burst_first):
    """Return noise with a burst and a dip, of shape (n_steps, 1)."""
    n_steps = rng.integers(12, 41)
    x = rng.normal(0, 0.9, n_steps)
    early = rng.integers(0, n_steps // 2 - 3)
    late = rng.integers(n_steps // 2, n_steps - 3)
    burst, dip = (early, late) if burst_first else (late, early)
    x[burst : burst + 3] += 2.0
    x[dip : dip + 3] -= 2.0
    return x[:, np.newaxis]


y = np.arange(300) % 2
sequences = [sequence(label == 1) for label in y]

# %%
# sk_tune's networks accept a list of arrays.  scikit-learn's cross-validation needs an
# array, so the sequences are padded with NaN at their ends.

X = np.full((len(y), 40, 1), np.nan, dtype=np.float32)
for row, x in zip(X, sequences, strict=True):
    row[: len(x)] = x
net = RNNClassifier(hidden_size=16, max_epochs=20, random_state=0)
print("the same from a list:", net.fit(sequences[:50], y[:50]).predict(sequences[50:55]))
print("     and from an array:", net.fit(X[:50], y[:50]).predict(X[50:55]))

# %%
# The usual approach to sequences is to summarise them.  The first baseline is gradient
# boosting on the mean, standard deviation, extremes and length of each sequence; the second
# is boosting on the padded values.

summary = np.array([[x.mean(), x.std(), x.min(), x.max(), len(x)] for x in sequences])
boosting = HistGradientBoostingClassifier(random_state=0)
cv = StratifiedKFold(5, shuffle=True, random_state=0)
scores = {
    "boosting on\nsummaries": cross_val_score(boosting, summary, y, cv=cv),
    "boosting on\npadded values": cross_val_score(boosting, X[:, :, 0], y, cv=cv),
}
with fleet(n_jobs=1):
    scores["recurrent\nnetwork"] = cross_val_score(net, X, y, cv=cv)
    probability = cross_val_predict(net, X, y, cv=cv, method="predict_proba")[:, 1]
for name, score in scores.items():
    print(f"{name.replace(chr(10), ' '):26} {score.mean():.3f} ± {score.std():.3f}")

# %%
# Above: one sequence of each class.  Below: accuracy over five folds, and the predicted
# probabilities for held-out sequences, by their length.

fig, axes = plt.subplots(2, 2, figsize=(10.5, 6), layout="constrained")
for ax, label in zip(axes[0], [1, 0], strict=True):
    ax.plot(sequences[np.flatnonzero(y == label)[3]][:, 0])
    ax.set(xlabel="Step", ylabel="Sensor", ylim=(-6, 6))
    ax.set_title("burst, then dip" if label else "dip, then burst")
axes[1, 0].boxplot(list(scores.values()), tick_labels=list(scores))
axes[1, 0].axhline(0.5, color="tab:gray", linestyle=":", label="guessing")
axes[1, 0].set(ylabel="Accuracy", ylim=(0.4, 1.02))
axes[1, 0].legend()
lengths = summary[:, -1]
for label, colour in [(1, "tab:blue"), (0, "tab:orange")]:
    in_class = y == label
    name = "burst, then dip" if label else "dip, then burst"
    axes[1, 1].scatter(
        lengths[in_class], probability[in_class], s=10, alpha=0.6, color=colour, label=name
    )
axes[1, 1].set(xlabel="Length (steps)", ylabel="Probability of a burst first")
axes[1, 1].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
plt.show()

# %%
# Summaries discard the order, so boosting can only guess.  From the padded values, it
# learns a part of the order, position by position.  The network carries a state along the
# sequence.
#
# Note: scale sequences first (subtract the mean of each feature and divide by its standard
# deviation, both from the training sequences), and pad at the end, not at the beginning.
