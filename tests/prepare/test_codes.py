"""Categories as codes."""

import pandas as pd

from sk_tune.prepare._transformers import CategoryCodes


def _fitted(texts, **options):
    return CategoryCodes(**{"min_frequency": 2, "max_codes": 255, **options}).fit(
        pd.DataFrame({"a": texts})
    )


def _codes(encoder, *texts):
    return encoder.transform(pd.DataFrame({"a": texts})).ravel().tolist()


def test_frequent_categories_have_codes_from_one_on():
    """In their order, as text is sorted."""
    encoder = _fitted(["c", "a", "b"] * 5)

    assert _codes(encoder, "a", "b", "c") == [1, 2, 3]
    assert encoder.n_categories_ == [4]


def test_rare_and_unknown_categories_are_zero():
    """Wherever the rare ones stand among the others."""
    encoder = _fitted(["b", "a", "c", "d"] + ["b", "d"] * 5)

    assert _codes(encoder, "a", "b", "c", "d", "new") == [0, 1, 0, 2, 0]
    assert encoder.n_categories_ == [3]


def test_only_the_most_frequent_have_codes_where_there_are_too_many():
    """The number of codes is kept, with the 0."""
    encoder = _fitted([f"c{i % 50}" for i in range(500)] + ["c7"] * 9, max_codes=10)

    codes = _codes(encoder, *(f"c{i}" for i in range(50)))

    assert encoder.n_categories_ == [10]
    assert sorted(set(codes)) == list(range(10))
    assert codes[7] != 0


def test_a_column_may_have_rare_categories_only():
    """Then everything is 0."""
    encoder = _fitted(["a", "b", "c"])

    assert _codes(encoder, "a", "b", "new") == [0, 0, 0]
    assert encoder.n_categories_ == [1]
