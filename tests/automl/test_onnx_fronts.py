"""What is in front of a model, as a module."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import Normalizer

from sk_tune.automl._onnx_columns import front_of
from sk_tune.prepare import TablePreparer


@pytest.mark.parametrize("numeric", ["smooth_clip", "standard", "quantile", None])
def test_a_table_is_prepared_as_by_the_preparer(numeric):
    """Numbers and flags, with missing ones and some that no training row had."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=200), rng.exponential(size=200) * 1e6])
    X = np.column_stack([X, rng.integers(0, 2, 200)])
    X[::7, 0] = X[::9, 2] = np.nan
    prepare = TablePreparer(numeric=numeric).fit(X)
    columns = {name: ("number", []) for name, _ in prepare.kinds_}
    new = np.concatenate([X, 3 * X, X + 1e-9])

    found = front_of([prepare], columns, "a member")(torch.from_numpy(new)).numpy()

    np.testing.assert_allclose(found, prepare.transform(new), rtol=1e-8, atol=1e-8)


def test_what_cannot_be_written_is_named():
    """With the member that has it."""
    with pytest.raises(TypeError, match="'a member' with a Normalizer. Keep the model"):
        front_of([Normalizer()], None, "a member")
