# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The blends that predict, planned before their members are fitted on all rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sk_tune._automl._blend import Blend, Trial, best_of, blend_of, predictions_score
from sk_tune._automl._chosen import Chosen, ModelScore
from sk_tune._automl._threshold import MOST_PROBABLE, Threshold
from sk_tune._conformal import Calibration
from sk_tune._scores import Metric
from sk_tune._types import Array

# Targets of the rows set aside, and predictions.
SetAside = tuple[Array, Array]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlendPlan:
    """Trials and weights of a blend, its expected score, and what converts the average."""

    trials: Sequence[Trial]
    weights: Sequence[float] | Array
    score: ModelScore
    temperature: float = 1.0
    threshold: Threshold = MOST_PROBABLE
    calibration: Calibration | None = None

    def blend(self, **options: Any) -> Blend:
        """Return the blend; `options` are those of ``blend_of``."""
        how = self.temperature, self.threshold, self.calibration
        return blend_of(self.trials, self.weights, *how, **options)

    def scored(
        self, name: str, blend: Blend, metric: Metric, set_aside: SetAside | None
    ) -> ModelScore:
        """Return the score, with that on rows set aside if there are any."""
        held_out = np.nan
        if set_aside is not None:
            held_out = predictions_score(blend, metric, *set_aside)
        return replace(self.score, name=name, held_out=held_out)


def blend_plans(
    trials: Sequence[Trial], chosen: Chosen, networks: Chosen | None
) -> dict[str, BlendPlan]:
    """Return the plans by name: the best models of families, then the ensembles."""
    plans = {}
    for name in ("dummy", "linear", "boosting", "best"):
        family = [t for t in trials if t.family == name]
        if name == "best":
            family = [t for t in trials if t.family != "dummy"]
        for trial in best_of(family, 1):
            plans[name] = BlendPlan(
                trials=[trial],
                weights=[1.0],
                score=chosen.scores[name],
                threshold=chosen.thresholds[name],
                calibration=chosen.calibrations.get(name),
            )
    for name, one in (("networks", networks), ("ensemble", chosen)):
        if one is not None:
            plans[name] = BlendPlan(
                trials=one.trials,
                weights=one.weights,
                score=one.scores["ensemble"],
                temperature=one.temperature,
                threshold=one.thresholds["ensemble"],
                calibration=one.calibrations["ensemble"],
            )
    return plans


def members_in_order(plans: Mapping[str, BlendPlan]) -> list[Trial]:
    """Return the members of all plans: the last plan first, and heavy members first."""
    return [
        plan.trials[k]
        for plan in reversed([*plans.values()])
        for k in np.argsort(-np.asarray(plan.weights), kind="stable").tolist()
        if plan.weights[k] > 0
    ]
