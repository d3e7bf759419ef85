# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Five faulty networks, their verdicts and their remedies
=======================================================

Learning curves show why a network does not do better. :func:`~sk_tune.diagnose`
reads them: ``verdict`` names the most important finding, and ``apply_remedies`` carries
out the remedy on a copy of the search.  This example breaks five networks on purpose.
"""

# %%
# 600 samples of three classes with some wrong labels, which a network should not memorise.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_classification
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import (
    EpochCurveDisplay,
    GridSearchCV,
    MLPClassifier,
    apply_remedies,
    curves_of,
    diagnose,
    find_leaks,
    group_copies,
    verdict,
)

X, y = make_classification(
    n_samples=600,
    n_features=20,
    n_informative=6,
    n_classes=3,
    n_clusters_per_class=2,
    class_sep=1.5,
    flip_y=0.1,
    random_state=0,
)
cv = KFold(5, shuffle=True, random_state=0)


def searched(X, y, cv=cv, **params):
    """Return a search with one candidate, for the curves of its folds."""
    pipe = make_pipeline(StandardScaler(), MLPClassifier(random_state=0, **params))
    return GridSearchCV(pipe, {"mlpclassifier__batch_size": [64]}, cv=cv, n_jobs=1).fit(
        X, y
    )


# %%
# Four of the five have a bad parameter.

sick = {
    "rate too high": searched(
        X, y, learning_rate=0.5, lr_schedule="constant", max_epochs=30
    ),
    "rate too low": searched(X, y, learning_rate=1e-5, max_epochs=30),
    "too large": searched(X, y, n_layers=3, width=256, weight_decay=0.0, max_epochs=50),
    "too small": searched(X, y, n_layers=1, width=2, learning_rate=0.01, max_epochs=60),
}

# %%
# Like a doctor, the loop treats one fault at a time and diagnoses again: the second visit
# may reveal a fault that the first had masked.  It ends without an issue or after three
# visits.


def treat(search):
    """Return the treated search and the number of treatments."""
    for visit in range(3):
        findings = diagnose(search)
        finding = verdict(findings)
        print(f"    visit {visit + 1}: {finding.name}. {finding.message}")
        changes = (
            apply_remedies(findings, search).changes if finding.outcome == "issue" else ()
        )
        if not changes:
            return search, visit
        for change in changes:
            print(f"        {change}")
        search = apply_remedies(findings, search).target.fit(X, y)
    return search, 3


cured = {}
for name, search in sick.items():
    print(name)
    cured[name] = treat(search)

# %%
# The fifth looks healthiest.  Each of 150 cases was measured four times, and shuffled folds
# have copies of the same case on both sides.  No curve shows that: the verdict is a good
# fit.  ``find_leaks`` checks the samples, and ``group_copies`` groups the copies.

case = np.repeat(np.arange(150), 4)
X_copies = X[case] + np.random.default_rng(0).normal(0, 0.15, (600, 20))
y_copies = y[case]
leaking = searched(X_copies, y_copies, max_epochs=30)
print(f"accuracy {leaking.best_score_:.3f}, verdict: {verdict(diagnose(leaking)).name}")
for finding in find_leaks(X_copies, y_copies, cv=cv):
    if finding.outcome == "issue":
        print(finding.code, finding.message)

groups = group_copies(X_copies, y_copies)
by_case = list(GroupKFold(5).split(X_copies, y_copies, groups))
honest = searched(X_copies, y_copies, by_case, max_epochs=30)
print(f"accuracy {honest.best_score_:.3f}, verdict: {verdict(diagnose(honest)).name}")

# %%
# Above: the five networks before treatment.  Below: after it.  Dashed lines are training
# losses, solid lines held-out losses; note the scales.


def last_loss(search):
    """Return the held-out loss after the last epoch, mean over the folds."""
    return curves_of(search, search.best_index_).valid_loss[:, -1].mean()


fig, axes = plt.subplots(2, 5, figsize=(12.5, 5.6), layout="constrained")
for (above, below), (name, search) in zip(axes.T, sick.items(), strict=False):
    after, n_visits = cured[name]
    fall = f"loss {last_loss(search):.2f} → {last_loss(after):.2f}"
    EpochCurveDisplay.from_search(
        search, ax=above, title=f"{name}: {verdict(diagnose(search)).name}"
    )
    EpochCurveDisplay.from_search(
        after,
        ax=below,
        title=f"{n_visits} treatments: {fall}",
    )
EpochCurveDisplay.from_search(
    leaking, ax=axes[0, 4], title="copies across folds: good fit (!)"
)
EpochCurveDisplay.from_search(
    honest,
    ax=axes[1, 4],
    title=f"the same by group: loss {last_loss(leaking):.2f} → {last_loss(honest):.2f}",
)
for ax in axes.flat:
    ax.set_ylabel("Loss (nats)" if ax in axes[:, 0] else "")
    if ax is not axes[0, 0] and ax.get_legend():
        ax.get_legend().remove()
plt.show()

# %%
# The loss of the last column went up: that remedy improves the estimate, not the network.
# The network predicts new cases badly, and memorisation now shows as overfitting.
#
# Note: the verdict refers to the held-out folds.  If they do not resemble new data, it is
# confidently wrong.  Check for leaks first.
