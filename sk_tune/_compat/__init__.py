# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The one place that touches private names of other libraries, one module for each.

ADR 0002 lists them and says what becomes slower, or stops, if one of them changes.
"""

# ruff: noqa: F403 - each module says in ``__all__`` what it gives.
from sk_tune._compat.joblib_names import *
from sk_tune._compat.sklearn_names import *
from sk_tune._compat.skorch_names import *
from sk_tune._compat.torch_names import *
