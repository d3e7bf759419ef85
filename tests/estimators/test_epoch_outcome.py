"""Loss and score of an epoch."""

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from sk_tune.estimators._epoch_parts import EpochOutcome
from sk_tune.training import CrossEntropy, accuracy


@pytest.mark.parametrize("weighted", [False, True])
def test_epoch_is_as_if_all_rows_came_in_one_batch(weighted):
    """Batches of unequal size or weight count for what they hold."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(23, 3, generator=generator, dtype=torch.float64)
    labels = torch.arange(23) % 3
    weight = torch.rand(23, generator=generator, dtype=torch.float64)
    loss_of, epoch = CrossEntropy().eval(), EpochOutcome()

    for rows in torch.arange(23).split(10):
        target = (labels[rows], weight[rows]) if weighted else labels[rows]
        loss = loss_of(outputs[rows], *(target if weighted else (target,)))
        epoch.add(loss, outputs[rows], target)
    loss, score = epoch.loss_and_score(accuracy)

    given = {"sample_weight": weight.numpy()} if weighted else {}
    assert loss == pytest.approx(log_loss(labels, outputs.softmax(dim=1), **given))
    assert score == pytest.approx(accuracy_score(labels, outputs.argmax(dim=1), **given))


def test_rows_of_unknown_classes_have_no_loss():
    """A fold may lack a class: its rows count for nothing, in whichever batch they are."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    labels = torch.arange(30) % 3
    labels[4:21] = -100
    loss_of, epoch = CrossEntropy().eval(), EpochOutcome()

    for rows in torch.arange(30).split(10):
        epoch.add(loss_of(outputs[rows], labels[rows]), outputs[rows], labels[rows])
    loss, _ = epoch.loss_and_score(accuracy)

    known = labels >= 0
    assert loss == pytest.approx(log_loss(labels[known], outputs[known].softmax(dim=1)))
