"""A report as text and as JSON."""

import json

from sk_tune.report import to_json, to_text


def test_the_text_begins_with_the_answer(grid):
    """Then come scores, findings, the best candidates and the ledger."""
    text = to_text(grid)

    head, answer = text.split("\n\n")[:2]
    assert head == "GridSearchCV over StandardScaler → MLPClassifier"
    assert answer.startswith(
        f"The best of 6 candidates is row {grid.best_index_} of cv_results_."
    )
    assert "best, corrected" in text
    assert "epochs trained" in text
    assert max(map(len, answer.splitlines())) <= 88


def test_json_has_the_results_in_full(hyperband):
    """A program reads the same numbers that the search has."""
    content = json.loads(to_json(hyperband))

    scores = [row["score"] for row in content["candidates"]]
    assert scores == hyperband.cv_results_["mean_test_score"].tolist()
    assert content["best"]["row"] == hyperband.best_index_
    assert content["corrected"]["score"] == hyperband.corrected_score_.score
    assert content["ledger"]["epochs_trained"] == hyperband.ledger_.epochs_trained
    assert len(content["curves"]["train_loss"]) == 3


def test_what_json_lacks_is_null_or_text(hostile, grid):
    """Objects, failed scores and markup."""
    content = json.loads(to_json(hostile))
    shown = [row["params"]["scale"] for row in content["candidates"]]
    assert shown[0] == "StandardScaler()"

    failed = [row for row in json.loads(to_json(grid))["candidates"] if row["reason"]]
    assert [row["score"] for row in failed] == [None, None]
