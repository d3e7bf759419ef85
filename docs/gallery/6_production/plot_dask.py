# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
The same search on Dask
=======================

Networks are sent to workers in shards, through joblib, so that any of its backends can
train them. It only takes ``with joblib.parallel_config("dask"):`` around ``fit``; the
search and its results stay the same.
"""

# %%
# A Hyperband search on the digits, first in this process:

import time

import joblib
import matplotlib.pyplot as plt
import numpy as np
from dask.distributed import Client, LocalCluster
from scipy.stats import loguniform
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import HyperbandSearchCV, MLPClassifier

X, y = load_digits(return_X_y=True)
pipe = make_pipeline(
    StandardScaler(), MLPClassifier(width=64, max_epochs=27, random_state=0)
)
space = {
    "mlpclassifier__learning_rate": loguniform(1e-4, 1e-1),
    "mlpclassifier__n_layers": [1, 2, 3],
}
search = HyperbandSearchCV(
    pipe, space, cv=StratifiedKFold(5, shuffle=True, random_state=0), random_state=0
)
start = time.perf_counter()
alone = search.set_params(n_jobs=1).fit(X, y)
seconds = {"this process": time.perf_counter() - start}
scores_alone = alone.cv_results_["mean_test_score"]

# %%
# Then the same search on a cluster.  Here it runs on this machine, with threads as workers
# (``processes=False``), so that the example is quick and has no further requirements; for a
# real cluster, give ``Client`` the address of its scheduler.  The cluster closes at the end
# of the block.

with (
    LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster,
    Client(cluster) as client,
):
    print(len(client.scheduler_info()["workers"]), "workers")
    start = time.perf_counter()
    with joblib.parallel_config("dask"):
        on_dask = search.set_params(n_jobs=-1).fit(X, y)
    seconds["two workers of Dask"] = time.perf_counter() - start
scores_dask = on_dask.cv_results_["mean_test_score"]
print("largest difference of a score:", np.abs(scores_alone - scores_dask).max())

# %%
# The scores do not depend on where the networks were trained; the times do.

fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8), layout="constrained")
right.plot([0, 1], [0, 1], color="tab:gray", linewidth=1)
right.scatter(scores_alone, scores_dask, s=5 * alone.cv_results_["n_resources"], alpha=0.6)
right.set(
    xlabel="Mean accuracy, this process",
    ylabel="Mean accuracy, Dask",
    title="Each candidate and rung (size: epochs)",
)
bars = left.barh(list(seconds), list(seconds.values()), color=["tab:gray", "tab:blue"])
left.bar_label(bars, fmt="%.1f s", padding=4)
left.set(
    xlabel="Seconds of the search", title=f"{alone.ledger_.epochs_trained} epochs in total"
)
left.set_xlim(right=1.2 * max(seconds.values()))
left.invert_yaxis()
plt.show()

# %%
# Note: small searches do not gain from a cluster, because sending them takes longer than
# training them.  Give the search a ``store`` as well, since workers and the search's
# process may die. If workers differ in speed, ``asynchronous=True`` does not wait for rungs
# to finish.
