# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Rare classes: weights, a threshold, and the right score
=======================================================

Twenty of a thousand payments are fraudulent.  A model that never predicts fraud then has an
accuracy of 98 %, but is useless.  This example shows three remedies: a suitable score,
``class_weight``, and a threshold chosen by the costs of errors.
"""

# %%
# 10,000 synthetic samples, 2 % of them in the rare class.  Half of them are held out.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    PrecisionRecallDisplay,
    accuracy_score,
    confusion_matrix,
    make_scorer,
)
from sklearn.model_selection import (
    StratifiedKFold,
    TunedThresholdClassifierCV,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV, MLPClassifier, fleet

X, y = make_classification(
    n_samples=10000,
    n_features=20,
    n_informative=6,
    n_clusters_per_class=3,
    weights=[0.98],
    flip_y=0.002,
    class_sep=1.5,
    random_state=0,
)
X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)
cv = StratifiedKFold(3, shuffle=True, random_state=0)

# %%
# **The score.** ``scoring="average_precision"`` refers to the rare class: it measures the
# share of fraud among the samples ranked first.  By this score, the search compares
# networks with and without ``class_weight="balanced"``, which gives both classes equal
# weight in the loss.

pipe = make_pipeline(
    StandardScaler(),
    MLPClassifier(width=64, max_epochs=20, weight_decay=0.1, random_state=0),
)
grid = {
    "mlpclassifier__class_weight": [None, "balanced"],
    "mlpclassifier__learning_rate": [3e-3, 1e-2, 3e-2],
}
search = GridSearchCV(pipe, grid, cv=cv, scoring="average_precision", n_jobs=1).fit(X, y)
for params, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    print(f"{score:.3f}  {params}")

# %%
# **The threshold.** ``predict`` returns "fraud" if its probability is at least a half,
# which is right only if both errors cost the same.  Suppose that a missed fraud costs 50
# and a false alarm 1. scikit-learn's
# :class:`~sklearn.model_selection.TunedThresholdClassifierCV` chooses the threshold with
# the lowest cost; in the block, its networks train as a fleet.


def cost(y_true, y_pred):
    """Return the mean cost of the errors per sample."""
    (_, alarms), (missed, _) = confusion_matrix(y_true, y_pred)
    return (alarms + 50 * missed) / len(y_true)


with fleet(n_jobs=1):
    tuned = TunedThresholdClassifierCV(
        search.best_estimator_, scoring=make_scorer(cost, greater_is_better=False), cv=cv
    ).fit(X, y)
print(f"threshold: {tuned.best_threshold_:.3f}")

# %%
# The results on 5,000 samples that played no part in any choice.  A linear model is the
# baseline.

linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
models = {
    "linear, threshold 0.5": linear,
    "network, threshold 0.5": search.best_estimator_,
    "network, tuned threshold": tuned,
}
costs = {"never fraud": cost(y_test, np.zeros_like(y_test))}
for name, model in models.items():
    predicted = model.predict(X_test)
    costs[name] = cost(y_test, predicted)
    accuracy = accuracy_score(y_test, predicted)
    print(f"{name:25} cost {costs[name]:.3f}, accuracy {accuracy:.3f}")

fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
for name, model in [("linear", linear), ("network", search)]:
    PrecisionRecallDisplay.from_estimator(model, X_test, y_test, ax=left, name=name)
for threshold, marker in [(0.5, "s"), (tuned.best_threshold_, "o")]:
    alarm = search.predict_proba(X_test)[:, 1] >= threshold
    left.plot(
        y_test[alarm].sum() / y_test.sum(),
        y_test[alarm].mean(),
        marker,
        color="black",
        label=f"threshold {threshold:.2f}",
    )
left.set(xlabel="Recall: share of detected fraud", ylabel="Precision: share of true alarms")
left.legend(fontsize="small", loc="upper right")
bars = right.barh(
    list(costs), list(costs.values()), color=["tab:gray"] * 2 + ["tab:blue"] * 2
)
right.bar_label(bars, fmt="%.2f", padding=4)
right.set(xlabel="Cost of errors for each payment (lower is better)")
right.set_xlim(right=1.15 * max(costs.values()))
right.invert_yaxis()
plt.show()

# %%
# The tuned threshold lowers the cost and also the accuracy: it accepts many false alarms
# for each detected fraud, as the costs require.
#
# Note: with ``class_weight="balanced"``, the network trains as if both classes were equally
# frequent, so its probabilities no longer match the data.  A tuned threshold compensates
# for this, but the probabilities need calibration (see the example about calibration).
