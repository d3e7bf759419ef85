# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Columns of text of several words."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from sk_tune import TablePreparer, load, save, table_pipeline
from sk_tune._prepare import _text_components
from sk_tune._prepare._text_components import TextComponents

N = 90
COLOURS = np.array(["red", "green", "blue"])
THINGS = np.array(["chair", "table", "lamp", "sofa", "desk"])


@pytest.fixture
def offers() -> pd.DataFrame:
    """Return titles, different in each row, and sizes."""
    rng = np.random.default_rng(0)
    colours, things = rng.choice(COLOURS, N), rng.choice(THINGS, N)
    titles = [
        f"{c} {t} no {k}" for k, (c, t) in enumerate(zip(colours, things, strict=True))
    ]
    return pd.DataFrame({"title": titles, "size": rng.normal(size=N)})


def prepared(preparer, X):
    """Return the columns of the components in the output of a fitted preparer."""
    names = preparer.get_feature_names_out()
    places = [k for k, name in enumerate(names) if "_text" in name]
    return np.asarray(preparer.transform(X))[:, places]


def test_components_match_scikit_learn(offers):
    """TF-IDF of the trigrams, and its largest singular values."""
    reference = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3)),
        TruncatedSVD(4, random_state=0),
    )

    preparer = TablePreparer(numeric=None, text_components=4).fit(offers)

    expected = reference.fit_transform(offers["title"])
    assert_allclose(prepared(preparer, offers), expected, atol=1e-9)
    assert preparer.get_feature_names_out()[-4:].tolist() == [
        f"title_text{k}" for k in range(4)
    ]


@pytest.mark.parametrize("numeric", ["smooth_clip", "quantile", "standard", None])
def test_fit_transform_matches_transform(offers, numeric):
    """With every scaling, also of repeated texts."""
    offers.loc[:20, "title"] = offers["title"][0]
    preparer = TablePreparer(numeric=numeric, text_components=3)

    first = preparer.fit_transform(offers)

    assert_allclose(first, preparer.transform(offers), atol=1e-10)


def test_missing_text_is_empty(offers):
    """It has no trigrams, so all components are 0 before the scaling."""
    offers.loc[3, "title"] = None

    preparer = TablePreparer(numeric=None, text_components=3).fit(offers)

    assert_allclose(prepared(preparer, offers)[3], 0.0)


@pytest.mark.parametrize(
    ("texts", "is_text"),
    [
        ([f"red chair no {k}" for k in range(N)], True),
        ([f"chair{k}x" for k in range(N)], False),
        (["red chair", "blue desk"] * (N // 2), False),
        (["red chair"] * 60 + [f"blue desk {k}" for k in range(N - 60)], True),
        ([f"\u7ea2\u8272\u7684\u6905\u5b50{k}" for k in range(N)], True),
        ([f"\u7ea2\u8272{k}" for k in range(N)], False),
    ],
)
def test_text_has_several_words_and_rare_values(offers, texts, is_text):
    """Codes of one word, also a Chinese one, and frequent categories have no components."""
    preparer = TablePreparer(text_components=3).fit(offers.assign(title=texts))

    names = preparer.get_feature_names_out()

    assert any("_text" in name for name in names) is is_text


def test_the_same_texts_are_encoded_once(offers, monkeypatch):
    """The candidates of a search share the encoder and the components of a fold."""
    texts, new = offers[["title"]], offers[["title"]][:9] + " new"

    parts = [TextComponents(n).fit(texts.copy()) for n in (3, 3, 4)]

    encoders = [part.encoders_[0] for part in parts]
    assert encoders[0] is encoders[1]
    assert encoders[2] is not encoders[0]
    expected = parts[0].transform(new)
    monkeypatch.setattr(encoders[0], "transform", None)
    assert_allclose(parts[1].transform(new), expected, atol=0)


def test_results_for_many_texts_are_not_kept(offers, monkeypatch):
    """The texts of a large table would take much memory."""
    monkeypatch.setattr(_text_components, "_MOST_ROWS_KEPT", N - 1)
    texts = offers[["title"]]

    encoders = [TextComponents(5).fit(texts).encoders_[0] for _ in range(2)]

    assert encoders[0] is not encoders[1]


def test_few_texts_have_fewer_components():
    """No more than rows or trigrams."""
    X = pd.DataFrame({"a": ["red chair", "blue desk", "green lamp"], "b": [1.0, 2.0, 4.0]})

    preparer = TablePreparer(text_components=20).fit(X)

    assert prepared(preparer, X).shape == (3, 3)


def test_a_network_learns_from_text(offers):
    """The colour in the title decides; a saved pipeline reads new titles alike."""
    y = offers["title"].str.startswith("red").to_numpy()
    pipe = table_pipeline("classifier", random_state=0)
    pipe.set_params(prepare__text_components=5).fit(offers, y)
    new = pd.DataFrame({"title": ["red bed", "blue bed"], "size": [0.0, 0.0]})

    assert pipe.predict(new).tolist() == [True, False]


def test_files_keep_components(offers, tmp_path):
    """A file holds words and numbers only."""
    preparer = TablePreparer(text_components=3).fit(offers)

    save(preparer, tmp_path / "preparer")

    new = offers.assign(title="red bed")
    loaded = load(tmp_path / "preparer")
    assert_allclose(loaded.transform(new), preparer.transform(new), atol=0)
