# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Calibrated probabilities, and decisions by the costs of errors
==============================================================

A network that was trained for long is overconfident: of the samples to which it gives a
probability of 90 %, fewer than 90 % are right.  This does not affect ``predict``, but every
decision by the probability.  This example measures the overconfidence, compares three
remedies, and then decides by the probabilities.
"""

# %%
# 1,500 synthetic training samples and 3,500 new samples; the classes overlap.

import matplotlib.pyplot as plt
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import MLPClassifier, fleet

X, y = make_classification(
    n_samples=5000,
    n_features=20,
    n_informative=8,
    n_redundant=0,
    n_clusters_per_class=4,
    class_sep=0.9,
    flip_y=0.08,
    random_state=1,
)
X, X_test, y, y_test = train_test_split(X, y, train_size=1500, stratify=y, random_state=0)
cv = StratifiedKFold(5, shuffle=True, random_state=0)

# %%
# The first network is trained for 40 epochs, as accuracy might suggest.
# ``CalibratedClassifierCV`` holds out each fold once and learns a correction of the
# probabilities there: a temperature, or a free monotonic curve (isotonic).  Its networks
# train as a fleet.  Early stopping avoids the cause: it stops when the loss on held-out
# samples no longer falls.

net = make_pipeline(StandardScaler(), MLPClassifier(max_epochs=40, random_state=0))
stopped = make_pipeline(
    StandardScaler(), MLPClassifier(max_epochs=40, early_stopping=True, random_state=0)
)
models = {
    "network": net,
    "early stopping": stopped,
    "temperature": CalibratedClassifierCV(net, method="temperature", cv=cv, ensemble=False),
    "isotonic": CalibratedClassifierCV(net, method="isotonic", cv=cv, ensemble=False),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
}
probability = {}
with fleet(n_jobs=1):
    for name, model in models.items():
        probability[name] = model.fit(X, y).predict_proba(X_test)[:, 1]

# %%
# Log loss and Brier score depend on the probabilities, accuracy only on the predicted
# class.

print(f"{'':20} log loss  Brier  accuracy")
losses = {}
for name, p in probability.items():
    losses[name] = log_loss(y_test, p)
    accuracy = accuracy_score(y_test, p > 0.5)
    print(
        f"{name:20} {losses[name]:8.3f} {brier_score_loss(y_test, p):6.3f} {accuracy:9.3f}"
    )

# %%
# Left: calibration curves; the diagonal is perfect calibration.  Right: the log loss.

fig, (left, right) = plt.subplots(
    1, 2, figsize=(11, 4.6), width_ratios=[1.2, 1], layout="constrained"
)
for place, (name, p) in enumerate(probability.items()):
    CalibrationDisplay.from_predictions(
        y_test,
        p,
        n_bins=10,
        strategy="quantile",
        name=name,
        ax=left,
        color=f"C{place}",
        markersize=4,
    )
left.set(xlabel="Predicted probability of the class", ylabel="Observed share of the class")
left.legend(fontsize="small")
bars = right.barh(
    list(losses), list(losses.values()), color=[f"C{place}" for place in range(len(losses))]
)
right.bar_label(bars, fmt="%.3f", padding=3)
right.invert_yaxis()
right.set(xlabel="Log loss on new samples (nats, lower is better)")
right.set_xlim(right=1.15 * max(losses.values()))
plt.show()

# %%
# Suppose that missing a sample of class 1 costs 4, and a false alarm 1.  If class 1 has the
# probability p, an alarm is cheaper if 1 (1 - p) < 4 p, so for p > 1 / 5.  If the
# probabilities are calibrated, this threshold needs no tuning.

MISSED, ALARM = 4, 1
threshold = ALARM / (ALARM + MISSED)
print(f"cost of a sample, with an alarm from {threshold:.1f} on")
for name, p in probability.items():
    alarm = p >= threshold
    cost = MISSED * (y_test[~alarm] == 1).sum() + ALARM * (y_test[alarm] == 0).sum()
    print(f"{name:20} {cost / len(y_test):.3f}")
print(f"{'always an alarm':20} {ALARM * (y_test == 0).mean():.3f}")

# %%
# ``predict_proba`` has a column for each of ``classes_``, in their order: if labels are not
# 0 and 1, use the column of the class with costly misses.
#
# Note: calibrate on samples that the network was not trained on, as
# ``CalibratedClassifierCV`` does, and use isotonic calibration only with about a thousand
# of them or more.  Logistic regression is well calibrated and less accurate: calibration
# alone does not make a good model.
