"""Docstrings of estimators, combined from the classes that declare parameters."""

import inspect

import pytest
from numpydoc.docscrape import ClassDoc
from sklearn.base import clone

import sk_tune
from sk_tune._declaration import with_inherited_docs
from sk_tune._estimators import NetworkEstimator

ESTIMATORS = [getattr(sk_tune, n) for n in sk_tune.__all__ if n[-3:] in {"ier", "sor"}]
SEARCHES = [getattr(sk_tune, n) for n in sk_tune.__all__ if n.endswith("SearchCV")]
NETWORKS = [cls for cls in ESTIMATORS if issubclass(cls, NetworkEstimator)]


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_every_parameter_is_described_once(cls):
    """The section Parameters has the constructor's parameters, with their defaults."""
    described = [p for p in ClassDoc(cls)["Parameters"] if not p.name.startswith("**")]
    signature = dict(inspect.signature(cls).parameters)
    signature.pop("module__parameters", None)

    assert "{parameters}" not in cls.__doc__
    assert "{attributes}" not in cls.__doc__
    assert sorted(p.name for p in described) == sorted(signature)
    assert all(p.desc for p in described)
    for entry in described:
        default = signature[entry.name].default
        if default is not inspect.Parameter.empty:
            shown = entry.type.rpartition("default=")[2].strip('"')
            same = str(default) == shown
            assert same or float(shown) == default, entry.name


@pytest.mark.parametrize("cls", SEARCHES)
def test_positional_parameters_are_described_first(cls):
    """Each parameter is described once, and defaults are written as in Python."""
    signature = inspect.signature(cls).parameters
    described = {p.name: p.type for p in ClassDoc(cls)["Parameters"]}
    flags = [name for name, p in signature.items() if isinstance(p.default, bool)]

    assert list(described)[:2] == list(signature)[:2]
    assert sorted(p.name for p in ClassDoc(cls)["Parameters"]) == sorted(signature)
    assert set(cls._parameter_constraints) <= set(described)
    assert "return_train_score" in flags
    for name in flags:
        assert described[name].endswith(f"default={signature[name].default}")


@pytest.mark.parametrize("cls", NETWORKS)
def test_attributes_of_all_bases_are_described(cls):
    """The section Attributes has the attributes of all networks and of the task."""
    names = {name for a in ClassDoc(cls)["Attributes"] for name in a.name.split(", ")}

    assert {"net_", "history_", "n_epochs_", "best_epoch_", "input_shape_"} <= names
    own = {"Classifier": {"classes_"}, "Regressor": {"target_mean_", "target_scale_"}}
    assert own[cls.__name__[3:]] <= names


def test_a_class_without_docstring_is_unchanged():
    """With docstrings stripped, as by python -OO, there are none to complete."""

    class Bare:
        pass

    assert with_inherited_docs(Bare).__doc__ is None


def test_a_users_subclass_may_have_its_own_constructor():
    """It passes other arguments on, and is cloned by its own."""

    class Wide(sk_tune.RandomizedSearchCV):
        """Wide.

        Parameters
        ----------
        n_iter : int, default=3
            In its own words.
        {parameters}
        """

        def __init__(self, estimator, n_iter=3):
            super().__init__(estimator, {"width": [8, 16, 32]}, n_iter=n_iter)

    copy = clone(Wide(sk_tune.MLPClassifier(), n_iter=2))
    described = ClassDoc(with_inherited_docs(Wide))["Parameters"]

    assert set(copy.get_params(deep=False)) == {"estimator", "n_iter"}
    assert (copy.n_iter, copy.cv, copy.keep_predictions) == (2, None, "auto")
    assert [p.type for p in described if p.name == "n_iter"] == ["int, default=3"]
