# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A tuned ensemble from a table in one call, within a time budget."""

from sk_tune._automl._auto import AutoRegressor
from sk_tune._automl._auto_classifier import AutoClassifier
from sk_tune._automl._chosen import ModelScore
from sk_tune._automl._page import (
    auto_page,
    auto_step,
    failure_texts,
    front_text,
    model_texts,
)
from sk_tune._automl._runner import AutoProgress
from sk_tune._automl._splitting import most_rows, n_set_aside
from sk_tune._automl._summary import format_score, scale_of, threshold_text
