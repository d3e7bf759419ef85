# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Resume a killed search
======================

A search that takes hours is lost if the machine fails.  With ``store="search.db"``, each
finished training is saved in a file and, every few seconds, the state of unfinished
trainings.  Run the same script again to continue.  This example really kills a search.
"""

# %%
# The script of the search is a file.  It prints the epochs trained and the epochs loaded
# from the store, as JSON.  Integers for every ``random_state`` make it repeatable.

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt

from sk_tune.engine import FitStore

SCRIPT = """
import json
import sys

from scipy.stats import loguniform
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import HyperbandSearchCV, MLPClassifier

X, y = load_digits(return_X_y=True)
net = MLPClassifier(width=64, max_epochs=27, random_state=0)
net = make_pipeline(StandardScaler(), net)
space = {"mlpclassifier__learning_rate": loguniform(1e-4, 1e-1)}
search = HyperbandSearchCV(
    net, space, factor=3, cv=5, n_jobs=1, random_state=0, store=sys.argv[1]
).fit(X, y)
ledger = search.ledger_
print(json.dumps({
    "trained": ledger.epochs_trained,
    "from the store": ledger.epochs_loaded,
    "best": search.best_params_["mlpclassifier__learning_rate"],
    "score": search.best_score_,
}))
"""
folder = Path(tempfile.mkdtemp())
script = folder / "search.py"
script.write_text(SCRIPT)


def trainings_in(store):
    """Return the number of finished trainings in the file."""
    if not store.exists() or store.stat().st_size == 0:
        return 0  # the search has not created it yet
    with FitStore(store) as results:
        return results.info().n_fits


def run(store, kill_after=None):
    """Run the script, and kill it once the store has `kill_after` trainings."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, script, store],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    while kill_after is not None and process.poll() is None:
        time.sleep(0.1)
        if trainings_in(store) >= kill_after:
            process.kill()  # SIGKILL: the process has no chance to tidy up
    output, _ = process.communicate()
    return time.perf_counter() - start, process.returncode, output


# %%
# For comparison, an undisturbed search:

seconds_undisturbed, _, output = run(folder / "undisturbed.db")
undisturbed = json.loads(output)
print(undisturbed)

# %%
# This search is killed when 280 of its 345 trainings are in the store, and then run again.

store = folder / "search.db"
seconds_killed, code, _ = run(store, kill_after=280)
print(f"killed by signal {-code} after {seconds_killed:.1f} s", end=", ")
print(f"{trainings_in(store)} trainings are safe")
seconds_again, _, output = run(store)
again = json.loads(output)
print(again)
print("the same best candidate and score:", again["best"] == undisturbed["best"], end=", ")
print(again["score"] == undisturbed["score"])

# %%
# Stored trainings were not repeated, and the result equals the undisturbed search to the
# last bit.

fig, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained")
rows = ["undisturbed", "run again\nafter the kill"]
loaded = [undisturbed["from the store"], again["from the store"]]
trained = [undisturbed["trained"], again["trained"]]
left.barh(rows, loaded, color="tab:green", label="from the store")
left.barh(rows, trained, left=loaded, color="tab:blue", label="trained")
left.set(xlabel="Epochs, over all folds and candidates")
right.barh([0], [seconds_undisturbed], color="tab:blue", label="a run to the end")
right.barh([1], [seconds_killed], color="tab:red", label="until the kill")
right.barh(
    [1], [seconds_again], left=[seconds_killed], color="tab:green", label="the run after"
)
right.set(
    yticks=[0, 1], yticklabels=rows, xlabel="Seconds, starting Python and imports included"
)
for ax in (left, right):
    ax.invert_yaxis()
    ax.set_ylim(1.5, -1.2)
    ax.legend(loc="upper center", ncols=3, fontsize="small")
plt.show()

# %%
# Note: a training is identified by everything that it depends on, including the data and
# library versions.  If one value of X changes, the affected folds are trained again.  The
# file contains numbers and JSON; reading it cannot execute code.
