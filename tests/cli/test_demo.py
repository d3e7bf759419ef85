"""``sk-tune demo``."""

import json

import pytest

import sk_tune.cli._tables
from sk_tune.cli import main
from sk_tune.cli._tables import demo_table


def test_the_titanic_has_text_and_missing_values_but_no_afterthoughts():
    """1309 passengers, as OpenML's page of data set 40945 says, 500 of whom survived."""
    table, target = demo_table("titanic")

    assert table.frame.shape == (1309, 12)
    assert table.frame[target].sum() == 500
    assert table.frame["age"].isna().sum() == 263
    assert table.frame["name"].iloc[0] == "Allen, Miss. Elisabeth Walton"
    assert not {"boat", "body"} & set(table.frame.columns)


@pytest.mark.parametrize(
    ("name", "n_rows", "first"),
    [
        ("breast_cancer", 569, "malignant"),
        ("wine", 178, "class_0"),
        ("diabetes", 442, 151.0),
    ],
)
def test_other_tables_are_scikit_learns(name, n_rows, first):
    """Classes have their names, not their numbers."""
    table, target = demo_table(name)

    assert len(table.frame) == n_rows
    assert table.frame[target].iloc[0] == first


def test_without_the_titanic_the_default_is_another_table(monkeypatch, fails):
    """A distribution may leave scikit-learn's tests out."""
    monkeypatch.setattr(sk_tune.cli._tables, "_TITANIC", "nowhere")

    assert demo_table(None)[0].name == "breast_cancer"
    fails(["demo", "--table", "titanic"], "--table titanic", "breast_cancer")


def test_a_demo_can_be_run_twice(tmp_path, monkeypatch, capsys):
    """Its own folder may be written again; a folder of the user's may not."""
    monkeypatch.chdir(tmp_path)
    command = ["demo", "--time-budget", "0.1s", "--n-jobs", "1"]

    assert main(command) == 0
    assert main([*command, "--random-state", "1"]) == 0
    summary = json.loads((tmp_path / "sk_tune_demo" / "summary.json").read_text())
    assert (summary["table"], summary["random_state"]) == ("titanic", 1)
    capsys.readouterr()

    assert main([*command, "--output", "./mine"]) == 0
    assert main([*command, "--output", "./mine"]) == 2
    assert "--overwrite" in capsys.readouterr().err
