# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Sequences of unequal length
===========================

Visits of a patient, strokes of a pen, seconds of a sensor: a sample may be a sequence,
and no two need be of the same length.  :class:`~sk_tune.RNNClassifier` takes a list of
arrays, or one array in which short sequences are padded with NaN, which the network never
sees.
"""

# %%
# Made on the spot: a sensor that hums for 12 to 40 steps.  In half of the sequences a short
# burst comes *before* a dip, in the other half after it.  What is in the sequences is the
# same in both classes; only the order tells them apart.

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
# Most tools want a rectangle.  A list of arrays works with sk_tune's networks;
# scikit-learn's cross-validation cuts arrays, so the sequences are padded with NaN at their
# ends.

X = np.full((len(y), 40, 1), np.nan, dtype=np.float32)
for row, x in zip(X, sequences, strict=True):
    row[: len(x)] = x
net = RNNClassifier(hidden_size=16, max_epochs=20, random_state=0)
print("the same from a list:", net.fit(sequences[:50], y[:50]).predict(sequences[50:55]))
print("     and from an array:", net.fit(X[:50], y[:50]).predict(X[50:55]))

# %%
# The usual way around sequences is to summarise them.  As a baseline, gradient boosting
# gets mean, deviation, extremes and length of each sequence; and, as a second one, the
# padded values.

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
# Above: one sequence of each class.  Below: accuracy over five folds, and how sure the
# network is of sequences that it was not trained on, by their length.

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
    here = y == label
    name = "burst, then dip" if label else "dip, then burst"
    axes[1, 1].scatter(
        lengths[here], probability[here], s=10, alpha=0.6, color=colour, label=name
    )
axes[1, 1].set(xlabel="Length (steps)", ylabel="Probability of a burst first")
axes[1, 1].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
plt.show()

# %%
# Summaries know nothing of order, so boosting guesses.  With all values it learns some of
# it, position by position; the network carries what it has seen along.
#
# What to watch out for: scale sequences before (subtract one mean, divide by one deviation
# for each feature, taken from training sequences), and pad at the end, not at the
# beginning.
