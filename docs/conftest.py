# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Examples of the pages run without a network."""

import pytest
from sklearn.datasets.tests import test_openml


@pytest.fixture(autouse=True)
def _titanic_without_network(monkeypatch, tmp_path):
    """Let ``fetch_openml`` read the copy of the Titanic table in scikit-learn's tests."""
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    test_openml._monkey_patch_webbased_functions(monkeypatch, 40945, gzip_response=False)
