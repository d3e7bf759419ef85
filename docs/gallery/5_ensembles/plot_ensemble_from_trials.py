# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
An ensemble from the trials of a search
=======================================

A search trains dozens of networks and keeps only the best.
:class:`~sk_tune.TrialEnsembleClassifier` averages the best combination of them without
further training.  Its score is honest, because each sample is predicted with members and
weights that were chosen without it.
"""

# %%
# A search on noisy digits that keeps the networks of its folds (``keep_models="all"``).

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform, uniform
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import MLPClassifier, RandomizedSearchCV, TrialEnsembleClassifier

X, y = load_digits(return_X_y=True)
X = X + np.random.default_rng(0).normal(0, 4, X.shape)
X, X_new, y, y_new = train_test_split(X, y, train_size=700, stratify=y, random_state=0)
pipe = make_pipeline(StandardScaler(), MLPClassifier(max_epochs=15, random_state=0))
space = {
    "mlpclassifier__learning_rate": loguniform(1e-3, 3e-2),
    "mlpclassifier__dropout": uniform(0, 0.5),
    "mlpclassifier__width": [32, 64, 128],
    "mlpclassifier__activation": ["relu", "tanh", "gelu"],
}
search = RandomizedSearchCV(
    pipe,
    space,
    n_iter=24,
    cv=StratifiedKFold(4, shuffle=True, random_state=0),
    scoring="neg_log_loss",
    keep_models="all",
    random_state=0,
    n_jobs=1,
).fit(X, y)

# %%
# The ensemble only chooses members; it does not train.

ensemble = TrialEnsembleClassifier.from_search(search, random_state=0)
score = ensemble.expected_score_
print(
    f"expected log loss {-score.score:.3f}, between {-score.high:.3f} and {-score.low:.3f};"
)
print(f"the best candidate alone {-ensemble.best_candidate_score_.score:.3f}")
ensemble.contributions_.round(4).head()

# %%
# The results on digits that played no part in any choice:

linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(X, y)
models = {"logistic regression": linear, "best candidate": search, "ensemble": ensemble}
loss = {name: log_loss(y_new, model.predict_proba(X_new)) for name, model in models.items()}
wrong = {name: np.mean(model.predict(X_new) != y_new) for name, model in models.items()}
for name in models:
    print(f"{name:20} log loss {loss[name]:.3f}, {wrong[name]:.1%} wrong")

# %%
# Left: the loss of each candidate and its weight in the ensemble.  Some candidates with a
# higher loss still help, because their errors differ.  Right: new digits.

losses = -search.cv_results_["mean_test_score"]
weight = np.zeros(len(losses))
weight[ensemble.result_rows_] = ensemble.contributions_["weight"].loc[ensemble.result_rows_]
order = np.argsort(losses)
fig, (left, right) = plt.subplots(
    1, 2, figsize=(11, 4.3), width_ratios=[1.4, 1], layout="constrained"
)
left.bar(range(len(order)), losses[order], color="lightgray", label="held-out log loss")
left.axhline(
    -score.score, color="tab:blue", linestyle="--", label="expected of the ensemble"
)
left.set(xlabel="Candidate, the best first", ylabel="Held-out log loss (nats)")
left.set_ylim(top=1.4 * losses.max())
twin = left.twinx()
twin.plot(
    range(len(order)), weight[order], "o", color="tab:blue", label="weight (right axis)"
)
twin.set_ylabel("Weight in the ensemble")
twin.set_ylim(0, 1.4 * weight.max())
handles = left.get_legend_handles_labels()[0] + twin.get_legend_handles_labels()[0]
left.legend(handles=handles, loc="upper left", fontsize="small")
bars = right.barh(
    list(loss), list(loss.values()), color=["tab:gray", "tab:orange", "tab:blue"]
)
right.bar_label(
    bars, [f"{v:.3f}\n{wrong[name]:.1%} wrong" for name, v in loss.items()], padding=4
)
right.invert_yaxis()
right.set(xlabel="Log loss on new digits (nats, lower is better)")
right.set_xlim(right=1.45 * max(loss.values()))
plt.show()

# %%
# Note: the members are the models of the folds, so a prediction evaluates many networks;
# see the example about one call.  ``scoring`` of the search decides the metric that the
# ensemble optimises.
