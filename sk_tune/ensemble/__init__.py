# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Several networks as one estimator: from a search's trials, bagged, boosted, stacked."""

__all__: list[str] = []
