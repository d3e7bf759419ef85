# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Columns of text of several words as numbers: components of their trigrams."""

import re
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline, make_pipeline

from sk_tune._cell_formats import MISSING
from sk_tune._types import Array, Floats

# More trigrams take more time and are rare.
_MOST_TRIGRAMS = 10_000
_FEWEST_WORDS = 1.5
# Equal texts must not differ in the last bit, which QuantileTransformer would enlarge.
_DIGITS = 9
# Of a column of text, at least this share of the rows has a rare value.
_MIN_RARE = 0.25
# Calls and rows of a call that are kept, because the candidates of a search encode the same
# texts; about two megabytes for a call.
_MOST_KEPT, _MOST_ROWS_KEPT = 32, 10_000
# Chinese characters, kana and Thai letters: scripts without spaces between words.
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")
_LETTERS_OF_WORD = 2


class TextComponents(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Singular vectors of the TF-IDF matrix of each column's letter trigrams.

    ``n_components_`` are the numbers of components of the columns, at most `n_components`.
    """

    def __init__(self, n_components: int) -> None:
        self.n_components = n_components

    def fit(self, X: Any, y: Any = None) -> Self:
        self.fit_transform(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Floats:
        """Fit to columns of text, (n_samples, n_columns), and return their components."""
        self.encoders_: list[Pipeline] = []
        blocks = []
        for texts in _columns(X):
            encoder, block = _encoded(tuple(texts), self.n_components)
            self.encoders_.append(encoder)
            blocks.append(block)
        self.n_components_ = [block.shape[1] for block in blocks]
        return np.hstack(blocks).round(_DIGITS)

    def transform(self, X: Any) -> Floats:
        """Return the components, (n_samples, sum of n_components_)."""
        pairs = zip(self.encoders_, _columns(X), strict=True)
        blocks = [_components(tuple(texts), encoder) for encoder, texts in pairs]
        return np.hstack(blocks).round(_DIGITS)

    def get_feature_names_out(self, input_features: Any) -> Array:
        """Return the names of the components, by the names of the columns."""
        pairs = zip(input_features, self.n_components_, strict=True)
        names = [f"{name}_text{k}" for name, n in pairs for k in range(n)]
        return np.array(names, dtype=object)


def _kept(encode: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the last results of a function of texts and another argument."""
    cached = lru_cache(maxsize=_MOST_KEPT)(encode)

    @wraps(encode)
    def call(texts: tuple[str, ...], other: Any) -> Any:
        return (cached if len(texts) <= _MOST_ROWS_KEPT else encode)(texts, other)

    return call


@_kept
def _encoded(texts: tuple[str, ...], n_components: int) -> tuple[Pipeline, Floats]:
    """Return the fitted encoder of a column, and the components of its texts."""
    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 3), max_features=_MOST_TRIGRAMS
    )
    trigrams = vectorizer.fit_transform(texts)
    decomposition = TruncatedSVD(min(n_components, *trigrams.shape), random_state=0)
    components = decomposition.fit_transform(trigrams)
    return make_pipeline(vectorizer, decomposition), components


@_kept
def _components(texts: tuple[str, ...], encoder: Pipeline) -> Floats:
    return np.asarray(encoder.transform(texts))


def _columns(X: Any) -> list[list[str]]:
    columns = np.asarray(X, dtype=object).T
    return [["" if text == MISSING else text for text in column] for column in columns]


def is_text(values: Any, least: int) -> bool:
    """Return whether a Categorical holds texts of several words, mostly rare.

    Rare are texts of fewer than `least` rows; words have a letter. In scripts without
    spaces, two letters count as a word.
    """
    counts = np.bincount(values.codes, minlength=len(values.categories))
    levels = [level for level in values.categories if level != MISSING]
    if not levels or counts[counts < least].sum() < _MIN_RARE * len(values):
        return False
    return bool(np.mean([*map(_n_words, levels)]) >= _FEWEST_WORDS)


def _n_words(text: str) -> float:
    text, n_unspaced = _UNSPACED.subn("", text)
    n_spaced = sum(any(map(str.isalpha, word)) for word in text.split())
    return n_spaced + n_unspaced / _LETTERS_OF_WORD
