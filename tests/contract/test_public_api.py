"""What users may import."""

import importlib
import pickle
from pathlib import Path

import pytest

import sk_tune
from sk_tune import exceptions

PUBLIC = [
    *("AutoClassifier", "AutoRegressor", "BaggingClassifier", "BaggingRegressor"),
    *("BayesSearchCV", "BoostingClassifier", "BoostingRegressor", "CNNClassifier"),
    *("CNNRegressor", "GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"),
    *("HyperbandSearchCV", "MLPClassifier", "MLPRegressor", "NetClassifier"),
    *("NetRegressor", "RNNClassifier", "RNNRegressor", "RandomizedSearchCV"),
    "StackingClassifier",
    *("StackingRegressor", "TablePreparer", "TrialEnsembleClassifier"),
    *("TrialEnsembleRegressor", "fleet", "load", "save", "show_versions"),
    *("train_valid_test_split",),
]


def test_the_public_names_are_these():
    """A name is added or taken away on purpose, with its line in the changelog."""
    assert sorted(set(sk_tune.__all__) - {"__version__"}) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_imported(name):
    """A name is the same object in the root and in its sub-package."""
    value = getattr(sk_tune, name)
    home = importlib.import_module(f"sk_tune.{sk_tune._HOMES[name]}")

    assert value is getattr(home, name)
    assert value.__name__ == name
    assert name in dir(sk_tune)
    assert name in getattr(home, "__all__", [name])


def test_an_unknown_name_is_an_attribute_error():
    """The message says which name the package lacks."""
    with pytest.raises(AttributeError, match="'sk_tune' has no attribute 'MLP'"):
        sk_tune.MLP  # noqa: B018


def test_everything_may_be_imported_with_a_star():
    """`from sk_tune import *` brings every public name."""
    names = {}
    exec("from sk_tune import *", names)

    assert set(sk_tune.__all__) <= set(names)


def test_the_version_is_that_of_the_installation():
    """The package's version follows the rules of PEP 440."""
    parts = sk_tune.__version__.split(".")

    assert len(parts) >= 3
    assert parts[0].isdigit()


ERRORS = [n for n in exceptions.__all__ if n.endswith(("Error", "Warning"))]


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_is_a_built_in_too(name):
    """Callers may catch sk_tune's errors by their base or by the built-in they are."""
    error = getattr(exceptions, name)
    base = (
        exceptions.SkTuneWarning if issubclass(error, Warning) else exceptions.SkTuneError
    )

    assert issubclass(error, base)
    built_in = [c for c in error.__mro__ if c.__module__ == "builtins"]
    assert built_in[0] is not object
    if error not in {exceptions.SkTuneError, exceptions.SkTuneWarning}:
        assert built_in[0] not in {Exception, Warning}


DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ERRORS)
def test_pages_that_errors_name_exist(name):
    """The note below a message leads to a page, and to a heading of it; copies have one."""
    error = getattr(exceptions, name)("It is too long.")
    notes = getattr(error, "__notes__", [])

    assert str(error) == "It is too long."
    assert getattr(pickle.loads(pickle.dumps(error)), "__notes__", []) == notes
    assert len(notes) == (name not in {"SkTuneError", "SkTuneWarning"})
    for note in notes:
        path, _, heading = note.partition("/stable/")[2].partition("#")
        text = (DOCS / path.replace(".html", ".md")).read_text()
        assert f"# {heading.replace('-', ' ')}".lower() in text.lower()
