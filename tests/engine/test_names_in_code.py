"""Names that compiled code refers to."""

from sk_tune.engine._code_names import (
    attribute_names,
    bound_names,
    imported_names,
    nested_code,
    read_names,
)

FACTOR = 2


def _function(x):
    import json

    def inner(y):
        return [len(z) * FACTOR for z in y.values]

    class Inner:
        size = FACTOR

    return json, inner, Inner, x


def test_names_that_are_read_are_those_of_all_code_inside():
    """Attributes and local names are none."""
    names = read_names(_function.__code__)

    assert {"FACTOR", "len"} <= set(names)
    assert not {"values", "x", "inner", "json"} & set(names)


def _binding():
    global FACTOR, GONE
    FACTOR = local = 3
    del GONE
    return local


def test_names_that_are_set_or_deleted_are_global_ones():
    """Local variables are none."""
    assert bound_names(_binding.__code__) == ["FACTOR", "GONE"]


def test_imports_inside_a_function_are_found():
    """They are not among its global names."""
    assert imported_names(_function.__code__) == ["json"]


def test_attributes_are_among_the_names():
    """As is every other name."""
    assert {"values", "FACTOR"} <= attribute_names(_function.__code__)


def test_code_that_is_nested_comes_after_the_outer_one():
    """At any depth."""
    names = [code.co_name for code in nested_code(_function.__code__)]

    assert names[0] == "_function"
    assert {"inner", "Inner"} <= set(names[1:])
