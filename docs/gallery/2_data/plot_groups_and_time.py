# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Groups and time: folds that resemble the future
===============================================

Cross-validation predicts the score on new data only if held-out samples differ from the
training samples in the same way as new samples.  With several samples per patient, or
measurements over time, shuffled folds violate this.  Networks can memorise patients, so
their scores are affected most.
"""

# %%
# **Groups.** 120 patients make six visits each.  The measurements are characteristic of the
# patient and only weakly related to the illness.  The model will be used on new patients.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import MLPClassifier, MLPRegressor, find_leaks, fleet


def patients(n_patients, rng):
    """Return samples, illness and patient of six visits each."""
    ill = rng.integers(0, 2, n_patients)
    habits = rng.normal(0, 1, (n_patients, 10))
    habits[:, 0] += 0.8 * ill
    visit = np.repeat(np.arange(n_patients), 6)
    return habits[visit] + rng.normal(0, 0.3, (len(visit), 10)), ill[visit], visit


shuffled = StratifiedKFold(5, shuffle=True, random_state=0)
by_patient = StratifiedGroupKFold(5, shuffle=True, random_state=0)
classifiers = {
    "linear": make_pipeline(StandardScaler(), LogisticRegression()),
    "network": make_pipeline(
        StandardScaler(), MLPClassifier(max_epochs=20, random_state=0)
    ),
}

# %%
# Three scores of each model: by shuffled folds, by folds that keep patients together, and
# on 500 new patients.  The mean of five such studies reduces chance.

n_studies = 5
accuracy = {name: np.zeros(3) for name in classifiers}
with fleet(n_jobs=1):
    for study in range(n_studies):
        rng = np.random.default_rng(study)
        X, y, patient = patients(120, rng)
        X_new, y_new, _ = patients(500, rng)
        for name, model in classifiers.items():
            accuracy[name] += [
                cross_val_score(model, X, y, cv=shuffled).mean(),
                cross_val_score(model, X, y, cv=by_patient, groups=patient).mean(),
                model.fit(X, y).score(X_new, y_new),
            ]
accuracy = {name: total / n_studies for name, total in accuracy.items()}

# %%
# ``find_leaks`` detects this before training: by the groups if you know them, otherwise by
# samples that are near copies.

for finding in find_leaks(X, y, cv=shuffled, groups=patient):
    if finding.outcome == "issue":
        print(finding.code, finding.message)
        print("       ", finding.remedy)

# %%
# **Time.**  Hourly demand has a daily rhythm and drifts like a random walk.  The task is to
# forecast 120 hours from the previous 480.

hours = np.arange(600)
daily = 2 * np.pi * hours / 24
T = np.column_stack([np.sin(daily), np.cos(daily), hours / 100])
past, future = slice(0, 480), slice(480, None)
regressors = {
    "linear": make_pipeline(StandardScaler(), Ridge()),
    "network": make_pipeline(
        StandardScaler(), MLPRegressor(max_epochs=60, learning_rate=0.01, random_state=0)
    ),
}
folds = [KFold(5, shuffle=True, random_state=0), TimeSeriesSplit(3, test_size=120)]
error = {name: np.zeros(3) for name in regressors}
with fleet(n_jobs=1):
    for study in range(n_studies):
        rng = np.random.default_rng(study)
        demand = rng.normal(0, 0.15, 600).cumsum() + np.sin(daily) + rng.normal(0, 0.2, 600)
        for name, model in regressors.items():
            held_out = [
                -cross_val_score(
                    model, T[past], demand[past], cv=cv, scoring="neg_mean_absolute_error"
                ).mean()
                for cv in folds
            ]
            predicted = model.fit(T[past], demand[past]).predict(T[future])
            error[name] += [*held_out, np.abs(predicted - demand[future]).mean()]
error = {name: total / n_studies for name, total in error.items()}

# %%
# In both plots, the bars on the right are the scores on new data.  The bars in the middle
# are close to them.  The bars on the left are far too optimistic, even more for the network
# than for the linear model.

fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for ax, table, names in [
    (left, accuracy, ["shuffled\nfolds", "folds by\npatient", "new patients"]),
    (right, error, ["shuffled\nfolds", "folds by\ntime", "the future"]),
]:
    for shift, (model, values) in zip([-0.2, 0.2], table.items(), strict=True):
        colour = "tab:blue" if model == "network" else "tab:gray"
        bars = ax.bar(np.arange(3) + shift, values, 0.38, label=model, color=colour)
        ax.bar_label(bars, fmt="%.2f", padding=2)
    ax.set_xticks(np.arange(3), names)
    ax.axvline(1.5, color="black", linewidth=0.8, linestyle=":")
left.axhline(0.5, color="black", linewidth=0.8)
left.set(
    ylabel="Accuracy (higher is better)",
    ylim=(0.4, 1.05),
    title="Six visits per patient",
)
right.set(ylabel="Mean absolute error (lower is better)", title="Demand that drifts")
right.set_ylim(top=1.15 * max(values.max() for values in error.values()))
left.legend(loc="upper right")
right.legend(loc="upper left")
plt.show()

# %%
# Note: every choice needs such folds, especially searches.  Use ``cv=GroupKFold(5)`` and
# ``search.fit(X, y, groups=patient)``, or ``cv=TimeSeriesSplit(5)``. ``early_stopping`` of
# a network draws its samples at random and is misled as well.
