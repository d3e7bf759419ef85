"""Docstrings of everything public, by numpydoc's rules."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
from numpydoc.validate import validate

import sk_tune
from sk_tune.estimators import NetworkEstimator

# What numpydoc may complain of without being heard, and why.
WAIVED = {
    "GL01": "text starts in the line of the opening quotes, as PEP 257 has it",
    "GL02": "one-line docstrings close in their line",
    "ES01": "a summary may be enough",
    "SA01": "not everything has a relative; estimators have, see below",
    "EX01": "examples are asked of estimators only, see below",
    "RT02": "results may be named, as the glossary names them",
}
WAIVED_FOR_ESTIMATORS = {
    "ES01": WAIVED["ES01"],
    "PR03": "parameters are keywords; the network's own are described first",
}
# A sentence is all there is to say of an error, and members of an Enum are no parameters.
# A protocol has no constructor, and a loss none of its own.
WAIVED_FOR_NAMES = {"PR01": ("Error", "Loss", "Warning", "Stream", "sampler.Sampler")}


# Names that a user reads of.  For what a sub-package hands to others only, a sentence is
# enough; sections that it has are complete.
PAGES = [*(Path(__file__).parents[2] / "docs").rglob("*.md")]
PAGES = [page for page in PAGES if page.name != "changelog.md"]
SHOWN = {
    *sk_tune.__all__,
    *(word for page in PAGES for word in re.findall(r"\w+", page.read_text("utf-8"))),
}


def _public_objects():
    names = [f"sk_tune.{name}" for name in sk_tune.__all__ if name != "__version__"]
    # Nothing in ``nets`` and ``training`` is for users, though pages speak of MLP, RNN, ...
    for package in (
        "augment",
        "schedule",
        "space",
        "sampler",
        "search",
        "prepare",
        "report",
        "diagnosis",
        "ensemble",
        "exceptions",
    ):
        home = importlib.import_module(f"sk_tune.{package}")
        names += [f"sk_tune.{package}.{name}" for name in home.__all__]
    return names


def _object(path):
    home, _, name = path.rpartition(".")
    return getattr(importlib.import_module(home), name)


def _has_docstring_of_its_own(path):
    value = _object(path)
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return False
    return path.rpartition(".")[2] in SHOWN or "\n---" in inspect.cleandoc(value.__doc__)


OBJECTS = [path for path in _public_objects() if _has_docstring_of_its_own(path)]
ESTIMATORS = [
    f"sk_tune.{n}" for n in sk_tune.__all__ if n.endswith(("Classifier", "Regressor"))
]
SEARCHES = [f"sk_tune.{n}" for n in sk_tune.__all__ if n.endswith("SearchCV")]
SEARCHES += [path.replace("sk_tune.", "sk_tune.search.") for path in SEARCHES]
ENSEMBLES = [p.replace("sk_tune.", "sk_tune.ensemble.") for p in ESTIMATORS]
NETWORKS = [
    p for p in ESTIMATORS if p.split(".")[1].startswith(("MLP", "CNN", "RNN", "Net"))
]
METHODS = [
    f"{path}.{name}"
    for path in ESTIMATORS
    for name, member in inspect.getmembers(_object(path), inspect.isroutine)
    # Those of scikit-learn are scikit-learn's.
    if not name.startswith("_") and member.__module__.startswith("sk_tune")
]


def _complaints(path, waived):
    errors = validate(path)["errors"]
    return [
        (code, text)
        for code, text in errors
        if code not in waived
        and not path.endswith(WAIVED_FOR_NAMES.get(code, ()))
        # The constructor takes module__* beside what its signature shows.
        and "**module_parameters" not in text
    ]


@pytest.mark.parametrize("path", OBJECTS)
def test_docstrings_follow_numpydoc(path):
    """Every public class and function describes itself, its parameters and results."""
    waived = (
        WAIVED_FOR_ESTIMATORS if path in [*ESTIMATORS, *SEARCHES, *ENSEMBLES] else WAIVED
    )

    assert _complaints(path, waived) == []


@pytest.mark.parametrize("path", METHODS)
def test_docstrings_of_methods_follow_numpydoc(path):
    """Every public method of an estimator describes its parameters, results and errors."""
    assert _complaints(path, WAIVED) == []


@pytest.mark.parametrize("path", NETWORKS)
def test_methods_are_documented(path):
    """fit, predict and their kin are among the methods that are checked."""
    expected = {"fit"}
    if issubclass(_object(path), NetworkEstimator):
        expected |= {"partial_fit", "predict", "save", "load", "to_onnx"}

    assert {m.rpartition(".")[2] for m in METHODS if m.startswith(path + ".")} >= expected


def test_every_module_says_what_it_is_for():
    """All modules have a docstring of at least a sentence."""
    # Nothing in ``nets`` and ``training`` is for users, though pages speak of MLP, RNN, ...
    for package in (
        "training",
        "augment",
        "estimators",
        "engine",
        "backend",
        "ensemble",
        "cli",
        "prepare",
        "schedule",
        "report",
        "diagnosis",
    ):
        home = importlib.import_module(f"sk_tune.{package}")
        for info in pkgutil.iter_modules(home.__path__, home.__name__ + "."):
            doc = importlib.import_module(info.name).__doc__
            assert doc, info.name
            assert doc.splitlines()[0].endswith((".", ":")), info.name
