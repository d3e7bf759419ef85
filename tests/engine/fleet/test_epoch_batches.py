"""Batches of an epoch, and evaluations."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from sk_tune.engine.fleet import _epoch_batches
from sk_tune.engine.fleet._epoch_batches import (
    epoch_batches,
    evaluate,
    gather,
    runs,
    sizes_of_networks,
)
from sk_tune.engine.fleet._masks import StackedDropout
from sk_tune.engine.fleet._mlp_program import MLPProgram
from sk_tune.engine.fleet._recipe import LOSSES
from sk_tune.nets import MLP
from sk_tune.training import (
    TensorBatches,
    TensorSet,
    accuracy,
    accuracy_by_network,
    batch_order,
    batch_sizes,
)

N_SOURCE = 40


def _source(seed, *, weighted, shape=(2,)):
    """Return samples whose X, y and weight tell which sample they are."""
    number = torch.arange(N_SOURCE, dtype=torch.float64) + 100 * seed
    X = number.view(-1, *(1,) * len(shape)).expand(-1, *shape).contiguous()
    return TensorSet(X, number.long(), number + 0.5 if weighted else None)


@st.composite
def _fleets(draw):
    """Draw rows, longest first, some of which share tensors, with or without an index."""
    weighted = draw(st.lists(st.booleans(), min_size=2, max_size=2))
    sources = [_source(i, weighted=w) for i, w in enumerate(weighted)]
    sets = []
    for _ in range(draw(st.integers(1, 5))):
        source = draw(st.sampled_from(sources))
        if draw(st.booleans()):
            sets.append(source)
            continue
        chosen = draw(st.permutations(range(N_SOURCE)))[: draw(st.integers(1, N_SOURCE))]
        sets.append(TensorSet(*source.columns, index=torch.tensor(chosen)))
    sets.sort(key=lambda s: -len(s))
    size = draw(st.integers(1, 15) | st.just(64))
    return sets, size, draw(st.integers(0, 100))


def _epoch(sets, size, epoch, memory=None):
    """Return all batches of an epoch, copied, and what each row alone would get."""
    orders = [batch_order(len(s), seed, epoch) for seed, s in enumerate(sets)]
    sizes = [batch_sizes(len(s), size, shuffled=True) for s in sets]
    seen = [
        batch._replace(X=batch.X.clone(), y=batch.y.clone())
        for batch in epoch_batches(sets, orders, sizes, {} if memory is None else memory)
    ]
    alone = []
    for seed, s in enumerate(sets):
        batches = TensorBatches(s, size, seed=seed)
        batches.epoch = epoch
        alone.append(list(batches))
    return seen, alone


def _assert_each_row_has_its_own(seen, alone, *, weighted):
    received = [{} for _ in alone]
    for batch in seen:
        for i, row in enumerate(range(batch.networks.start, batch.networks.stop)):
            assert batch.step not in received[row]
            weight = None if batch.weight is None else batch.weight[i]
            received[row][batch.step] = (batch.X[i], batch.y[i], weight)
    for own, expected in zip(received, alone, strict=True):
        assert list(own) == list(range(len(expected)))
        for step, (X, target) in enumerate(expected):
            y, w = target if isinstance(target, tuple) else (target, torch.ones(len(X)))
            assert torch.equal(own[step][0], X)
            assert torch.equal(own[step][1], y)
            if weighted:
                assert torch.equal(own[step][2], w.double())


@given(fleet=_fleets())
def test_each_row_gets_the_batches_that_it_gets_alone(fleet):
    """Inputs, targets and weights are those of TensorBatches, in its order."""
    sets, size, epoch = fleet

    seen, alone = _epoch(sets, size, epoch)

    weighted = any(s.sample_weight is not None for s in sets)
    assert all((batch.weight is not None) == weighted for batch in seen)
    _assert_each_row_has_its_own(seen, alone, weighted=weighted)


@given(fleet=_fleets())
def test_every_sample_comes_once_in_an_epoch(fleet):
    """The targets that a row sees are those of its set, and batches have their sizes."""
    sets, size, epoch = fleet

    seen, _ = _epoch(sets, size, epoch)

    for row, s in enumerate(sets):
        own = [b for b in seen if b.networks.start <= row < b.networks.stop]
        numbers = torch.cat([b.y[row - b.networks.start] for b in own])
        expected = s.y if s.index is None else s.y[s.index]
        assert sorted(numbers.tolist()) == sorted(expected.tolist())
        sizes = [b.X.shape[1] for b in own]
        assert sizes == batch_sizes(len(s), size, shuffled=True)


@given(fleet=_fleets())
def test_neighbours_with_batches_of_one_size_come_together(fleet):
    """A step has no two batches whose rows touch and whose sizes are the same."""
    sets, size, epoch = fleet

    seen, _ = _epoch(sets, size, epoch)

    for a, b in pairwise(seen):
        touching = a.step == b.step and a.networks.stop == b.networks.start
        assert not touching or a.X.shape[1] != b.X.shape[1]


@pytest.mark.parametrize("n_bytes", [1, 300, 4000])
def test_blocks_of_any_size_give_the_same_batches(n_bytes, monkeypatch):
    """How many batches are gathered at once changes no batch."""
    monkeypatch.setattr(_epoch_batches, "_BLOCK_BYTES", n_bytes)
    source = _source(0, weighted=True)
    sets = [TensorSet(*source.columns, index=torch.arange(n)) for n in (40, 37, 21, 5)]

    seen, alone = _epoch(sets, 4, 3)

    _assert_each_row_has_its_own(seen, alone, weighted=True)


def test_memory_kept_from_epoch_to_epoch_changes_nothing():
    """Epochs of other rows and sizes may use the same memory one after the other."""
    source, memory = _source(0, weighted=False), {}
    index = torch.arange(0, 40, 2)
    fleets = [
        [source, source, TensorSet(*source.columns, index=index)],
        [source, source, TensorSet(*source.columns, index=index)],
        [TensorSet(*source.columns, index=index)],
        [source, source, source],
    ]
    for epoch, sets in enumerate(fleets):
        seen, alone = _epoch(sets, 7, epoch, memory)

        _assert_each_row_has_its_own(seen, alone, weighted=False)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2, 3)], ids=str)
def test_samples_may_have_any_shape(shape):
    """Signals and images are batched as vectors are."""
    sets = [
        _source(0, weighted=False, shape=shape),
        _source(1, weighted=False, shape=shape),
    ]

    seen, alone = _epoch(sets, 16, 0)

    _assert_each_row_has_its_own(seen, alone, weighted=False)


@given(fleet=_fleets(), start=st.integers(0, N_SOURCE), n=st.integers(1, 50))
def test_gathered_samples_are_those_of_each_set(fleet, start, n):
    """Equally many samples of several sets are stacked in their own order."""
    length = len(fleet[0][-1])
    sets = [
        TensorSet(
            *s.columns,
            index=(torch.arange(len(s.X)) if s.index is None else s.index)[:length],
        )
        for s in fleet[0]
    ]
    start = min(start, length - 1)

    X, y, weight = gather(sets, slice(start, start + n))

    weighted = any(s.sample_weight is not None for s in sets)
    assert (weight is not None) == weighted
    for i, s in enumerate(sets):
        own = s.index[start : start + n]
        assert torch.equal(X[i], s.X[own])
        assert torch.equal(y[i], s.y[own])
        if weighted:
            w = s.sample_weight
            assert torch.equal(
                weight[i], torch.ones(len(own)).double() if w is None else w[own]
            )


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("index", [None, torch.arange(0, 40, 3)], ids=["all", "index"])
@pytest.mark.parametrize("same", [True, False], ids=["one set", "two sets"])
def test_gathering_is_the_same_for_one_set_and_for_equal_ones(weighted, index, same):
    """Rows that share a set object get what rows with sets of the same tensors get."""
    columns = _source(0, weighted=weighted).columns
    first = TensorSet(*columns, index=index)
    second = first if same else TensorSet(*columns, index=index)

    found = gather([first, second], slice(2, 9))

    places = slice(2, 9) if index is None else index[2:9]
    for got, column in zip(found, columns, strict=True):
        if column is None:
            assert got is None
        else:
            assert torch.equal(got, torch.stack([column[places]] * 2))


@given(keys=st.lists(st.integers(0, 2), max_size=30))
def test_runs_cover_all_and_are_as_long_as_possible(keys):
    """Each run holds one key, neighbours differ, and together they are the keys."""
    found = runs(keys)

    assert [key for run in found for key in keys[run]] == keys
    assert all(len(set(keys[run])) == 1 for run in found)
    firsts = [keys[run.start] for run in found]
    assert all(a != b for a, b in pairwise(firsts))


@pytest.mark.parametrize(
    ("batch_size", "joins", "sizes"),
    [
        (4, True, [[4, 5], [4, 4], [4, 5], [1]]),
        (4, False, [[4, 4, 1], [4, 4], [4, 4, 1], [1]]),
        (-1, True, [[9], [8], [9], [1]]),
    ],
)
def test_each_row_has_the_batches_of_its_samples(batch_size, joins, sizes):
    """One by one as a lone network has them, or all samples at once."""
    found = sizes_of_networks([9, 8, 9, 1], batch_size, joins=joins)

    assert found == sizes
    assert found[0] is found[2]


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
