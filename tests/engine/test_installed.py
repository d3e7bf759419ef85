"""What belongs to an installed library, by its name in it."""

import functools
import sys
import types

import pytest
import torch
from torch import nn

from sk_tune import MLPClassifier
from sk_tune.engine._code_names import installed_name, installed_version


def _own():
    return None


def test_classes_and_functions_of_libraries_have_a_name_and_a_version():
    """Those of Python its own."""
    assert (
        installed_name(nn.Linear) == f"torch.nn.modules.linear.Linear {torch.__version__}"
    )
    assert installed_name(MLPClassifier).startswith("sk_tune.")
    assert installed_name(functools.partial).startswith("functools.partial python")


@pytest.mark.parametrize(
    "code",
    [
        _own,
        functools.wraps(nn.Linear)(_own),
        torch.no_grad()(_own),
        type("Linear", (), {"__module__": "torch.nn.modules.linear"}),
        lambda: None,
        3,
    ],
    ids=["own", "borrowed name", "decorated", "same name", "lambda", "number"],
)
def test_what_a_library_does_not_have_under_its_name_has_none(code):
    """Whatever it calls itself."""
    assert installed_name(code) is None


def test_a_checkout_counts_as_a_users(tmp_path, monkeypatch):
    """It has a version, and may be edited without another."""
    (tmp_path / "checked_out.py").write_text("__version__ = '1.0'\ndef f(): return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__("checked_out")

    assert installed_version("checked_out") == ""
    assert installed_name(module.f) is None
    del sys.modules["checked_out"]


def test_packages_of_other_folders_of_packages_are_installed(tmp_path, monkeypatch):
    """Those of a user, and of an interpreter below the environment."""
    folder = tmp_path / "lib" / "dist-packages"
    folder.mkdir(parents=True)
    (folder / "of_a_user.py").write_text("__version__ = '1.0'\ndef f(): return 1\n")
    monkeypatch.syspath_prepend(str(folder))
    module = __import__("of_a_user")

    assert installed_version("of_a_user") == "1.0"
    assert installed_name(module.f) == "of_a_user.f 1.0"
    del sys.modules["of_a_user"]


def test_modules_without_a_file_belong_to_the_user(monkeypatch):
    """Such as that of a notebook."""
    monkeypatch.setitem(sys.modules, "nowhere", types.ModuleType("nowhere"))

    assert installed_version("nowhere") == ""
    assert installed_version("__main__") == ""
