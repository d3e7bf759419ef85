# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The check of feature scales, as the network sees its features.

Limits come from 18 public tables on which the default network was trained with and without
a StandardScaler: scaling raised the score of all 14 tables with a level above 30, and of
the remaining tables by 0.005 at most (at a level of 4.4).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from sk_tune._diagnosis._findings import PUT_IN_FRONT, RULES, Change, Finding, to_act_on
from sk_tune._diagnosis._remedies import Steps, in_steps
from sk_tune._input_scale import InputScale, input_scale, is_binned
from sk_tune._nesting import nested

# The level of a feature is its root mean square; 1 after a StandardScaler.  Levels up to 15
# count as scaled, and spreads that differ by less than a factor of 50.
_HIGH_LEVEL, _LOW_LEVEL = (15.0, 30.0), 0.1
_RATIO = (50.0, 100.0)
# A mean this many standard deviations from 0 hides the differences between rows.
_OFFSET = 50.0
# Standard deviation divided by a normal distribution's with the same quartiles, and the
# largest distance from the mean in standard deviations; outliers make both large.
_HEAVY_TAIL, _FAR = 10.0, 20.0
# Findings that unscaled features explain.
_FAILURES = ("diverged", "learning rate too high", "failed candidates")
_CONSEQUENCES = (
    *_FAILURES,
    "learning rate too low",
    "underfitting",
    "no better than the baseline",
)


def scale_of_inputs(estimator: Any, X: Any) -> InputScale | None:
    """Return the scale of X after the fitted transformers of a pipeline, if available."""
    if X is None:
        return None
    parts = [part for part, _ in nested(estimator)]
    for part in parts:
        if isinstance(part, Pipeline) and len(part) > 1:
            X = part[:-1].transform(X)
    return input_scale(X, parts[-1])


def can_normalise(network: Any, params: Mapping[str, Any]) -> bool:
    """Return whether a user's module may scale its inputs; True if it is not built."""
    if "module" not in params:
        return False
    module = getattr(getattr(network, "net_", network), "module_", None)
    return module is None or any("Norm" in type(m).__name__ for m in module.modules())


def check_scale(
    scale: InputScale | None,
    params: Mapping[str, Any],
    findings: Iterable[Finding],
    *,
    may_normalise: bool = False,
) -> Finding:
    """Check for features of different or unusual scale: an issue if training suffers."""
    rule = RULES["features not scaled"]
    if is_binned(params.get("numerical_embedding")):
        return rule.not_applicable(
            "The network bins its numbers, so their scale does not matter."
        )
    if scale is None:
        return rule.not_applicable("The scale of the features is unknown. Pass X.")
    names, level = scale.names, np.hypot(scale.mean, scale.std)
    # Indicators and counts that are mostly 0 may have any spread.
    spread = np.where(scale.bulk > 0, scale.std, np.nan)
    has_spread = np.isfinite(spread)
    offsets = np.nan_to_num(np.abs(scale.mean) / spread)
    offsets[np.abs(scale.mean) < 1] = 0.0
    tails = np.nan_to_num(spread / scale.bulk)
    ratio = float(scale.std.max() / np.nanmin(spread)) if has_spread.any() else 1.0
    evidence = {"level": float(level.max()), "std_ratio": ratio}
    evidence |= {"offset": float(offsets.max()), "tail": float(tails.max())}
    causes, is_extreme, largest = [], False, int(level.argmax())
    # Normalisation after the first layer removes a level that all features share.
    ignores_level = params.get("normalization") in {"batch", "layer"}
    if level[largest] > _HIGH_LEVEL[0] and not ignores_level:
        causes.append(f"{names[largest]!r} has a root mean square of {level[largest]:.3g}")
        is_extreme = level[largest] > _HIGH_LEVEL[1]
    is_small = level[largest] < _LOW_LEVEL and 2 * has_spread.sum() > len(names)
    if is_small and not ignores_level:
        causes.append(f"the largest root mean square is {level[largest]:.3g}")
    if ratio > _RATIO[0]:
        low, high = names[int(np.nanargmin(spread))], names[int(scale.std.argmax())]
        text = f"the standard deviation of {high!r} is {ratio:.3g} times that of {low!r}"
        causes.append(text)
        is_extreme |= ratio > _RATIO[1]
    if not causes and evidence["offset"] > _OFFSET:
        causes.append(
            f"the mean of {names[int(offsets.argmax())]!r} is {evidence['offset']:.3g} "
            "standard deviations from 0"
        )
        is_extreme = True
    if not causes:
        return _check_tails(scale, tails, evidence)
    consequences = _FAILURES if may_normalise else _CONSEQUENCES
    faults = {f.name for f in to_act_on(findings) if f.severity != "low"}
    is_issue = bool(faults & set(consequences)) or (is_extreme and not may_normalise)
    return (rule.issue if is_issue else rule.tip)(
        "high" if is_issue else "low" if may_normalise else "medium",
        f"The network's features are not scaled: {' and '.join(causes)}.",
        evidence,
        _remedy(scale),
        *in_steps(_scalers(scale, has_tails=bool(_heavy(scale, tails).any()))),
    )


def _check_tails(scale: InputScale, tails: Any, evidence: Mapping[str, float]) -> Finding:
    """Check for features with outliers that squeeze all other values: a tip if so."""
    rule = RULES["features not scaled"]
    heavy = np.flatnonzero(_heavy(scale, tails))
    if not len(heavy):
        return rule.passed("The features have a common scale.", evidence)
    worst = heavy[int(tails[heavy].argmax())]
    return rule.tip(
        "low",
        f"{len(heavy)} of {len(tails)} features have heavy tails: {scale.names[worst]!r} "
        f"has a value {scale.reach[worst]:.3g} standard deviations from its mean, and the "
        f"middle half of its values spans {2 * 0.674 / tails[worst]:.2g} of a standard "
        "deviation.",
        evidence,
        "Put TablePreparer in front of the network; it limits outliers.",
        *in_steps(_scalers(scale, has_tails=True)[:1]),
    )


def _heavy(scale: InputScale, tails: Any) -> Any:
    return (tails > _HEAVY_TAIL) & (scale.reach > _FAR)


def _remedy(scale: InputScale) -> str:
    if not scale.is_table:
        return "Subtract the mean of each channel and divide by its standard deviation."
    if scale.has_codes:
        return "Put TablePreparer in front of the network; it keeps codes as they are."
    return "Put StandardScaler, or TablePreparer, in front of the network in a pipeline."


def _scalers(scale: InputScale, *, has_tails: bool) -> Steps:
    """Return scalers to put in front of the network, in the order to try them."""
    if not scale.is_table or scale.has_codes:
        return ()
    standard = StandardScaler(with_mean=not scale.is_sparse)
    quantiles = QuantileTransformer(n_quantiles=100, output_distribution="normal")
    scalers = [standard] if scale.is_sparse else [standard, quantiles]
    reason = "the features have heavy tails" if has_tails else "the features are not scaled"
    changes = [
        Change(
            parameter=type(scaler).__name__.lower(),
            action=PUT_IN_FRONT,
            value=scaler,
            reason=reason,
        )
        for scaler in scalers[:: -1 if has_tails else 1]
    ]
    return tuple((change,) for change in changes)
