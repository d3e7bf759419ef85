# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The last fit of a member, on all rows."""

import math
import time
import warnings
from contextlib import suppress

from sklearn.pipeline import Pipeline

from sk_tune._automl._blend import Trial
from sk_tune._automl._limited_boosting import unfitted
from sk_tune._automl._problem import Problem
from sk_tune._automl._resources import few_threads, fits_within
from sk_tune._automl._runner import ERRORS, Runner
from sk_tune._training import TimeIsUpError, TimeLimit, one_thread, time_limit

# Part of the reserve that refits leave for the column importance and the last check.
_PART_AFTER_REFITS = 0.25
# Most time of a refit, as a multiple of the expected time, unless half of the rest is more.
_MOST_OF_EXPECTED = 3.0


def refitted(trial: Trial, final: Problem, runner: Runner) -> Pipeline | None:
    """Return the model of a trial fitted on all rows of `final`; None without time for it.

    An error is recorded in the failures of the runner.
    """
    expected = runner.share_of_refit * trial.seconds
    seconds = runner.clock.left - _PART_AFTER_REFITS * runner.reserve
    if expected > seconds:
        return None
    # A slow refit must not take the time of all others.
    seconds = min(seconds, max(_MOST_OF_EXPECTED * expected, seconds / 2))
    model = unfitted(trial.models[final.folds_of_refit])
    end = time.monotonic() + seconds
    try:
        with (
            suppress(TimeIsUpError),
            warnings.catch_warnings(action="ignore"),
            fits_within(seconds, end),
            time_limit(TimeLimit(until=end) if math.isfinite(end) else None),
            one_thread(),
            few_threads(final.n_values),
        ):
            model.fit(final.X, final.y, **final.fit_params(model))
            return runner.with_shared_steps(model)
    except ERRORS as error:
        runner.failures[f"{trial.name} on all rows"] = str(error)
    return None
