# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How a user says that some parameters exist only for some values of another one."""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Choice"]


class Choice:
    """Values of a parameter, each with the parameters that it brings along.

    Parameters
    ----------
    options : dict or iterable of (value, dict) pairs
        What may be chosen, each with a space of its own, which is empty for a value that
        brings nothing along.  Pairs serve values that cannot be keys of a dict.

    See Also
    --------
    sklearn.model_selection.ParameterGrid : Lists of dicts, which cannot be nested.

    Examples
    --------
    >>> from scipy.stats import uniform
    >>> Choice({"sgd": {"net__momentum": uniform(0, 0.99)}, "adamw": {}})
    Choice('sgd', 'adamw')
    """

    def __init__(
        self, options: Mapping[Any, Mapping[str, Any]] | Iterable[tuple[Any, Any]]
    ) -> None:
        self.options = options

    def pairs(self) -> list[Any]:
        """Return the options as given, unchecked.

        Returns
        -------
        list of (value, dict) pairs
            In the order of `options`.
        """
        if isinstance(self.options, Mapping):
            return list(self.options.items())
        # Kept, because an iterator can be read only once.
        self.options = list(self.options)
        return list(self.options)

    def __repr__(self) -> str:
        return f"Choice({', '.join(repr(pair[0]) for pair in self.pairs())})"
