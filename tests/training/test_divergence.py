"""What a user reads of a training that diverged."""

import math

import pytest

from sk_tune.training import loss_message, weights_message


@pytest.mark.parametrize(
    ("prefix", "loss", "epoch", "rate", "expected"),
    [
        (
            "train",
            math.nan,
            1,
            0.1,
            "The train loss became nan at epoch 1 with learning_rate=0.1. Lower "
            "learning_rate, set gradient_clip, or scale the features.",
        ),
        (
            "valid",
            math.inf,
            12,
            1e-7,
            "The valid loss became inf at epoch 12 with learning_rate=1e-07. Lower "
            "learning_rate, set gradient_clip, or scale the features.",
        ),
    ],
    ids=["nan", "inf"],
)
def test_message_of_a_loss_names_it_and_what_to_do(prefix, loss, epoch, rate, expected):
    """Which loss, its value, the epoch and the rate, then the remedies."""
    assert loss_message(prefix, loss, epoch, rate) == expected


@pytest.mark.parametrize(
    ("rate", "text"), [(0.001, "0.001"), (1 / 3, "0.333333"), (100.0, "100"), (1, "1")]
)
def test_rates_are_written_shortly(rate, text):
    """Six digits are enough to recognise a rate."""
    assert f"learning_rate={text}. " in loss_message("train", math.nan, 1, rate)
    assert f"learning_rate={text}. " in weights_message("output.bias", 1, rate)


def test_message_of_weights_names_them_and_what_to_do():
    """The parameter, the epoch and the rate, then the remedies."""
    assert weights_message("output.weight", 3, 2.5) == (
        "The weights 'output.weight' are not finite after epoch 3 with "
        "learning_rate=2.5. Lower learning_rate, or set gradient_clip."
    )
