"""Docstrings of everything public, by numpydoc's rules."""

import importlib
import inspect
import pkgutil

import pytest
from numpydoc.validate import validate

import sk_tune
from sk_tune._estimators import NetworkEstimator

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


PACKAGES = [info.name for info in pkgutil.iter_modules(sk_tune.__path__) if info.ispkg]


def _public_objects():
    names = [f"sk_tune.{name}" for name in sk_tune.__all__ if name != "__version__"]
    for module in ("augment", "engine", "exceptions", "nets", "sampler"):
        exported = importlib.import_module(f"sk_tune.{module}").__all__
        names += [f"sk_tune.{module}.{name}" for name in exported]
    return names


def _object(path):
    home, _, name = path.rpartition(".")
    return getattr(importlib.import_module(home), name)


OBJECTS = [
    path
    for path in _public_objects()
    if inspect.isclass(_object(path)) or inspect.isfunction(_object(path))
]
ESTIMATORS = [
    f"sk_tune.{n}" for n in sk_tune.__all__ if n.endswith(("Classifier", "Regressor"))
]
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
        if code not in waived and not path.endswith(WAIVED_FOR_NAMES.get(code, ()))
    ]


@pytest.mark.parametrize("path", OBJECTS)
def test_docstrings_follow_numpydoc(path):
    """Every public class and function describes itself, its parameters and results."""
    name = path.rpartition(".")[2]
    is_estimator = name in sk_tune.__all__ and name.endswith((
        "Classifier",
        "Regressor",
        "CV",
    ))

    assert _complaints(path, WAIVED_FOR_ESTIMATORS if is_estimator else WAIVED) == []


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


@pytest.mark.parametrize("package", PACKAGES)
def test_names_for_other_packages_have_a_docstring(package):
    """One sentence is enough."""
    home = importlib.import_module(f"sk_tune.{package}")
    for name, value in vars(home).items():
        if name.startswith("_") or not hasattr(value, "__module__"):
            continue
        is_own = str(value.__module__).startswith("sk_tune.")
        if is_own and (inspect.isclass(value) or inspect.isfunction(value)):
            first = (inspect.getdoc(value) or "").partition("\n\n")[0]
            assert first.endswith((".", ":")), name


def test_every_module_says_what_it_is_for():
    """All modules have a docstring of at least a sentence."""
    for package in PACKAGES:
        home = importlib.import_module(f"sk_tune.{package}")
        for info in pkgutil.iter_modules(
            getattr(home, "__path__", ()), home.__name__ + "."
        ):
            doc = importlib.import_module(info.name).__doc__
            assert doc, info.name
            assert doc.splitlines()[0].endswith((".", ":")), info.name
