# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Sample weights for instruments of different noise
=================================================

Not all samples are equally reliable.  All networks of sk_tune take ``sample_weight``: a
sample with weight 2 counts twice, a sample with weight 0 not at all.  Here two instruments
measure the same curve, and the second is six times as noisy as the first.
"""

# %%
# The good instrument gives few readings, the bad instrument many:

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import root_mean_squared_error

from sk_tune import MLPRegressor


def truth(x):
    """Return the curve that both instruments measure."""
    return np.sin(3 * x) + 0.5 * x


rng = np.random.default_rng(0)
grid = np.linspace(-3, 3, 300)
n_good, n_bad = 60, 240
noise = np.repeat([0.15, 0.9], [n_good, n_bad])  # standard deviation of each reading


def readings(rng):
    """Return positions and readings of both instruments."""
    x = rng.uniform(-3, 3, n_good + n_bad)
    return x, truth(x) + rng.normal(0, noise)


# %%
# For independent errors the optimal weight is the inverse of the variance: a reading with
# six times the noise counts a thirty-sixth.  Three networks are compared: with these
# weights, with equal weights, and with the good readings only.

weights = {
    "equal weights": np.ones(n_good + n_bad),
    "good readings only": (noise == noise.min()).astype(float),
    "weight 1 / variance": 1 / noise**2,
}
net = MLPRegressor(width=64, max_epochs=80, learning_rate=0.01, random_state=0)

# %%
# The comparison is repeated on ten draws of the readings.

errors = {name: [] for name in weights}
fits = {}
for draw in range(10):
    x, y = readings(np.random.default_rng(draw))
    for name, weight in weights.items():
        net.fit(x[:, np.newaxis], y, sample_weight=weight)
        predicted = net.predict(grid[:, np.newaxis])
        errors[name].append(root_mean_squared_error(truth(grid), predicted))
        if draw == 0:
            fits[name] = predicted
for name, error in errors.items():
    print(f"{name:20} error {np.mean(error):.3f} ± {np.std(error):.3f}")

# %%
# Left: the readings of the first draw, and the fits of two of the networks.  Right: the
# error against the true curve in all ten draws, each joined by a line.

x, y = readings(np.random.default_rng(0))
good = noise == noise.min()
fig, (left, right) = plt.subplots(
    1, 2, figsize=(11, 4.2), width_ratios=[1.5, 1], layout="constrained"
)
left.plot(x[~good], y[~good], ".", color="lightgray", label="bad instrument")
left.plot(x[good], y[good], "k.", label="good instrument")
left.plot(grid, truth(grid), "k:", linewidth=1, label="truth")
left.plot(grid, fits["equal weights"], color="tab:orange", label="equal weights")
left.plot(grid, fits["weight 1 / variance"], color="tab:blue", label="weight 1 / variance")
left.set(xlabel="Position", ylabel="Reading", ylim=(-4, 4))
left.legend(ncols=2, fontsize="small", loc="lower right")
table = np.array(list(errors.values()))
right.plot(range(3), table, color="lightgray", linewidth=1)
right.plot(range(3), table.mean(axis=1), "ko", label="mean of ten draws")
right.set(
    xticks=range(3),
    xticklabels=[name.replace(" ", "\n", 1) for name in errors],
    ylabel="Error against the truth (RMSE)",
    xlim=(-0.4, 2.4),
)
right.set_ylim(bottom=0)
right.legend()
plt.show()

# %%
# The weighted network is best: the bad readings help where good readings are rare, and
# do no harm elsewhere.
#
# Note: weights are passed to ``fit``.  In a search use ``search.fit(X, y,
# sample_weight=w)``; the scores of the held-out samples are weighted too. In a pipeline
# name the step: ``pipe.fit(X, y, mlpregressor__sample_weight=w)``.
