# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Larger networks of the same search."""

import numpy as np
import pandas as pd
import pytest

from sk_tune import MLPClassifier
from sk_tune.diagnosis._curve_sources import larger_in_search, size


@pytest.mark.parametrize(
    ("small", "large"),
    [
        ({"width": 8, "n_layers": 1}, {"width": 8, "n_layers": 2}),
        ({"width": 8, "n_layers": 1}, {"width": 16, "n_layers": 1}),
        ({"hidden_layer_sizes": (8, 8)}, {"hidden_layer_sizes": (8, 16)}),
        ({"hidden_size": 8}, {"hidden_size": 32}),
        ({"module__width": 8}, {"module__width": 9}),
    ],
)
def test_networks_are_ordered_by_size(small, large):
    """Wider and deeper is larger."""
    assert size(small) < size(large)


def test_what_is_not_known_has_no_size():
    """A user's own module may be of any size."""
    assert size({"module": object, "module__depth": 3}) is None


def searched(make_search, widths, losses):
    n_epochs = 4
    table = pd.DataFrame([
        {
            "candidate": c,
            "fold": fold,
            "epoch": epoch,
            "train_loss": loss,
            "valid_loss": loss,
            "valid_score": -loss,
        }
        for c, loss in enumerate(losses)
        for fold in range(2)
        for epoch in range(1, n_epochs + 1)
    ])
    scores = -np.tile(np.array(losses)[:, None], (1, 2))
    return make_search([{"width": w} for w in widths], scores, learning_curves_=table)


def test_the_best_of_the_larger_ones_is_taken(make_search):
    """Among wider candidates the one with the least held-out loss."""
    search = searched(make_search, [8, 16, 32, 4], [0.5, 0.4, 0.3, 0.1])

    assert larger_in_search(search, 0).params["width"] == 32
    assert larger_in_search(search, 3).params["width"] == 32


def test_folds_that_stopped_early_end_where_they_stopped(make_search):
    """Of different lengths, and shorter than those of the smaller network."""
    search = searched(make_search, [4, 64], [0.5, 0.3])
    curves = search.learning_curves_
    search.learning_curves_ = curves[
        (curves["candidate"] == 0) | (curves["epoch"] <= 2 + curves["fold"])
    ]
    search.estimator = MLPClassifier(early_stopping=True)

    assert larger_in_search(search, 0).params["width"] == 64


def test_the_largest_has_none_above_it(make_search):
    """There is nothing to hold it against."""
    search = searched(make_search, [8, 16], [0.5, 0.4])

    assert larger_in_search(search, 1) is None
