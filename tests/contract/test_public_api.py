"""Names that users may import."""

import ast
import importlib
import pickle
import pkgutil
import re
import warnings
from pathlib import Path

import pytest

import sk_tune
from sk_tune import exceptions
from sk_tune._warnings import warn_user

# Modules whose names are public, each as documented in docs/api/index.rst.
MODULES = ["augment", "engine", "exceptions", "nets", "sampler"]
PUBLIC = [name for name in sk_tune.__all__ if name != "__version__"]
DOCS = Path(__file__).parents[2] / "docs"


def _documented_names():
    """Return the names that the API reference lists, with their modules."""
    module, names = "", []
    for line in (DOCS / "api" / "index.rst").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\.\. (?:current)?module:: (\S+)", line):
            module = found[1]
        elif found := re.match(r"   (\w+)$", line):
            names.append(f"{module}.{found[1]}")
    return names


def test_the_reference_lists_the_public_names():
    """A name is public if and only if the API reference lists it."""
    public_names = [f"sk_tune.{name}" for name in PUBLIC]
    for module in MODULES:
        names = importlib.import_module(f"sk_tune.{module}").__all__
        public_names += [f"sk_tune.{module}.{name}" for name in names]

    assert sorted(_documented_names()) == sorted(public_names)


def test_only_public_modules_lack_an_underscore():
    """Packages and modules that the reference does not list are private."""
    names = [info.name for info in pkgutil.iter_modules(sk_tune.__path__)]

    assert [name for name in names if not name.startswith("_")] == MODULES


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_imported(name):
    """A name is the same object in the root and in its package."""
    value = getattr(sk_tune, name)
    home = importlib.import_module(f"sk_tune.{sk_tune._PACKAGE_OF[name]}")

    assert value is getattr(home, name)
    assert value.__name__ == name
    assert name in dir(sk_tune)
    assert name in getattr(home, "__all__", [name])


def test_the_stub_types_every_public_name():
    """Type checkers read `__init__.pyi`, because `__init__.py` imports on first use."""
    tree = ast.parse((Path(sk_tune.__file__).parent / "__init__.pyi").read_text("utf-8"))
    homes = {
        alias.asname: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert homes == {n: f"sk_tune.{home}" for n, home in sk_tune._PACKAGE_OF.items()}


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


def test_a_category_of_warnings_can_be_hidden():
    """The remaining categories are shown."""
    with warnings.catch_warnings(record=True, action="always") as shown:
        warnings.filterwarnings("ignore", category=exceptions.TrainedAloneWarning)
        warn_user("A network was trained alone.", exceptions.TrainedAloneWarning)
        warn_user("The leak guard found reasons.", exceptions.LeakWarning)

    assert [w.category for w in shown] == [exceptions.LeakWarning]
    assert shown[0].filename == __file__


@pytest.mark.parametrize("name", ERRORS)
def test_pages_that_errors_name_exist(name):
    """The note below a message links to an existing page and heading; copies keep it."""
    error = getattr(exceptions, name)("It is too long.")
    notes = getattr(error, "__notes__", [])

    assert str(error) == "It is too long."
    assert getattr(pickle.loads(pickle.dumps(error)), "__notes__", []) == notes
    assert len(notes) == (name.endswith("Error") and name != "SkTuneError")
    for note in notes:
        path, _, heading = note.partition("/stable/")[2].partition("#")
        text = (DOCS / path.replace(".html", ".md")).read_text()
        assert f"# {heading.replace('-', ' ')}".lower() in text.lower()
