# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Pure noise has a best score, too
================================

The best of many candidates looks better than it is, because part of its lead is luck.  On
pure noise, all of it is luck.  This example shuffles all labels, so that no network can
beat chance, and lets a search choose the best of more and more candidates.
"""

# %%
# 80 samples with two random classes.  The true accuracy of every network on new samples is
# 0.5, whatever the search reports.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform, uniform
from sklearn.model_selection import StratifiedKFold

from sk_tune import MLPClassifier, RandomizedSearchCV

net = MLPClassifier(width=16, max_epochs=5, batch_size=16, random_state=0)
space = {
    "learning_rate": loguniform(1e-3, 1e-1),
    "dropout": uniform(0, 0.5),
    "n_layers": [1, 2, 3],
    "random_state": list(range(1000)),
}

# %%
# ``best_score_`` is the highest mean over the folds, as in scikit-learn.
# ``expected_score_`` repeats the choice on bootstrap samples and scores the chosen
# candidate on the samples left out, so that luck does not count.  It includes an interval.
# Both are computed for 2, 8 and 32 candidates on twelve draws of the noise.

sizes = [2, 8, 32]
naive, expected, covered = [], [], []
for draw in range(12):
    rng = np.random.default_rng(draw)
    X = rng.normal(size=(80, 6))
    y = rng.permutation(np.arange(80) % 2)
    cv = StratifiedKFold(5, shuffle=True, random_state=draw)
    for size in sizes:
        search = RandomizedSearchCV(
            net, space, n_iter=size, cv=cv, refit=False, random_state=draw, n_jobs=1
        ).fit(X, y)
        score = search.expected_score_
        naive.append(search.best_score_)
        expected.append(score.score)
        covered.append(score.low <= 0.5 <= score.high)
naive, expected = (np.reshape(values, (12, len(sizes))) for values in (naive, expected))
print("candidates", *sizes, sep="\t")
print("best score", *naive.mean(axis=0).round(3), sep="\t")
print("expected  ", *expected.mean(axis=0).round(3), sep="\t")
print(f"the interval covers the truth in {np.mean(covered):.0%} of these searches")

# %%
# With more candidates, the best of them looks better.  The expected score does not rise.
# With so few samples it is even slightly low, which is the cautious side.

fig, ax = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
for values, name, colour in [
    (naive, "best_score_", "tab:red"),
    (expected, "expected_score_", "tab:blue"),
]:
    ax.plot(sizes, values.T, ".", color=colour, alpha=0.3)
    ax.plot(
        sizes,
        values.mean(axis=0),
        "o-",
        color=colour,
        label=f"{name}, mean of twelve draws",
    )
ax.axhline(0.5, color="black", linestyle="--", label="truth: random labels")
ax.set_xscale("log", base=2)
ax.set(
    xticks=sizes,
    xticklabels=sizes,
    xlabel="Candidates of the search",
    ylabel="Accuracy",
    ylim=(0.38, 0.78),
    title="Pure noise, and yet a best score of more than 0.5",
)
ax.legend()
plt.show()

# %%
# Note: report ``expected_score_``, not ``best_score_``.  It corrects for the choice of a
# candidate, but not for leaks between folds or choices that you made by hand after seeing
# scores.
