# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Probes of runs of the bank: changed networks, trained on the same folds.

Probes and their use are those of ``diagnose(probes=True)``.  Only the unchanged network is
not trained again, because the bank has its curves.  "Random remedies" are one of the small
changes, drawn for each run, without a diagnosis (Kim et al., arXiv 2301.11568).
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from diagnosis_act import (
    as_curves,
    compared,
    curves_of,
    data_of,
    estimator_of,
    mean_loss,
    predicted,
)
from diagnosis_bank import Data, fold_curves, fold_fit, row_losses
from diagnosis_problems import Problem
from sklearn.base import clone

from sk_tune import Finding, apply_remedies, diagnose
from sk_tune._diagnosis import (
    Probe,
    decisive,
    effects,
    measured,
    remedies,
    variations,
    with_good_fit,
)
from sk_tune._search._guided import changes_of
from sk_tune.engine import train

Record = dict[str, Any]
Networks = list[tuple[Probe, Any]]


def networks_of(estimator: Any, findings: Sequence[Finding]) -> Networks:
    """Return the probes of a network with the changed networks."""
    params = estimator.get_params()
    probes = (*remedies(findings), *decisive(params), *variations(params))
    networks: Networks = []
    several: list[dict[str, Any]] = []
    for probe in probes:
        changes = changes_of(estimator, probe.changes, "")
        values = {change.parameter: change.after for change in changes}
        if values and values not in several:
            several.append(values)
            networks.append((probe, clone(estimator).set_params(**values)))
    return networks


def probe(problem: Problem, record: Record) -> Record:
    """Return the verdicts, the effects of the remedies on test rows, and the cost."""
    start = time.process_time()
    data, estimator, base = (
        data_of(problem, record),
        estimator_of(record),
        curves_of(record),
    )
    findings = diagnose(base)
    networks = networks_of(estimator, findings)
    folds = range(len(data.folds))
    fits = [fold_fit(data, net, i, monitored=True) for _, net in networks for i in folds]
    trained = train(fits)
    by_probe = [
        list(zip(fits, trained, strict=True))[k * len(folds) : (k + 1) * len(folds)]
        for k in range(len(networks))
    ]
    curves = [
        None
        if any(t.state is None for _, t in pairs)
        else as_curves(record, fold_curves([t for _, t in pairs]))
        for pairs in by_probe
    ]
    seen = measured(findings, effects([p for p, _ in networks], base, curves))
    probed = tuple(with_good_fit([f for f in seen if f.name != "good fit"]))
    seconds = time.process_time() - start
    losses = [lambda own=pairs: test_loss(problem, own) for pairs in by_probe]
    random = drawn(networks, record)
    return {
        "data": record["data"],
        "truth": record["truth"],
        "said": predicted(probed),
        "has_issue": any(f.outcome == "issue" for f in probed),
        "names": [f.name for f in probed if f.outcome == "issue"],
        **remedied(problem, data, record, probed, [net for _, net in networks], losses),
        "random": networks[random][0].name,
        "random_gain": compared(record["test_losses"]["own"], losses[random]())["gain"],
        "epochs": sum(net.max_epochs for _, net in networks) / estimator.max_epochs,
        "seconds": seconds,
    }


def drawn(networks: Networks, record: Record) -> int:
    """Return the place of a small change, drawn for the run."""
    names = {p.name for p in variations(estimator_of(record).get_params()) if p.finding}
    places = [k for k, (p, _) in enumerate(networks) if p.name in names]
    return int(np.random.default_rng(record["planted_seed"]).choice(places))


def test_loss(problem: Problem, pairs: Sequence[tuple[Any, Any]]) -> float:
    rows = problem.test_rows
    return float(np.mean([row_losses(problem, f, t, rows).mean() for f, t in pairs]))


def remedied(
    problem: Problem, data: Data, record: Record, findings: Any, networks: Any, losses: Any
) -> Record:
    """Return the effect of `apply_remedies`; probes are not trained again."""
    before = after = record["test_losses"]["own"]
    remedy = apply_remedies(findings, estimator_of(record))
    if remedy.changes:
        params = remedy.target.get_params()
        same = [k for k, net in enumerate(networks) if net.get_params() == params]
        fits = [fold_fit(data, remedy.target, i) for i in range(len(data.folds))]
        after = losses[same[0]]() if same else mean_loss(problem, fits)
    return {
        "gain": compared(before, after)["gain"],
        "changes": [str(change) for change in remedy.changes],
    }
