"""How a choice holds its options."""

from sk_tune.space import Choice


def test_a_dict_and_pairs_are_the_same_choice():
    """Options come in their order, whichever way they are written."""
    options = {"sgd": {"momentum": [0.9]}, "adamw": {}}

    assert Choice(options).pairs() == Choice(options.items()).pairs()
    assert Choice(options).pairs() == [("sgd", {"momentum": [0.9]}), ("adamw", {})]


def test_an_iterator_may_be_read_more_than_once():
    """Options of a generator are not used up by the first reader."""
    choice = Choice((value, {}) for value in ([1], [2]))

    assert choice.pairs() == [([1], {}), ([2], {})]
    assert choice.pairs() == choice.pairs()


def test_its_repr_names_the_values():
    """A choice in a notebook shows what may be chosen."""
    assert repr(Choice({"sgd": {}, None: {}})) == "Choice('sgd', None)"
