# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
A search as an Optuna study, and back
=====================================

Teams that use Optuna already have its dashboard.  :func:`~sk_tune.to_optuna` writes
a fitted search to an Optuna storage, with every candidate, rung and epoch;
``warm_start_from`` lets a search learn from any study.
"""

# %%
# First, a Hyperband search on the wines:

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import optuna
from scipy.stats import loguniform
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import BayesSearchCV, HyperbandSearchCV, MLPClassifier, to_optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)
X, y = load_wine(return_X_y=True)
cv = StratifiedKFold(5, shuffle=True, random_state=0)
pipe = make_pipeline(
    StandardScaler(), MLPClassifier(width=16, max_epochs=27, batch_size=16, random_state=0)
)
space = {
    "mlpclassifier__learning_rate": loguniform(1e-5, 1e-1),
    "mlpclassifier__weight_decay": loguniform(1e-3, 10),
    "mlpclassifier__activation": ["relu", "tanh"],
}
loss = {"scoring": "neg_log_loss", "cv": cv, "n_jobs": 1}
search = HyperbandSearchCV(pipe, space, random_state=0, **loss).fit(X, y)

# %%
# One call converts it to a study.  Configurations dropped at a rung become pruned trials.
# With a file as storage, ``optuna-dashboard sqlite:///study.db`` shows it in the browser.

storage = f"sqlite:///{Path(tempfile.mkdtemp()) / 'study.db'}"
study = to_optuna(search, storage, study_name="wine")
states = [trial.state.name for trial in study.trials]
print({state: states.count(state) for state in sorted(set(states))})
print(f"best value {study.best_value:.4f}, as in the search: {search.best_score_:.4f}")

# %%
# In the other direction, a Bayesian search starts from the study and is compared with a
# search without it.  Both try eight candidates, with three seeds each.

study = optuna.load_study(study_name="wine", storage=storage)
best = {"from nothing": [], "from the study": []}
for seed in range(3):
    for name, source in zip(best, (None, study), strict=True):
        again = BayesSearchCV(
            pipe,
            space,
            n_iter=8,
            warm_start_from=source,
            refit=False,
            random_state=seed,
            **loss,
        ).fit(X, y)
        best[name].append(np.maximum.accumulate(again.cv_results_["mean_test_score"]))
linear = make_pipeline(StandardScaler(), LogisticRegression())
baseline = -cross_val_score(linear, X, y, cv=cv, scoring="neg_log_loss").mean()

# %%
# Left: all trials of the study by learning rate.  Right: the best score of each search
# against the number of candidates.

fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for state, marker, colour in [("PRUNED", "x", "tab:gray"), ("COMPLETE", "o", "tab:blue")]:
    chosen = [trial for trial in study.trials if trial.state.name == state]
    left.plot(
        [trial.params["mlpclassifier__learning_rate"] for trial in chosen],
        [-list(trial.intermediate_values.values())[-1] for trial in chosen],
        marker,
        color=colour,
        label=f"{len(chosen)} {state.lower()}",
    )
left.set(
    xscale="log",
    yscale="log",
    xlabel="Learning rate",
    ylabel="Last held-out log loss (nats)",
)
left.set_title("49 trials of the study")
left.legend()
for (name, runs), colour in zip(best.items(), ["tab:orange", "tab:blue"], strict=True):
    for seed, run in enumerate(runs):
        right.plot(
            range(1, 9), -run, color=colour, alpha=0.8, label=name if seed == 0 else None
        )
right.axhline(baseline, color="tab:red", linestyle="--", label="logistic regression")
right.set(
    xlabel="Candidates tried", ylabel="Least held-out log loss so far (nats)", yscale="log"
)
right.set_title("Three seeds each")
right.legend()
plt.show()

# %%
# The search with the study evaluates the study's best configuration first and continues
# from there.
#
# Note: parameters must have the same names, and scores must use the same metric on similar
# data; otherwise the model is misled.
