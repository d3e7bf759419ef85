"""What a fit prints."""

import json

import numpy as np
import pandas as pd

from sk_tune import MLPClassifier
from sk_tune.exceptions import TrainingDivergedError


def _summary(tmp_path):
    return json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))


def test_the_output_tells_baselines_network_test_and_verdict(
    tmp_path, fit, mixed_csv, capsys
):
    """The printed scores are those of the summary and of the results."""
    fit(mixed_csv, "label")

    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if "±" in line}
    scores = {score["name"]: score for score in _summary(tmp_path)["scores"]}
    for name in ("dummy", "linear", "network"):
        mean, _, std, test = map(str, rows[name])
        expected = (scores[name][part] for part in ("mean", "std", "test"))
        assert [mean, std, test] == [f"{value:.3f}" for value in expected]
    assert any(line.startswith("Verdict") for line in lines)
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert results["mean_test_score"].max() == scores["network"]["mean"]


def test_notes_tell_what_makes_scores_misleading(tmp_path, fit, capsys):
    """Copies of rows, lopsided classes and classes of few rows are pointed out."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60)})
    frame["label"] = ["often"] * 54 + ["rare"] * 3 + ["single"] * 3
    pd.concat([frame, frame.head(2)]).to_csv(tmp_path / "t.csv", index=False)

    assert fit(tmp_path / "t.csv", "label") == 0

    out = " ".join(capsys.readouterr().out.split())
    assert "2 rows are copies of others" in out
    assert "% of the rows are 'often'" in out
    assert "class rare, single" in out


def test_wide_tables_do_not_flood_the_screen(tmp_path, fit, capsys):
    """Six columns of a kind are named, the others counted."""
    frame = pd.DataFrame({f"c{i}": [1] * 40 for i in range(50)})
    frame["a"] = np.arange(40.0)
    frame["label"] = ["x", "y"] * 20
    frame.to_csv(tmp_path / "t.csv", index=False)

    fit(tmp_path / "t.csv", "label")

    out = " ".join(capsys.readouterr().out.split())
    assert "constant: c0, c1, c2, c3, c4, c5 and 44 more" in out


def test_failed_networks_are_told(
    tmp_path, fit, mixed_csv, four_candidates, monkeypatch, capsys
):
    """They are counted on the screen and in the summary, and have rows without scores."""
    train = MLPClassifier.fit

    def fit_or_fail(self, X, y):
        if self.n_layers == 4:
            raise TrainingDivergedError("The loss became nan.")
        return train(self, X, y)

    monkeypatch.setattr(MLPClassifier, "fit", fit_or_fail)

    assert fit(mixed_csv, "label") == 0

    n_failed = _summary(tmp_path)["n_failed"]
    assert n_failed > 0
    assert f"4 networks, {n_failed} of them failed" in capsys.readouterr().out
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    failed = results["mean_test_score"].isna()
    assert (results.loc[failed, "n_layers"] == 4).all()
    assert failed.sum() == n_failed


def test_lists_in_cells_are_left_out(tmp_path, fit, capsys):
    """A Parquet file may hold what is neither number nor text."""
    frame = pd.DataFrame({"a": np.arange(40.0), "list": [[i, i] for i in range(40)]})
    frame["label"] = ["x", "y"] * 20
    frame.to_parquet(tmp_path / "t.parquet")

    assert fit(tmp_path / "t.parquet", "label") == 0

    out = " ".join(capsys.readouterr().out.split())
    assert "Left out neither numbers, text nor dates: list" in out
