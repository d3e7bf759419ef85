"""Recurrent networks: sequences, their padding, and training."""

from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import GridSearchCV

import sk_tune
from sk_tune import GridSearchCV as FleetSearchCV
from sk_tune import MLPClassifier, RNNClassifier, RNNRegressor
from sk_tune.exceptions import SkTuneWarning

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(60, 6, 2)).astype(np.float32)
Y = X[:, :2, 0].sum(axis=1)
LENGTHS = _RNG.integers(2, 7, size=60)
PADDED = X.copy()
for _row, _length in enumerate(LENGTHS):
    PADDED[_row, _length:] = np.nan

ARCHITECTURES = {
    "gru": {},
    "lstm": {"cell": "lstm"},
    "rnn": {"cell": "rnn", "activation": "tanh"},
    "both directions": {"bidirectional": True},
    "batch norm": {"normalization": "batch"},
    "layer norm": {"normalization": "layer"},
    "deep": {"n_layers": 2, "residual": True, "bidirectional": True},
}


def _small(cls=RNNRegressor, **params):
    small = {"hidden_size": 4, "n_layers": 1, "max_epochs": 2, "batch_size": 16}
    return cls(**{**small, "normalization": None, "random_state": 0, **params})


FITTED = _small().fit(PADDED, Y)


@pytest.mark.parametrize(
    ("shape", "input_shape"),
    [((6, 2), (6, 2)), ((12, 1), (12,)), ((12, 1), 12), ((12, 1), None)],
    ids=str,
)
@pytest.mark.parametrize("make", [np.array, pd.DataFrame])
def test_flat_rows_with_an_input_shape_equal_sequences(make, shape, input_shape):
    """Reshaping X equals `input_shape`; without either, columns are steps."""
    flat, folded = PADDED.reshape(60, 12), PADDED.reshape(60, *shape)
    by_shape = _small(input_shape=input_shape).fit(make(flat), Y)
    by_hand = _small().fit(folded, Y)

    assert by_shape.input_shape_ == shape
    np.testing.assert_array_equal(by_shape.predict(make(flat)), by_hand.predict(folded))


@pytest.mark.parametrize("params", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_padding_changes_nothing(params):
    """More steps of NaN at the end of all rows do not change network and predictions."""
    more = np.full((60, 3, 2), np.nan, dtype=np.float32)
    longer = np.concatenate([PADDED, more], axis=1)

    short = _small(**params).fit(PADDED, Y)
    long = _small(**params).fit(longer, Y)

    # Sums over more steps may have another order.
    np.testing.assert_allclose(long.predict(longer), short.predict(PADDED), atol=1e-5)
    weights = [[p.detach() for p in n.net_.module_.parameters()] for n in (short, long)]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("params", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_a_padded_sequence_is_predicted_like_the_short_sequence(params):
    """A network trained on full sequences ignores the padding of rows to predict."""
    full, short = _small(**params, dtype="float64"), _small(**params, dtype="float64")
    padded = X.copy()
    padded[:, 4:] = np.nan

    # Both start from the same weights, and these steps are too small to change them.
    still = {"learning_rate": 1e-300, "weight_decay": 0.0, "max_epochs": 1}
    full.set_params(**still).fit(padded, Y)
    short.set_params(**still).fit(X[:, :4], Y)

    np.testing.assert_allclose(full.predict(padded), short.predict(X[:, :4]), rtol=1e-9)


def _spoilt(*places):
    values = PADDED.copy()
    for place in places:
        values[place] = np.nan
    return values


_FULL = int(np.flatnonzero(LENGTHS == 6)[0])
MISPLACED = {
    "in the middle": (_spoilt((_FULL, 2)), _FULL),
    "at the start": (_spoilt((_FULL, 0)), _FULL),
    "in one feature": (_spoilt((_FULL, 5, 0)), _FULL),
    "infinity": (np.where(np.arange(2) > 0, np.inf, X), None),
}


@pytest.mark.parametrize(("values", "row"), MISPLACED.values(), ids=MISPLACED)
def test_nan_before_the_end_is_refused(values, row):
    """NaN in the middle is missing data, and the message names the first such row."""
    words = "infinity" if row is None else rf"NaN.*in 1 of 60 sequences.*row {row}\."
    for call in (lambda: _small().fit(values, Y), lambda: FITTED.predict(values)):
        with pytest.raises(ValueError, match=f"(?s)X contains {words}"):
            call()


@pytest.mark.parametrize(
    ("values", "input_shape", "words"),
    [
        (X.reshape(60, 12), (5, 2), ["10 values", "input_shape=(5, 2)", "12"]),
        (X.reshape(60, 2, 3, 2), None, ["n_steps", "4 dimensions"]),
        (X, (2, 2, 3), ["1 to 2 integers"]),
    ],
    ids=["too few", "four dimensions", "too long a shape"],
)
def test_rows_other_than_sequences_are_refused(values, input_shape, words):
    """The message has the required and the actual shape."""
    with pytest.raises(ValueError, match="must") as raised:
        _small(input_shape=input_shape).fit(values, Y)

    expected = [*words, "RNNRegressor"]
    assert [word for word in expected if word not in str(raised.value)] == []
    # The number of steps is not called a number of features.
    with pytest.raises(ValueError, match=r"n_steps, 2\).*as in fit.*\(60, 6, 1\)"):
        FITTED.predict(X[:, :, :1])


@pytest.mark.parametrize("n_steps", [1, 4, 6, 20])
@pytest.mark.parametrize("input_shape", [None, (6, 2)])
def test_sequences_to_predict_may_have_any_length(n_steps, input_shape):
    """Shorter or longer than in `fit`; also for continued training."""
    net = _small(input_shape=input_shape, lr_schedule="constant").fit(X, Y)
    others = np.random.default_rng(1).normal(size=(7, n_steps, 2)).astype(np.float32)
    with torch.no_grad():
        expected = net.net_.module_.eval()(torch.from_numpy(others)).numpy()

    expected = expected[:, 0] * net.target_scale_ + net.target_mean_
    np.testing.assert_allclose(net.predict(others), expected, rtol=1e-5)
    assert net.partial_fit(others, np.arange(7.0)).predict(X).shape == (60,)
    assert net.input_shape_ == (6, 2)


SEQUENCES = [own[:n] for own, n in zip(X, LENGTHS, strict=True)]


def _objects(sequences):
    result = np.empty(len(sequences), dtype=object)
    result[:] = sequences
    return result


@pytest.mark.parametrize(
    "values", [_spoilt(3), [*SEQUENCES[:3], SEQUENCES[3][:0], *SEQUENCES[4:]]]
)
def test_a_sequence_without_steps_is_refused(values):
    """In an array it has NaN only."""
    with pytest.raises(ValueError, match=r"at least one step.*in 1 of 60.*row 3\."):
        _small().fit(values, Y)
    with pytest.raises(ValueError, match=r"at least one step.*in 2 of 2.*row 0\."):
        FITTED.predict([SEQUENCES[0][:0]] * 2)


@pytest.mark.parametrize("kind", [list, tuple, _objects])
@pytest.mark.parametrize("series", [True, False])
def test_sequences_of_unequal_length_are_padded(kind, series):
    """A list of arrays or numbers equals the padded array, and is read row by row, too."""
    padded, own = PADDED, [np.rint(3 * sequence) for sequence in SEQUENCES]
    if series:
        padded, own = PADDED[:, :, :1], [sequence[:, 0] for sequence in own]
    padded = np.rint(3 * padded)
    # NaN, the padding, is not an integer.
    whole = kind([sequence.astype(int) for sequence in own])
    expected, result = _small(bidirectional=True), _small(bidirectional=True)

    predicted = expected.fit(padded, Y).predict(padded)

    with pytest.warns(SkTuneWarning, match="n_tokens=") if series else nullcontext():
        result.fit(whole, Y)

    np.testing.assert_array_equal(result.predict(kind(own)), predicted)
    alone = [result.predict([sequence])[0] for sequence in own]
    np.testing.assert_allclose(alone, predicted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [list, _objects])
def test_searches_take_lists_of_sequences(kind):
    """In a fleet, with the scores of the padded array."""
    grid = {"learning_rate": [1e-3, 1e-2]}
    net = _small(dtype="float64")
    expected = GridSearchCV(net, grid, cv=3).fit(PADDED, Y)
    result = FleetSearchCV(net, grid, cv=3).fit(kind(SEQUENCES), Y)

    np.testing.assert_allclose(
        result.cv_results_["mean_test_score"],
        expected.cv_results_["mean_test_score"],
        rtol=1e-9,
    )
    assert result.ledger_.alone_reasons == {}


def test_one_sequence_to_predict_needs_an_axis_of_samples():
    """The error says how to add it."""
    values = np.random.default_rng(0).normal(size=(20, 6, 2))
    net = _small().fit(values, np.arange(20.0))

    with pytest.raises(ValueError, match=r"Got X\.shape=\(6, 2\), .*X\[numpy\.newaxis\]"):
        net.predict(values[0])

    assert net.predict(values[0][np.newaxis]).shape == (1,)


def test_one_step_of_many_features_warns():
    """It is likely to be one channel of aeon's; `input_shape` confirms the shape."""
    values = np.random.default_rng(0).normal(size=(20, 1, 12))
    with pytest.raises(ValueError, match=r"aeon .*swapaxes.*input_shape=\(1, 12\)"):
        _small().fit(values, np.arange(20.0))

    assert _small().fit(values.swapaxes(1, 2), np.arange(20.0)).input_shape_ == (12, 1)
    net = _small(input_shape=(1, 12)).fit(values, np.arange(20.0))
    assert net.input_shape_ == (1, 12)
    # Three channels of a hundred steps have such a shape, too.
    values = np.random.default_rng(0).normal(size=(20, 3, 100))
    with pytest.warns(SkTuneWarning, match=r"3 step\(s\) of 100 features.*aeon"):
        _small().fit(values, np.arange(20.0))
    _small(input_shape=(3, 100)).fit(values, np.arange(20.0))


def test_sequences_with_channels_first_are_refused():
    """Lists of aeon's sequences differ in the axis of the features."""
    with pytest.raises(ValueError, match=r"same number of features.*row\.T for row in X"):
        _small().fit([own.T for own in SEQUENCES], Y)


TOKENS = [_RNG.permutation(20)[:n].tolist() for n in LENGTHS]
# The label says whether token 7 occurs.
HAS_7 = np.array([7 in ids for ids in TOKENS])


def test_tokens_have_vectors():
    """Ids have no order: permuted ids with permuted vectors give the same outputs."""
    net = _small(RNNClassifier, n_tokens=20, max_epochs=30, lr_schedule="constant")
    net.fit(TOKENS, HAS_7)

    assert net.score(TOKENS, HAS_7) == 1
    module = net.net_.module_
    order = np.random.default_rng(0).permutation(20)
    vectors = module.tokens.weight.detach()
    probabilities = net.predict_proba(TOKENS)
    vectors[1 + order] = vectors[1:].clone()
    module.tokens.known[:] = torch.arange(21)
    renamed = [order[ids] for ids in TOKENS]
    np.testing.assert_allclose(net.predict_proba(renamed), probabilities, rtol=1e-6)


def test_unknown_tokens_share_a_vector():
    """Ids beyond the vocabulary, too; the vector is initially 0."""
    net = _small(RNNClassifier, n_tokens=30).fit(TOKENS, HAS_7)

    *unseen, seen = net.predict_proba([[3, 25], [3, 30], [3, 10**6], [3, 7]])[:, 0]

    assert len(set(unseen)) == 1
    assert seen != unseen[0]
    assert not net.net_.module_.tokens.weight[0].any()
    known = _small(RNNClassifier, n_tokens=10).fit(TOKENS, HAS_7)
    assert known.net_.module_.tokens.weight[0].any()


def test_tokens_are_padded_searched_and_saved(tmp_path):
    """A padded array equals the list; a fleet equals scikit-learn's search; files too."""
    padded = np.full((60, 6), np.nan)
    for row, ids in zip(padded, TOKENS, strict=True):
        row[: len(ids)] = ids
    net = _small(RNNClassifier, n_tokens=20, embedding_size=3, dtype="float64")
    grid = {"n_tokens": [10, 20], "embedding_size": [2, "auto"]}

    expected = GridSearchCV(net, grid, cv=3).fit(padded, HAS_7)
    result = FleetSearchCV(net, grid, cv=3).fit(TOKENS, HAS_7)

    np.testing.assert_allclose(
        result.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )
    assert result.ledger_.alone_reasons == {}
    best = result.best_estimator_
    best.save(tmp_path / "net.sktune")
    loaded = sk_tune.load(tmp_path / "net.sktune")
    np.testing.assert_array_equal(loaded.predict_proba(TOKENS), best.predict_proba(TOKENS))


@pytest.mark.parametrize(
    ("values", "params", "words"),
    [
        ([[1, -2], [3]], {"n_tokens": 9}, r"ids of tokens.* Got -2"),
        ([[1.5, 2.0], [3.0]], {"n_tokens": 9}, r"ids of tokens.* Got 1\.5"),
        ([np.ones((2, 3))] * 2, {"n_tokens": 9}, "one id in each step.* Got 3 features"),
        ([[1, 2], [3]], {"n_tokens": 9, "augmentation": "noise"}, "must be TimeShift"),
        ([["good", "film"], ["bad"]], {}, "Got text, 'good'.* set 'n_tokens'"),
        (["good film", "bad"], {}, "Got text, 'good film'.* set 'n_tokens'"),
    ],
    ids=str,
)
def test_invalid_tokens_are_refused(values, params, words):
    """The message has the value and the remedy."""
    with pytest.raises(ValueError, match=words):
        _small(RNNClassifier, **params).fit(values, [0, 1])


def test_other_networks_refuse_rows_of_unequal_length():
    """The message names the networks that take such rows."""
    with pytest.raises(ValueError, match=r"Got lengths from 3 to 5\. Recurrent networks"):
        MLPClassifier().fit([np.zeros((n, 2)) for n in (3, 5, 4)], [0, 1, 0])
