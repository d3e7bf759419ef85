# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Too small, too large, too few samples
=====================================

Is the network too small, or are the samples too few?  Two of scikit-learn's displays
answer: the validation curve, over the size of the network, and the learning curve, over
the number of samples. Both train dozens of networks, which ``with fleet():`` speeds up.
"""

# %%
# Digits, with noise on the pixels to make them hard.

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    StratifiedKFold,
    cross_val_score,
    learning_curve,
    validation_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import MLPClassifier, SampleCurve, diagnose, fleet

X, y = load_digits(return_X_y=True)
X = X + np.random.default_rng(0).normal(0, 6, X.shape)
cv = StratifiedKFold(4, shuffle=True, random_state=0)
pipe = make_pipeline(StandardScaler(), MLPClassifier(max_epochs=15, random_state=0))
linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
baseline = cross_val_score(linear, X, y, cv=cv).mean()

# %%
# Eight widths on four folds, and six numbers of samples on four folds: 56 networks.

widths = [2, 4, 8, 16, 32, 64, 128, 256]
start = time.perf_counter()
with fleet(n_jobs=1):
    by_width = validation_curve(
        pipe, X, y, param_name="mlpclassifier__width", param_range=widths, cv=cv
    )
    sizes, *by_samples = learning_curve(
        pipe,
        X,
        y,
        train_sizes=np.geomspace(0.05, 1, 6),
        cv=cv,
        shuffle=True,
        random_state=0,
    )
print(f"{time.perf_counter() - start:.1f} s")

# %%
# The diagnosis of the second curve says whether more samples would help.

(finding,) = diagnose(SampleCurve(sizes, *by_samples))
print(finding)

# %%
# Solid lines are held-out scores, dashed lines training scores.  The gap between them is
# memorisation.

fig, (left, right) = plt.subplots(
    1, 2, figsize=(10.5, 4.2), sharey=True, layout="constrained"
)
for ax, x, (train, test) in [(left, widths, by_width), (right, sizes, by_samples)]:
    for values, style, label in [
        (train, "--", "training samples"),
        (test, "-", "held-out samples"),
    ]:
        mean, spread = values.mean(axis=1), values.std(axis=1)
        ax.plot(x, mean, style, marker="o", color="tab:blue", label=label)
        ax.fill_between(x, mean - spread, mean + spread, color="tab:blue", alpha=0.15)
    ax.axhline(baseline, color="tab:gray", linestyle=":", label="logistic regression")
    ax.set_xscale("log", base=2)
left.set(
    xlabel="Units in each of two layers",
    ylabel="Accuracy",
    xticks=widths,
    xticklabels=widths,
)
left.set_title("Too small on the left, wide enough on the right")
right.set(xlabel="Training samples", xticks=sizes, xticklabels=sizes)
right.set_title(
    "More samples would help" if finding.outcome != "passed" else "Samples enough"
)
left.legend(loc="lower right")
plt.show()

# %%
# If both lines are low, the network underfits: make it larger.  If the training score is
# high and the held-out score is not, it overfits: regularise, or collect more samples.
#
# Note: large networks are not always worse.  Here the widest networks memorise all training
# samples with little loss of accuracy; take the smallest width of the plateau.
