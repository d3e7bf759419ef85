"""The verdict."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sk_tune.automl import Score, format_score, scale_of
from sk_tune.automl._scoring import Scoring
from sk_tune.automl._verdict import verdict as _verdict

NAN = math.nan
ACCURACY = Scoring(name="accuracy", scorer="accuracy", reason="")
LABELS = np.repeat(["no", "yes"], [90, 10])


def verdict(scores, scoring=ACCURACY, **options):
    """Return the verdict on a classification of 100 rows."""
    return _verdict(scores, scoring, **{"n_rows": 100, "labels": LABELS, **options})


def _scores(
    ensemble,
    linear=0.7,
    networks=0.7,
    *,
    std=0.01,
    held=NAN,
    linear_held=NAN,
    alone=(0.7, 0.01, NAN),
):
    def score(name, mean, held_out=NAN):
        lead = gain = NAN
        loss = 0.7
        if mean is not None:
            lead, loss, gain = mean - 0.51, 1.2 - mean, mean - 0.51
        own = {"lead": lead, "loss": loss, "gain": gain}
        return Score(name=name, mean=mean, std=std, held_out=held_out, **own)

    own = {
        "dummy": score("dummy", 0.5),
        "linear": score("linear", linear, linear_held),
        "networks": score("networks", networks),
        "best model": replace(score("best model", alone[0], alone[2]), std=alone[1]),
        "ensemble": score("ensemble", ensemble, held),
    }
    return {name: s for name, s in own.items() if s.mean is not None}


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (
            _scores(0.505, alone=(0.505, 0.01, NAN)),
            ["Nothing clearly beats predicting the class shares: on 100 rows"],
        ),
        (
            _scores(0.505),
            ["The best model alone is, 0.500 against 0.700; it predicts with use"],
        ),
        (
            _scores(0.8),
            [
                "beats the linear model by 0.100 in accuracy, more than",
                "alone would give 0.700",
            ],
        ),
        (_scores(0.8, networks=0.8), ["about as much"]),
        (_scores(0.705), ["does not clearly beat", "within the spread"]),
        (
            _scores(0.7104),
            ["by 0.010 in accuracy, which is within the spread over the folds, 0.010"],
        ),
        (_scores(0.69), ["does not beat the linear model", "0.010 lower"]),
        (_scores(0.7), ["no higher"]),
        (_scores(0.8, held=0.6, linear_held=0.7), ["rows set aside it does not"]),
        (_scores(0.8, linear=None), ["no linear model to compare"]),
        (_scores(0.8, networks=None), ["No network was trained"]),
        (
            _scores(0.8, alone=(0.9, 0.01, NAN)),
            ["has a higher score than the ensemble in the folds, 0.900 against 0.800"],
        ),
        (
            _scores(0.8, held=0.7, alone=(0.7, 0.01, 0.75)),
            ["on the rows set aside, 0.750 against 0.700. It is simpler"],
        ),
        (
            _scores(0.8, std=NAN, alone=(0.9, NAN, NAN)),
            ["on one held-out part, which does not show", "It is simpler"],
        ),
    ],
)
def test_the_verdict_says_what_is_worth_having(scores, words):
    """Each case has its sentence."""
    text = verdict(scores)

    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("n_leaks", "start"),
    [
        (0, "The ensemble"),
        (1, "The leak guard found a reason why these scores may be too good"),
        (3, "The leak guard found 3 reasons why these scores may be too good"),
    ],
)
def test_leaks_come_first(n_leaks, start):
    """No score is read before what it is worth."""
    text = verdict(_scores(0.8), n_leaks=n_leaks)

    assert text.startswith(start)
    assert text.endswith(verdict(_scores(0.8)))


def test_a_best_model_that_is_not_better_is_not_mentioned():
    """Neither one that is worse, nor one whose score reads the same."""
    held = {"held": 0.75, "alone": (0.9, 0.01, 0.7)}

    for scores in (_scores(0.8), _scores(0.8, alone=(0.8001, 0.01, NAN))):
        assert "best model" not in verdict(scores)
    assert "best model" not in verdict(_scores(0.8, **held))


def test_scores_have_the_digits_of_their_scale():
    """Three decimals for usual sizes, three significant digits for others."""
    assert format_score(0.91234) == "0.912"
    assert format_score(123456.0, scale=2e5) == "1.23e+05"
    assert format_score(NAN) == "n/a"
    assert scale_of(list(_scores(0.8).values())) == 0.8
    assert scale_of([]) == 1.0


def test_of_the_dummy_alone_nothing_is_said_of_the_columns():
    """No model has looked at them, as where the time is too short for each."""
    own = {k: v for k, v in _scores(0.5).items() if k in {"dummy", "ensemble"}}

    assert verdict(own).startswith("No model was trained except the dummy")
