# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Remedies as changes of parameters that the network has."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sk_tune._diagnosis._findings import Action, Change
from sk_tune._optimizers import OPTIMIZERS
from sk_tune._text import is_number

# Remedies in the order in which they are tried.
Steps = tuple[tuple[Change, ...], ...]

# The typical rate of SGD applies to sk_tune's default momentum.
_MOMENTUM = 0.9
# sk_tune's recurrent networks, whose gradients are clipped, have a default rate of 0.01,
# not AdamW's 0.003.
_RECURRENT_FACTOR = 10 / 3
# A rate further than this factor from the typical rate is set to the typical rate.
_FAR = 30.0
_RATE_FACTOR = 10.0
# Epochs of a brief training; remedies do not go below.
FEWEST_EPOCHS = 10
# Layers this narrow are a bottleneck for nearly any data.
_NARROW = 4
# With few samples a batch may hold all of them, so that an epoch has a step or two.
_FEW_STEPS, _SMALL_BATCH, _TIMES_AS_LONG = 4, 8, 3
_WIDTHS = ("width", "n_channels", "hidden_size")
_WIDER, _WIDE = 4, 32
_MOST_DROPOUT = 0.5
# Regularisation that restricts a network is lowered to these values.
_MODERATE = {"dropout": 0.2, "weight_decay": 1e-3, "l1": 0.0}


def in_steps(steps: Steps) -> tuple[tuple[Change, ...], Steps]:
    """Return the first remedy, and its alternatives."""
    return (steps[0], steps[1:]) if steps else ((), ())


_DESCRIBED = {
    "max_epochs": "Train for at most {} epochs, or set early_stopping.",
    "dropout": "Raise dropout to {}.",
    "weight_decay": "Raise weight_decay to {}.",
}


def described(changes: tuple[Change, ...]) -> str:
    """Return a remedy against overfitting as a sentence."""
    if not changes:
        return "Regularise more, or stop near the best epoch."
    return _DESCRIBED[changes[0].parameter].format(changes[0].value)


def has_early_stopping(params: Mapping[str, Any]) -> bool:
    """Return whether a network stops early and keeps its best epoch; "auto" counts."""
    return bool(params.get("early_stopping"))


def restraints(params: Mapping[str, Any]) -> list[str]:
    """Return the settings that restrict a network, such as "width=2"."""
    return [text for _, text in _restrictions(params)]


def is_free(params: Mapping[str, Any]) -> bool:
    """Return whether a network is known to have neither dropout nor weight decay."""
    return all(number(params, name) == 0 for name in ("dropout", "weight_decay"))


def relative_rate(params: Mapping[str, Any]) -> float | None:
    """Return the learning rate divided by the optimizer's typical rate; None if unknown."""
    rate = number(params, rate_name(params))
    return None if rate is None else rate / _typical_rate(params)


def _typical_rate(params: Mapping[str, Any]) -> float:
    """Return the typical learning rate of an optimizer; AdamW's if unknown."""
    # SGD in skorch has no momentum by default, as in torch.
    name = _optimizer(params)
    typical = OPTIMIZERS.get(name, OPTIMIZERS["adamw"]).typical_rate
    if name != "sgd":
        return typical * (_RECURRENT_FACTOR if "cell" in params else 1)
    usual = _MOMENTUM if rate_name(params) == "learning_rate" else 0.0
    momentum = number(params, "momentum")
    momentum = number(params, "optimizer__momentum") if momentum is None else momentum
    momentum = usual if momentum is None else momentum
    # A step's effect is the sum of a geometric series.
    return typical * (1 - momentum) / (1 - _MOMENTUM)


def _optimizer(params: Mapping[str, Any]) -> str:
    optimizer = params.get("optimizer", "adamw")
    # skorch takes torch's classes.
    return str(getattr(optimizer, "__name__", optimizer)).lower()


def rate_name(params: Mapping[str, Any]) -> str:
    """Return the name of a network's learning rate, which is "lr" in skorch."""
    is_skorch = "lr" in params and "learning_rate" not in params
    return "lr" if is_skorch else "learning_rate"


def lower_rate(params: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return the change to a tenth of the rate, or to the typical rate from far above."""
    name = rate_name(params)
    rate, typical = number(params, name), _typical_rate(params)
    reason = "the loss does not fall steadily"
    if rate is None:
        return _known(params, _change(name, "multiply", 1 / _RATE_FACTOR, reason))
    value = typical if rate > _FAR * typical else rounded(rate / _RATE_FACTOR)
    return (_change(name, "at most", value, reason),)


def raise_rate(params: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return the change to ten times the rate.

    A rate below the typical one becomes at most that; from far below, exactly that.
    """
    name = rate_name(params)
    rate, typical = number(params, name), _typical_rate(params)
    reason = "the loss falls too slowly"
    if rate is None:
        return _known(params, _change(name, "multiply", _RATE_FACTOR, reason))
    value = typical if rate * _FAR < typical else rounded(rate * _RATE_FACTOR)
    value = min(value, typical) if rate < typical else value
    return (_change(name, "at least", value, reason),)


def clipped(params: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return the change to gradients of norm 1 at most."""
    reason = "single steps are too large"
    return _known(params, _change("gradient_clip", "at most", 1.0, reason))


def longer_training(
    params: Mapping[str, Any], n_epochs: int, factor: float
) -> tuple[Change, ...]:
    """Return the change to `factor` times the epochs: a lower bound of ``max_epochs``."""
    n = math.ceil(factor * n_epochs)
    reason = "the held-out loss was still falling at the end"
    return _known(params, _change("max_epochs", "at least", n, reason))


def more_steps(params: Mapping[str, Any], n_epochs: int, n_rows: int) -> tuple[Change, ...]:
    """Return the change to more steps if an epoch has few; empty otherwise."""
    batch = number(params, "batch_size")
    if batch is None or batch < 1 or math.ceil(n_rows / batch) >= _FEW_STEPS:
        return ()
    reason = f"{n_rows} rows in batches of {batch:.0f} give few steps in each epoch"
    if _optimizer(params) == "sgd":
        n = _TIMES_AS_LONG * n_epochs
        change = _change("max_epochs", "at least", n, reason)
    else:
        change = _change("batch_size", "at most", _SMALL_BATCH, reason)
    return _known(params, change)


def regularise(params: Mapping[str, Any], best_epoch: int, n_epochs: int) -> Steps:
    """Return remedies against overfitting, one change each: epochs, dropout, decay."""
    reason = "the network memorises its training rows"
    # Shorter trainings have no reliable trend.
    fewer = max(best_epoch, FEWEST_EPOCHS)
    dropout, decay = (number(params, name) or 0.0 for name in ("dropout", "weight_decay"))
    # AdamW's default of 0.01 hardly has an effect in the few steps of a small network;
    # other optimizers add decay to the gradient, where it competes with a loss of order 1.
    least, most = (0.1, 1.0) if _is_decoupled(params) else (1e-3, 1e-2)
    more_decay = max(decay, least, min(most, rounded(3 * decay)))
    steps = []
    # Early stopping already returns the weights of the best epoch.
    if fewer < n_epochs and not has_early_stopping(params):
        why_fewer = f"the held-out loss was lowest after epoch {best_epoch}"
        steps.append(_change("max_epochs", "at most", fewer, why_fewer))
    if dropout < _MOST_DROPOUT:
        more_dropout = min(_MOST_DROPOUT, rounded(dropout + 0.2))
        steps.append(_change("dropout", "at least", more_dropout, reason))
    if more_decay > decay:
        steps.append(_change("weight_decay", "at least", more_decay, reason))
    return tuple(known for step in steps if (known := _known(params, step)))


def larger_network(params: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return changes against underfitting: fewer restrictions, or wider layers."""
    changes = [
        _change(name, "at most", _MODERATE[name], reason)
        for name, reason in _restrictions(params)
        if name in _MODERATE
    ]
    sizes, reason = _layer_sizes(params), "the network does not even fit the training rows"
    if not changes and sizes is not None:
        wider = tuple(max(_WIDER * n, _WIDE) for n in sizes) or (_WIDE,)
        changes = [_change("hidden_layer_sizes", "set", wider, reason)]
    if not changes:
        widths = {n: number(params, n) for n in _WIDTHS if number(params, n) is not None}
        changes = [
            _change(name, "at least", max(_WIDER * int(width or 1), _WIDE), reason)
            for name, width in widths.items()
        ]
        if number(params, "n_layers") in {0, 1}:
            changes.append(_change("n_layers", "at least", 2, reason))
    return _known(params, *changes or [_change("width", "multiply", _WIDER, reason)])


def scaled_widths(params: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Return the widths of a network's layers after multiplication by a factor."""
    if sizes := _layer_sizes(params):
        return {"hidden_layer_sizes": tuple(max(1, int(factor * n)) for n in sizes)}
    widths = {name: number(params, name) for name in _WIDTHS}
    return {name: max(1, int(factor * n)) for name, n in widths.items() if n is not None}


def rounded(value: float) -> float:
    """Return a number with two digits, as a person would set it."""
    return float(f"{value:.2g}")


def number(params: Mapping[str, Any], name: str) -> float | None:
    value = params.get(name)
    return float(value) if is_number(value) else None


def _restrictions(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return parameters that restrict a network, with their values as text."""
    # More dropout removes most of a network in every step.  AdamW shrinks each weight by
    # the share rate * weight_decay; other optimizers add decay to the gradient, where it
    # competes with a loss of order 1.
    decay = 2.0 if _is_decoupled(params) else 0.03
    limits = {"dropout": 0.6, "weight_decay": decay, "l1": 0.002}
    sizes = _layer_sizes(params)
    widths = () if sizes is not None else _WIDTHS
    values = {name: number(params, name) for name in (*widths, *limits)}
    restrictions = [
        (name, f"{name}={value:.3g}")
        for name, value in values.items()
        if value is not None
        and (value >= limits[name] if name in limits else value <= _NARROW)
        and (name in limits or number(params, "n_layers") != 0)
    ]
    if sizes and min(sizes) <= _NARROW:
        restrictions.insert(0, ("hidden_layer_sizes", f"hidden_layer_sizes={sizes}"))
    return restrictions


def _layer_sizes(params: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return the units of each hidden layer if listed; a width has no effect then."""
    sizes = params.get("hidden_layer_sizes")
    return None if sizes is None else tuple(int(n) for n in np.atleast_1d(sizes))


def _is_decoupled(params: Mapping[str, Any]) -> bool:
    # AdamW is the default of sk_tune's networks.
    return str(params.get("optimizer", "adamw")) == "adamw"


def _change(parameter: str, action: Action, value: Any, reason: str) -> Change:
    return Change(parameter=parameter, action=action, value=value, reason=reason)


def _known(params: Mapping[str, Any], *changes: Change) -> tuple[Change, ...]:
    """Return the changes of parameters that the network has; all if these are unknown."""
    return tuple(c for c in changes if not params or c.parameter in params)
