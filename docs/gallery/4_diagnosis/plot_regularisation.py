# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Dropout, L2, L1 or early stopping?
==================================

Four methods keep a network from memorising its samples.  All of them are parameters of
every network of sk_tune, so one search can compare them.  This search trains a network
that is far too large for 300 samples, with the usual strengths of each method.
"""

# %%
# A synthetic regression: five of ten features matter, and the noise is strong.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import make_friedman1
from sklearn.linear_model import LassoCV
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV, MLPRegressor

X, y = make_friedman1(n_samples=1300, n_features=10, noise=2.0, random_state=0)
X_new, y_new = X[300:], y[300:]
X, y = X[:300], y[:300]
cv = KFold(5, shuffle=True, random_state=0)

# %%
# A list of grids, one per method, from zero to strong.  One search trains all of them, 20
# candidates on five folds.

step = "mlpregressor__"
ways = {
    "dropout": {step + "dropout": [0.0, 0.1, 0.2, 0.4, 0.6]},
    "L2 (weight_decay)": {step + "weight_decay": [0.0, 0.3, 1.0, 3.0, 10.0]},
    "L1 (l1)": {step + "l1": [0.0, 3e-4, 1e-3, 3e-3, 1e-2]},
    "early stopping": {
        step + "early_stopping": [True],
        step + "n_iter_no_change": [40, 20, 10, 5, 2],
    },
}
net = MLPRegressor(
    width=128,
    max_epochs=80,
    learning_rate=0.01,
    batch_size=32,
    weight_decay=0.0,
    lr_schedule="constant",
    random_state=0,
)
pipe = make_pipeline(StandardScaler(), net)
search = GridSearchCV(pipe, list(ways.values()), cv=cv, n_jobs=1).fit(X, y)
scores = np.reshape(search.cv_results_["mean_test_score"], (4, 5))
linear = cross_val_score(make_pipeline(StandardScaler(), LassoCV()), X, y, cv=cv).mean()

# %%
# Left: the score of each method by strength.  Right: the best strength of each on 1,000 new
# samples, which show whether the choice was luck.

fig, (left, right) = plt.subplots(
    1, 2, figsize=(11, 4.3), width_ratios=[1.4, 1], layout="constrained"
)
new = {"none": clone(pipe).fit(X, y).score(X_new, y_new)}
for (name, _), score in zip(ways.items(), scores, strict=True):
    left.plot(range(5), score, "o-", label=name)
    best = search.cv_results_["params"][scores.ravel().tolist().index(score.max())]
    new[name] = clone(pipe).set_params(**best).fit(X, y).score(X_new, y_new)
    print(f"{name}: {best}")
    print(f"    R² {score.max():.3f} over the folds, {new[name]:.3f} on new samples")
new["linear (lasso)"] = (
    make_pipeline(StandardScaler(), LassoCV()).fit(X, y).score(X_new, y_new)
)
left.axhline(linear, color="tab:gray", linestyle="--", label="linear (lasso)")
left.set(
    ylim=(0.55, 0.9),
    xticks=range(5),
    xticklabels=["none or\nleast", "", "medium", "", "most"],
    xlabel="Strength (of early stopping: 40 to 2 epochs without progress)",
    ylabel="Held-out R² (mean of five folds)",
    title="The same network, four methods of regularisation",
)
left.legend(loc="upper left", fontsize="small")
colours = ["tab:gray", *(f"C{place}" for place in range(4)), "tab:gray"]
bars = right.barh(list(new), list(new.values()), color=colours)
right.bar_label(bars, fmt="%.2f", padding=3)
right.invert_yaxis()
right.set(xlabel="R² on 1,000 new samples", title="The best strength of each", xlim=(0, 1))
plt.show()

# %%
# L1 wins here for a reason: half of the features are noise, and only L1 drives their
# weights to zero.  Other data favour other methods, so compare.
#
# Note: early stopping holds samples out of training; with few samples, this costs more than
# it gains.  Always compare with the baseline.
