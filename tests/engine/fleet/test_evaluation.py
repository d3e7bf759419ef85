"""Evaluation of many rows: torch's losses and the modules alone are the reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from sk_tune.engine.fleet import _epoch_batches
from sk_tune.engine.fleet._dropout import StackedDropout
from sk_tune.engine.fleet._epoch_batches import evaluate
from sk_tune.engine.fleet._mlp_program import MLPProgram
from sk_tune.engine.fleet._recipe import LOSSES
from sk_tune.nets import MLP
from sk_tune.training import TensorSet, accuracy, accuracy_by_network

D, C, N = 3, 4, 50
LOSS = LOSSES["cross_entropy"].mean


def _normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


X, Y, WEIGHT = _normal(N, D), torch.arange(N) % C, _normal(N, seed=1).abs() + 0.1


def _modules(n):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [
            MLP(
                D,
                C,
                hidden_layer_sizes=(5,),
                activation="relu",
                normalization="batch",
                residual=False,
                dropout=0.5,
            ).double()
            for _ in range(n)
        ]


def _program(modules):
    dropout = StackedDropout([[0.5]] * len(modules), [0] * len(modules), X.dtype, X.device)
    return MLPProgram(modules, dropout)


def _assert_results(modules, sets):
    found = list(evaluate(_program(modules).evaluate, sets, LOSS, accuracy_by_network))

    positions = [i for i, s in enumerate(sets) if s is not None]
    assert [position for position, _ in found] == positions
    for position, result in found:
        own = sets[position].taken()
        with torch.no_grad():
            outputs = modules[position].eval()(own.X)
        weight = torch.ones(len(own)) if own.sample_weight is None else own.sample_weight
        losses = F.cross_entropy(outputs, own.y, reduction="none")
        expected = (losses * weight).sum().item() / weight.sum().item()
        score = accuracy(outputs, own.y, own.sample_weight)
        torch.testing.assert_close(result.outputs, outputs, rtol=1e-12, atol=1e-12)
        assert result.loss == pytest.approx(expected, rel=1e-12)
        assert result.score == pytest.approx(score, rel=1e-12)


@settings(max_examples=50)
@given(
    kinds=st.lists(
        st.none() | st.tuples(st.booleans(), st.none() | st.integers(1, N)),
        min_size=1,
        max_size=5,
    )
)
def test_rows_are_scored_on_their_own_samples(kinds):
    """Rows with other sets, other sizes, weights or none have what they have alone."""
    plain, weighted = TensorSet(X, Y), TensorSet(X, Y, WEIGHT)
    sets = []
    for kind in kinds:
        if kind is None:
            sets.append(None)
            continue
        source = weighted if kind[0] else plain
        index = None if kind[1] is None else torch.arange(N).flip(0)[: kind[1]]
        own = TensorSet(*source.columns, index=index)
        sets.append(source if index is None else own)

    _assert_results(_modules(len(sets)), sets)


@pytest.mark.parametrize("most", [1, 7, 25, 49, 50, 1024])
@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
def test_samples_may_be_taken_in_parts(most, weighted, monkeypatch):
    """How many samples are computed at a time changes no loss, score or output."""
    monkeypatch.setattr(_epoch_batches, "_MOST_SAMPLES", most)
    shared = TensorSet(X, Y, WEIGHT if weighted else None)
    own = TensorSet(X.flip(0), Y.flip(0), WEIGHT if weighted else None)

    _assert_results(_modules(3), [shared, shared, shared])
    _assert_results(_modules(3), [shared, own, shared])


def test_rows_without_samples_have_no_result():
    """None at all gives nothing to iterate over."""
    assert (
        list(
            evaluate(
                _program(_modules(2)).evaluate, [None, None], LOSS, accuracy_by_network
            )
        )
        == []
    )


def test_outputs_stay_when_others_are_computed():
    """Results of a later evaluation do not overwrite those of an earlier one."""
    program, samples = _program(_modules(2)), [TensorSet(X, Y)] * 2
    first = [
        r.outputs for _, r in evaluate(program.evaluate, samples, LOSS, accuracy_by_network)
    ]
    before = [outputs.clone() for outputs in first]

    other = [TensorSet(X + 1, Y)] * 2
    second = [
        r.outputs for _, r in evaluate(program.evaluate, other, LOSS, accuracy_by_network)
    ]

    for outputs, expected, later in zip(first, before, second, strict=True):
        assert torch.equal(outputs, expected)
        assert not torch.equal(outputs, later)
