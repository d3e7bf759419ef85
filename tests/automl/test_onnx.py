"""Ensembles of networks as one ONNX model."""

import numpy as np
import onnxruntime
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.pipeline import make_pipeline

from sk_tune import AutoClassifier, AutoRegressor, MLPClassifier, TablePreparer
from sk_tune.automl._blend import Blend
from sk_tune.automl._onnx import export_blend
from sk_tune.ensemble import Combination, Member

SMALL = {"time_budget": None, "n_rounds": 0, "cv": 2, "leak_guard": False}
NETWORKS = {**SMALL, "models": ["network"], "random_state": 0}


def _answer(path, rows):
    session = onnxruntime.InferenceSession(path)
    (answer,) = session.run(None, {"X": rows})
    return answer


def _as_told(X, inputs):
    """Return a table as the model takes it."""
    columns = []
    for column in inputs:
        own = X[column["name"]]
        if column["kind"] == "category":
            places = {value: place for place, value in enumerate(column["values"])}
            codes = own.astype(object).astype(str).map(places).fillna(-1)
            own = codes.where(own.notna())
        columns.append(own.to_numpy(dtype=np.float64))
    return np.column_stack(columns)


def test_a_table_is_prepared_inside_the_model(mixed, tmp_path):
    """Categories, missing values, flags and temperature: the probabilities are the same."""
    X, y = mixed
    X = X.drop(columns="since").assign(
        many=[f"c{k % 13}" for k in range(120)], size=X["size"] * 1e3
    )
    auto = AutoClassifier(**NETWORKS).fit(X, y)

    about = auto.to_onnx(tmp_path / "auto.onnx")

    kinds = {column["name"]: column["kind"] for column in about["inputs"]}
    assert kinds["town"] == kinds["many"] == "category"
    assert kinds["size"] == "number"
    assert "constant" not in kinds
    assert about["classes"] == ["no", "yes"]
    assert sum(member["weight"] for member in about["members"]) == pytest.approx(1)
    new = X.head(20).assign(size=lambda x: x["size"] + 0.1)
    new.loc[0, ["town", "many"]] = ["Rom", "never seen"]
    new.loc[1, "size"] = 1e30
    answer = _answer(tmp_path / "auto.onnx", _as_told(new, about["inputs"]))
    np.testing.assert_allclose(answer, auto.predict_proba(new), atol=1e-5)


@pytest.mark.parametrize("embeddings", [False, True])
@pytest.mark.parametrize("numeric", ["smooth_clip", "standard"])
def test_preparations_are_those_of_the_preparer(mixed, tmp_path, embeddings, numeric):
    """Codes for embeddings too; one member has not seen a class."""
    X, y = mixed
    X = X.drop(columns="since").assign(many=[f"c{k % 11}" for k in range(120)])
    X["many"] = X["many"].where(X.index != 7)
    y = np.where((np.arange(120) % 9 == 0) & (y == "yes"), "maybe", y)
    members = [
        Member(
            make_pipeline(
                TablePreparer(embeddings=embeddings, numeric=numeric),
                MLPClassifier(max_epochs=2, width=8, random_state=0),
            ).fit(X[rows], y[rows]),
            0.5,
        )
        for rows in (np.arange(120) < 90, y != "maybe")
    ]
    blend = Blend(
        combination=Combination(members, np.unique(y)),
        temperature=1.7,
        names=("MLP 1", "MLP 2"),
    )

    about = export_blend(blend, tmp_path / "blend.onnx")

    answer = _answer(tmp_path / "blend.onnx", _as_told(X, about["inputs"]))
    np.testing.assert_allclose(answer, blend.predict_proba(X), atol=1e-5)


def test_numbers_are_predicted_in_their_units(tmp_path):
    """An array has its columns numbered."""
    X, y = load_diabetes(return_X_y=True)
    auto = AutoRegressor(**NETWORKS).fit(X[:200], y[:200])

    about = auto.to_onnx(tmp_path / "auto.onnx")

    names = [column["name"] for column in about["inputs"]]
    assert names == [str(k) for k in range(10)]
    answer = _answer(tmp_path / "auto.onnx", X[200:])
    np.testing.assert_allclose(answer[:, 0], auto.predict(X[200:]), rtol=1e-5)


def test_images_keep_their_shape(tmp_path):
    """They are scaled inside."""
    X, y = load_digits(return_X_y=True)
    X = X.reshape(-1, 1, 8, 8)
    auto = AutoClassifier(**NETWORKS).fit(X[:200], y[:200])

    about = auto.to_onnx(tmp_path / "auto.onnx")

    assert about["inputs"] == []
    answer = _answer(tmp_path / "auto.onnx", X[200:300])
    np.testing.assert_allclose(answer, auto.predict_proba(X[200:300]), atol=1e-5)


def test_members_that_cannot_be_written_are_named(mixed, tmp_path):
    """With what to do instead; the networks alone can be."""
    X, y = mixed
    without = X.drop(columns="since")
    auto = AutoClassifier(**{**NETWORKS, "models": ["linear"]}).fit(without, y)
    with pytest.raises(TypeError, match="'linear .*LogisticRegression.*networks alone"):
        auto.to_onnx(tmp_path / "auto.onnx")
    with pytest.raises(ValueError, match="network among the models"):
        auto.to_onnx(tmp_path / "auto.onnx", networks_only=True)
    dated = AutoClassifier(**NETWORKS).fit(X, y)
    with pytest.raises(TypeError, match="'MLP .*columns of dates, since. Keep the"):
        dated.to_onnx(tmp_path / "auto.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_networks_alone_have_weights_of_their_own(mixed, tmp_path):
    """They are what the score of "networks" is of."""
    X, y = mixed
    X = X.drop(columns="since")
    auto = AutoClassifier(**{**NETWORKS, "models": ["linear", "network"]}).fit(X, y)

    about = auto.to_onnx(tmp_path / "auto.onnx", networks_only=True)

    answer = _answer(tmp_path / "auto.onnx", _as_told(X, about["inputs"]))
    expected = auto.network_ensemble_.predict_proba(X)
    np.testing.assert_allclose(answer, expected, atol=1e-5)
