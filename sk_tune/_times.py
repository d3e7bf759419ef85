# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""When each row was, in a form whose order is that of time."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sk_tune.exceptions import TableError

__all__ = ["as_times"]


def as_times(times: Any) -> npt.NDArray[Any]:
    """Return times that can be sorted.

    Parameters
    ----------
    times : array-like of shape (n_samples,)
        Numbers or dates; text is read as dates that begin with the year.

    Returns
    -------
    ndarray of shape (n_samples,)
        Numbers and dates as they are; those of text in UTC.

    Raises
    ------
    TableError
        If one is missing or such text is no date, because sorted as text 12/01/2023 is
        later than 01/15/2024.
    """
    values = np.asarray(times)
    if pd.api.types.infer_dtype(values, skipna=True) == "string":
        dates = pd.to_datetime(
            pd.Series(values), format="ISO8601", errors="coerce", utc=True
        )
        own = dates.dt.tz_localize(None).to_numpy()
    else:
        own = values
    missing = pd.isna(own)
    if missing.any():
        first = int(missing.argmax())
        raise TableError(
            "Times must be numbers or dates, one for each row; dates of text must begin "
            "with the year, such as 2024-03-15 or 2024-03-15 08:30. Got "
            f"{str(values[first])!r} in row {first + 1}."
        )
    return own
