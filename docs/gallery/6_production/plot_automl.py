# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Fifteen seconds for a tuned model
=================================

Sometimes you want an answer, not a search.  :class:`~sk_tune.AutoClassifier` takes a raw
table and a number of seconds.  It trains baselines, linear models, gradient boosting and
networks on the same folds, averages the best combination, and reports whether the columns
and the ensemble helped.
"""

# %%
# A synthetic table of customers with a date, words, missing values and an identifier; some
# customers leave.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from sk_tune import AutoClassifier

rng = np.random.default_rng(0)
n = 1600
since = pd.Timestamp("2018-01-01") + pd.to_timedelta(rng.integers(0, 2000, n), unit="D")
plan = rng.choice(["basic", "plus", "pro"], n, p=[0.5, 0.35, 0.15])
calls = rng.poisson(2, n)
price = np.select([plan == "basic", plan == "plus"], [10, 20], 40) * rng.uniform(
    0.8, 1.2, n
)
years = (pd.Timestamp("2024-01-01") - since).days / 365
leaning = (
    -0.2
    + 2 * (calls > 2) * np.where(plan == "pro", -1, 1)
    + 0.25 * (price - np.select([plan == "basic", plan == "plus"], [10, 20], 40))
    + np.sin(2 * np.pi * years) * np.where(plan == "basic", 2, -1)
)
y = np.where(rng.random(n) < 1 / (1 + np.exp(-2 * leaning)), "leaves", "stays")
X = pd.DataFrame({
    "customer_id": np.arange(100000, 100000 + n),
    "since": since.strftime("%Y-%m-%d"),
    "plan": np.where(rng.random(n) < 0.05, None, plan),
    "price": price.round(2),
    "calls": np.where(rng.random(n) < 0.1, np.nan, calls),
})
X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, stratify=y, random_state=0)
X.head()

# %%
# One call is enough.  Usually you give 60 seconds or more; this is a small table.

auto = AutoClassifier(time_budget=15, n_jobs=1, random_state=0).fit(X, y)
print(auto.scoring_reason_)
print("expected on new data, 95 % interval:", auto.expected_score_)
print(auto.summary_.replace(". ", ".\n"))

# %%
# The leaderboard has a row for each model.  The scores of single models come from the
# search, so the best of them is optimistic; ``expected_score_`` is not.

auto.leaderboard_.drop(columns="params").head(8)

# %%
# ``blends_`` has the best fitted model of each kind, so that all can be scored on the
# held-out customers.

names = {"dummy": "always the\nsame answer", "linear": "linear", "boosting": "boosting"}
names |= {"networks": "networks", "ensemble": "ensemble"}
fig, (left, right) = plt.subplots(
    1, 2, figsize=(11, 4.3), width_ratios=[1, 1.2], layout="constrained"
)
test_scores = {
    shown: roc_auc_score(y_test, auto.blends_[name].predict_proba(X_test)[:, 1])
    for name, shown in names.items()
    if name in auto.blends_  # a slow machine may not reach all kinds in fifteen seconds
}
colors = {"dummy": "lightgray", "ensemble": "tab:blue"}
bars = left.barh(
    list(test_scores),
    list(test_scores.values()),
    color=[colors.get(name, "tab:gray") for name in names if name in auto.blends_],
)
left.bar_label(bars, fmt="%.3f", padding=3)
expected = auto.expected_score_
left.errorbar(
    [expected.score],
    [len(test_scores) - 0.35],
    xerr=[[expected.score - expected.low], [expected.high - expected.score]],
    fmt="k|",
    capsize=4,
    label="expected, 95 %",
)
left.set(
    xlabel="ROC AUC on held-out customers",
    xlim=(0.4, 1),
    ylim=(len(test_scores) - 0.05, -0.6),
)
left.legend(loc="upper right")
board = auto.leaderboard_[auto.leaderboard_["family"] != "ensemble"]
for family, models in board.groupby("family"):
    right.plot(
        models["seconds"].clip(lower=1e-3), models["cv_score"], "o", alpha=0.7, label=family
    )
right.set(
    xscale="log",
    xlabel="Seconds of training (all folds)",
    ylabel="Cross-validated ROC AUC",
)
right.set_title(f"{len(board)} models in {auto.time_budget} seconds")
right.legend(fontsize="small")
plt.show()

# %%
# Note: with a time budget, the result depends on the machine.  For a reproducible result,
# use ``time_budget=None, n_rounds=2``.  ``auto.report("page.html")`` writes a page with all
# results.
