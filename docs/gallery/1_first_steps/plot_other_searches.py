# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Searches of other libraries in a block
======================================

You can keep your searches: scikit-learn's
:class:`~sklearn.model_selection.GridSearchCV` and scikit-optimize's ``BayesSearchCV`` run
unchanged in ``with fleet():``.  Their gains differ, and this example shows why: a fleet
trains the networks that a search requests at the same time.
"""

# %%
# A plain skorch net on scikit-learn's breast cancer data, scored by log loss, the mean
# negative log probability of the true class.

import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skopt import BayesSearchCV
from skopt.space import Real
from skorch import NeuralNetClassifier
from torch import nn

from sk_tune import fleet


class Net(nn.Module):
    """Two layers."""

    def __init__(self, p=0.0):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(30, 32), nn.ReLU(), nn.Dropout(p), nn.Linear(32, 2)
        )

    def forward(self, x):
        return self.layers(x)


torch.set_num_threads(1)  # small networks do not gain from more
X, y = load_breast_cancer(return_X_y=True)
cv = StratifiedKFold(3, shuffle=True, random_state=0)
net = NeuralNetClassifier(
    Net,
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.AdamW,
    batch_size=32,
    max_epochs=10,
    train_split=None,
    iterator_train__shuffle=True,
    verbose=0,
)
to_float32 = FunctionTransformer(np.float32)  # skorch does not convert numbers
pipe = make_pipeline(StandardScaler(), to_float32, net)
linear = make_pipeline(StandardScaler(), LogisticRegression())
baseline = cross_val_score(linear, X, y, cv=cv, scoring="neg_log_loss").mean()

# %%
# The grid has 12 candidates, so all its 36 networks can train together.  The Bayesian
# search proposes four candidates at a time (``n_points=4``), because each proposal depends
# on earlier results: its rounds have 12 networks each.

step = "neuralnetclassifier__"
options = {"cv": cv, "scoring": "neg_log_loss", "refit": False}
grid = GridSearchCV(
    pipe,
    {
        step + "lr": np.logspace(-3.5, -1.5, 4),
        step + "optimizer__weight_decay": np.logspace(-3, 1, 3),
    },
    **options,
)
bayes = BayesSearchCV(
    pipe,
    {
        step + "lr": Real(10**-3.5, 10**-1.5, prior="log-uniform"),
        step + "optimizer__weight_decay": Real(1e-3, 10, prior="log-uniform"),
    },
    n_iter=12,
    n_points=4,
    optimizer_kwargs={"n_initial_points": 8, "base_estimator": "ET"},
    random_state=0,
    **options,
)

# %%
# Both searches run without and with the block, with the same seed.

seconds, losses = {}, {}
for name, search in [("GridSearchCV", grid), ("BayesSearchCV", bayes)]:
    torch.manual_seed(0)
    start = time.perf_counter()
    alone = search.fit(X, y).cv_results_["mean_test_score"]
    between = time.perf_counter()
    torch.manual_seed(0)
    with fleet(n_jobs=1):
        losses[name] = -search.fit(X, y).cv_results_["mean_test_score"]
    seconds[name] = between - start, time.perf_counter() - between
    print(
        f"{name}: {seconds[name][0]:.1f} s alone, {seconds[name][1]:.1f} s in the block;",
        end=" ",
    )
    print(f"largest difference of a loss {np.abs(alone + losses[name]).max():.1g}")

# %%
# Left: the seconds.  Right: the loss of every candidate in the order of the proposals, and
# the loss of logistic regression as a baseline.

fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4), layout="constrained")
places = np.arange(2)
for side, (label, colour) in enumerate([
    ("alone", "tab:gray"),
    ("in the block", "tab:blue"),
]):
    values = [pair[side] for pair in seconds.values()]
    bars = left.bar(places + 0.4 * side - 0.2, values, 0.38, label=label, color=colour)
    left.bar_label(bars, fmt="%.1f s", padding=2)
left.set(xticks=places, xticklabels=list(seconds), ylabel="Seconds (one process)")
left.set_ylim(top=1.4 * max(max(pair) for pair in seconds.values()))
left.set_title("The same script, without and with fleet()")
left.legend()
for (name, loss), marker in zip(losses.items(), ["s", "o"], strict=True):
    right.plot(np.arange(1, len(loss) + 1), loss, marker, alpha=0.6, label=name)
right.axhline(-baseline, color="tab:red", linestyle="--", label="logistic regression")
right.set(xlabel="Candidate", ylabel="Held-out log loss (nats)", title="All candidates")
right.legend()
plt.show()

# %%
# The grid gains most.  The Bayesian search spends its remaining time on the model that
# proposes candidates, which a fleet does not accelerate. :class:`~sk_tune.BayesSearchCV`
# takes the same arguments and fits this model less often.
#
# Note: logistic regression is hard to beat on this table.  Look at the scores before you
# look at the times.
