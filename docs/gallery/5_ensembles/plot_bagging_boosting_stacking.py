# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Bagging, boosting and stacking networks
=======================================

Three classical methods combine models: bagging averages networks trained on different
samples, boosting fits each network to the remaining error, and stacking learns weights for
models of different kinds.  They work with networks as well as with trees, and the members
of bagging and stacking train together.  This example compares them and shows how the number
of members matters.
"""

# %%
# A synthetic regression: 500 samples with noise, 2,000 new samples without.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.metrics import root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import BaggingRegressor, BoostingRegressor, MLPRegressor, StackingRegressor

X, y = make_friedman1(n_samples=500, n_features=10, noise=1.5, random_state=0)
X_new, y_new = make_friedman1(n_samples=2000, n_features=10, noise=0.0, random_state=1)

# %%
# A single network, trained long enough to fit the noise as well.  Bagging can use it
# unchanged, since the mean of many averages out their noise; boosting needs small stages
# with few epochs.

options = {"members": 1, "batch_size": 32, "random_state": 0}
net = MLPRegressor(max_epochs=30, learning_rate=0.01, **options)
stage = MLPRegressor(n_layers=1, width=16, max_epochs=10, learning_rate=0.03, **options)
trees = HistGradientBoostingRegressor(random_state=0)
bagging = BaggingRegressor(net, n_estimators=25, oob_score=True, n_jobs=1, random_state=0)
boosting = BoostingRegressor(
    stage, n_estimators=40, learning_rate=0.5, n_iter_no_change=8, random_state=0
)
stacking = StackingRegressor([("net", net), ("trees", trees)], cv=5)
models = {
    "ridge": RidgeCV(),
    "trees, boosted": trees,
    "one network": net,
    "networks, bagged": bagging,
    "networks, boosted": boosting,
    "network and trees, stacked": stacking,
}
error = {}
for name, model in models.items():
    model = make_pipeline(StandardScaler(), model).fit(X, y)
    models[name] = model
    error[name] = root_mean_squared_error(y_new, model.predict(X_new))
    print(f"{name:27} error {error[name]:.3f}")

# %%
# Bagging scores each epoch on the samples that a member lacks (out of bag), boosting by a
# held-out tenth; neither needs other data.  The new samples of the picture on the right
# show whether boosting stopped in time.

bag, boost = models["networks, bagged"][-1], models["networks, boosted"][-1]
by_epoch = bag.oob_curve_.groupby("epoch")["oob_score"].mean()
Z = models["networks, boosted"][:-1].transform(X_new)
staged = [
    root_mean_squared_error(y_new, predicted) for predicted in boost.staged_predict(Z)
]
print(f"boosting kept {len(boost)} of 40 stages")

fig, axes = plt.subplots(
    1, 3, figsize=(12, 3.8), width_ratios=[1.2, 1, 1], layout="constrained"
)
colours = ["lightgray", "tab:gray", "tab:orange", "tab:blue", "tab:green", "tab:purple"]
bars = axes[0].barh(list(error), list(error.values()), color=colours)
axes[0].bar_label(bars, fmt="%.2f", padding=3)
axes[0].invert_yaxis()
axes[0].set(xlabel="Error on new samples (RMSE)", title="Lower is better")
axes[0].set_xlim(right=1.15 * max(error.values()))
axes[1].plot(by_epoch.index, by_epoch, color="tab:blue")
axes[1].set(
    xlabel="Epoch", ylabel="Mean R² out of bag", title="Bagging: single members by epoch"
)
axes[2].plot(np.arange(1, len(staged) + 1), staged, color="tab:green")
axes[2].set(
    xlabel="Stages", ylabel="Error on new samples (RMSE)", title="Boosting: stage by stage"
)
plt.show()

# %%
# Note: put the scaler in front of the ensemble, not inside, where each member would fit its
# own scaler.  Also compare with the simplest model: if one network trained on all samples
# does as well, two dozen networks only cost time.
