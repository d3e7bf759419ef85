"""The check of the target's classes."""

import numpy as np
import pytest

from sk_tune._diagnosis import check_classes


@pytest.mark.parametrize(
    ("counts", "outcome", "severity"),
    [
        ([50, 50], "passed", None),
        ([80, 20], "passed", None),
        ([81, 19], "tip", "low"),
        ([96, 4], "tip", "medium"),
        ([45, 42, 13], "tip", "low"),
        ([40, 40, 14], "passed", None),
    ],
)
def test_classes_are_imbalanced_below_a_share_of_an_even_share(counts, outcome, severity):
    """Below 0.4 of it, which is 20 % of two classes and 13 % of three."""
    finding = check_classes(np.repeat(np.arange(len(counts)), counts))

    assert finding.code == "SKT301"
    assert (finding.outcome, finding.severity) == (outcome, severity)
    assert finding.evidence["share"] == min(counts) / sum(counts)
    assert finding.evidence["n_rows"] == sum(counts)
    is_tip = outcome == "tip"
    assert ("If the metric is accuracy" in finding.remedy) == is_tip
    # AutoClassifier refuses a threshold for three classes.
    assert ("threshold" in finding.remedy) == (is_tip and len(counts) == 2)


def test_the_rarest_class_is_named():
    """With its share and the number of rows."""
    labels = np.array(["no"] * 1900 + ["yes"] * 100, dtype=object)

    assert check_classes(labels).message == "5 % of 2,000 rows belong to class 'yes'."
