# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
One call, one file: collapse an ensemble, prune it, export it to ONNX
=====================================================================

An ensemble of thirty networks makes thirty predictions per sample and is stored as a
pickle. :func:`~sk_tune.collapse` converts it to one batched network in one file
without code; ``prune`` limits the members to the available time; ``to_onnx`` exports it to
services without torch and sk_tune.
"""

# %%
# A bag of thirty networks on noisy digits.  Each member has its own scaler here, as in an
# ensemble of trials.

import tempfile
import time
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import BaggingClassifier, MLPClassifier, collapse, load

X, y = load_digits(return_X_y=True)
X = (X + np.random.default_rng(0).normal(0, 4, X.shape)).astype(np.float32)
X, X_new, y, y_new = train_test_split(X, y, train_size=900, stratify=y, random_state=0)
net = make_pipeline(StandardScaler(), MLPClassifier(width=48, max_epochs=12))
bag = BaggingClassifier(net, n_estimators=30, random_state=0, n_jobs=1).fit(X, y)

# %%
# The collapsed ensemble predicts the same.  ``save`` writes safetensors, which cannot
# execute code when they are read, so files from others are safe.

folder = Path(tempfile.mkdtemp())
collapsed = collapse(bag)
collapsed.save(folder / "digits.safetensors")
collapsed.to_onnx(folder / "digits.onnx")
joblib.dump(bag, folder / "digits.joblib")
loaded = load(folder / "digits.safetensors")
session = onnxruntime.InferenceSession(folder / "digits.onnx")


def ask_onnx(X):
    """Return the probabilities that onnxruntime computes."""
    return session.run(None, {"X": X})[0]


def ask_one_by_one(X):
    """Return the mean of the members' predictions, computed in a loop."""
    return np.mean([member.predict_proba(X) for member in bag.estimators_], axis=0)


for name, ask in [("loaded", loaded.predict_proba), ("ONNX", ask_onnx)]:
    difference = np.abs(ask(X_new) - bag.predict_proba(X_new)).max()
    print(f"{name}: largest difference {difference:.1g}")
for file in sorted(folder.iterdir()):
    print(f"{file.name:20} {file.stat().st_size / 1e6:.2f} MB")

# %%
# The time until a service answers for one sample is the median of 20 predictions.


def milliseconds(ask):
    """Return the median time of a prediction of one sample."""
    times = []
    for place in range(20):
        start = time.perf_counter()
        ask(X_new[place : place + 1])
        times.append(1000 * (time.perf_counter() - start))
    return np.median(times)


wait = {
    "thirty members,\none by one": milliseconds(ask_one_by_one),
    "collapsed": milliseconds(loaded.predict_proba),
    "ONNX": milliseconds(ask_onnx),
}

# %%
# ``prune`` keeps the members with the largest weights, or the first among equal weights, as
# in a bag.  A few members may be enough.

member_counts = [1, 2, 5, 10, 20, 30]
losses = [
    log_loss(y_new, collapsed.prune(max_members=n).predict_proba(X_new))
    for n in member_counts
]

fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4), layout="constrained")
bars = left.barh(
    list(wait), list(wait.values()), color=["tab:gray", "tab:blue", "tab:green"]
)
left.bar_label(bars, fmt="%.3g ms", padding=4)
left.set(xscale="log", xlabel="Milliseconds for one sample (median of 20)")
left.set_xlim(right=4 * max(wait.values()))
left.invert_yaxis()
right.plot(member_counts, losses, "o-")
right.set_xscale("log", base=2)
right.set(
    xticks=member_counts,
    xticklabels=member_counts,
    xlabel="Members kept",
    ylabel="Log loss on new digits (nats)",
    title="The first ten give most of the gain",
)
plt.show()

# %%
# ONNX supports networks, linear models and boosting, alone or behind ``TablePreparer``,
# scikit-learn's scalers and ``SimpleImputer``.  Other transformers of scikit-learn can be
# saved in the safetensors file.  Your own functions fit in neither, and the error names
# them.
