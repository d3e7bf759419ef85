"""Docstrings of estimators, put together from the classes that declare parameters."""

import inspect

import pytest
from numpydoc.docscrape import ClassDoc

import sk_tune
from sk_tune._declaration import with_inherited_docs
from sk_tune.estimators import NetworkEstimator

ESTIMATORS = [getattr(sk_tune, n) for n in sk_tune.__all__ if n[-3:] in {"ier", "sor"}]
SEARCHES = [getattr(sk_tune, n) for n in sk_tune.__all__ if n.endswith("SearchCV")]
NETWORKS = [cls for cls in ESTIMATORS if issubclass(cls, NetworkEstimator)]


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_every_parameter_is_described_once(cls):
    """The section Parameters has the constructor's parameters, with their defaults."""
    described = [p for p in ClassDoc(cls)["Parameters"] if not p.name.startswith("**")]
    signature = inspect.signature(cls).parameters

    assert sorted(p.name for p in described) == sorted(signature)
    assert all(p.desc for p in described)
    for entry in described:
        default = signature[entry.name].default
        if default is not inspect.Parameter.empty:
            shown = entry.type.rpartition("default=")[2].strip('"')
            same = str(default) == shown
            assert same or float(shown) == default, entry.name


@pytest.mark.parametrize("cls", SEARCHES)
def test_defaults_of_searches_are_written_as_in_python(cls):
    """Those that a class gives another default than its bases, too."""
    signature = inspect.signature(cls).parameters
    described = {p.name: p.type for p in ClassDoc(cls)["Parameters"]}

    flags = [name for name, p in signature.items() if isinstance(p.default, bool)]

    assert "return_train_score" in flags
    for name in flags:
        assert described[name].endswith(f"default={signature[name].default}")


@pytest.mark.parametrize("cls", NETWORKS)
def test_attributes_of_all_bases_are_described(cls):
    """The section Attributes has what every network learns, and what its task learns."""
    names = {name for a in ClassDoc(cls)["Attributes"] for name in a.name.split(", ")}

    assert {"net_", "history_", "n_epochs_", "best_epoch_", "input_shape_"} <= names
    own = {"Classifier": {"classes_"}, "Regressor": {"target_mean_", "target_scale_"}}
    assert own[cls.__name__[3:]] <= names


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_no_marker_is_left(cls):
    """Markers are replaced in every docstring."""
    assert "{parameters}" not in cls.__doc__
    assert "{attributes}" not in cls.__doc__


def test_a_class_without_docstring_is_left_alone():
    """With docstrings stripped, as by python -OO, there is nothing to complete."""

    class Bare:
        pass

    assert with_inherited_docs(Bare).__doc__ is None


def test_bases_outside_the_package_are_not_quoted():
    """Only sk_tune's own classes give descriptions."""

    class Outside:
        """Something.

        Parameters
        ----------
        foreign : int
            Not ours.
        """

    class Inside(Outside):
        """Something.

        Parameters
        ----------
        {parameters}
        """

    assert "foreign" not in with_inherited_docs(Inside).__doc__
