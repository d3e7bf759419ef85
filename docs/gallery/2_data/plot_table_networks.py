# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Networks for tables: embeddings of categories and numbers, shared members
=========================================================================

On tables a plain network often loses to gradient boosting: it cannot follow jumps in a
number, and a column of forty towns becomes forty columns.  Three parameters of
:class:`~sk_tune.MLPRegressor` are meant for tables.  This example adds them in turn.
"""

# %%
# A synthetic table of flats and prices.  The town has a large effect, and so does the year,
# with jumps: old houses are expensive, post-war houses are cheap.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from sk_tune import MLPRegressor, TablePreparer, fleet


def era(built):
    """Return the effect of the year of construction on the log price."""
    return np.select([built < 1920, built < 1950, built < 1980], [0.6, 0.1, -0.5], 0.3)


rng = np.random.default_rng(0)
n, n_towns = 1000, 40
town = rng.integers(0, n_towns, n)
dear = rng.normal(0, 1, n_towns)
area = rng.gamma(8, 10, n)
built = rng.integers(1880, 2024, n)
price = 0.8 * dear[town] + np.log(area) + era(built) * (1 + 0.5 * dear[town])
price += rng.normal(0, 0.25, n)
X = pd.DataFrame({
    "town": [f"town {i}" for i in town],
    "area": area.round(1),
    "built": built,
})

# %%
# ``TablePreparer(embeddings=True)`` encodes towns as integers, and the network learns a
# vector for each. ``numerical_embedding="piecewise_linear"`` lets predictions bend at
# quantiles of each number, and ``members=4``, the default, trains four networks that share
# their matrices and predict their mean.

codes = TablePreparer(embeddings=True)
net = MLPRegressor(members=1, max_epochs=30, random_state=0)
bent = {"numerical_embedding": "piecewise_linear"}
models = {
    "plain network": make_pipeline(TablePreparer(max_categories=50), net),
    "+ learned towns": make_pipeline(codes, net),
    "+ bent numbers": make_pipeline(codes, MLPRegressor(**net.get_params() | bent)),
    "+ 4 members": make_pipeline(
        codes, MLPRegressor(**net.get_params() | bent | {"members": 4})
    ),
    "boosting": make_pipeline(codes, HistGradientBoostingRegressor(random_state=0)),
}
cv = KFold(3, shuffle=True, random_state=0)
with fleet(n_jobs=1):
    scores = {
        name: cross_val_score(model, X, price, cv=cv) for name, model in models.items()
    }
for name, score in scores.items():
    print(f"{name:16} R² {score.mean():.3f} ± {score.std():.3f}")

# %%
# The effect of the year according to each model: predictions for a flat of 80 square
# metres, averaged over all towns.  The plain network smooths the jumps, the piecewise
# linear embedding comes closer to them, and boosting also follows some of the noise.

years = np.arange(1880, 2024)
flats = pd.DataFrame({
    "town": np.tile([f"town {i}" for i in range(n_towns)], len(years)),
    "area": 80.0,
    "built": np.repeat(years, n_towns),
})
truth = np.log(80) + 0.8 * dear.mean() + era(years) * (1 + 0.5 * dear.mean())

fig, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.3), layout="constrained")
colours = ["tab:gray", "tab:orange", "tab:green", "tab:blue", "tab:red"]
for place, (score, colour) in enumerate(zip(scores.values(), colours, strict=True)):
    left.plot(score, np.full(3, place), "o", color=colour, alpha=0.6)
    left.plot(score.mean(), place, "|", color="black", markersize=22)
left.set(
    yticks=range(5),
    yticklabels=list(scores),
    ylim=(4.5, -0.5),
    xlabel="Held-out R², one point per fold",
)
right.plot(years, truth, "k:", label="truth")
for name, colour in [
    ("plain network", "tab:gray"),
    ("+ 4 members", "tab:blue"),
    ("boosting", "tab:red"),
]:
    predicted = models[name].fit(X, price).predict(flats).reshape(len(years), n_towns)
    right.plot(years, predicted.mean(axis=1), color=colour, label=name)
right.set(xlabel="Year in which the flat was built", ylabel="Predicted log price")
right.set_title("80 m², mean over all towns")
right.legend(fontsize="small")
plt.show()

# %%
# Note: four members take twice the time of the plain network; the embeddings cost hardly
# any here.  ``sk_tune.table_pipeline("regressor")`` returns a pipeline whose network has
# both, and ``table_space(pipe)`` a search space around it.
