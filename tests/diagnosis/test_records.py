# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Records of the diagnosis."""

import dataclasses

import numpy as np
import pytest

from sk_tune.diagnosis import Curves, Finding


def test_curves_count_folds_and_epochs():
    """Rows are folds, columns are epochs."""
    loss = np.ones((3, 7))

    curves = Curves(train_loss=loss, valid_loss=loss, valid_score=loss)

    assert (curves.n_folds, curves.n_epochs) == (3, 7)


def test_findings_are_frozen():
    """A finding does not change after it was made."""
    finding = Finding(
        code="SKT101", name="overfitting", outcome="passed", severity=None, message="No."
    )

    with pytest.raises(dataclasses.FrozenInstanceError):
        finding.outcome = "issue"
