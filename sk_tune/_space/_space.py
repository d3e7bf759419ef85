# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A set of candidates as a tree: a group of parameters, some of which choose other groups.

Each parameter of the tree is a *column* of the matrix that models learn from.  Where a
candidate lacks a parameter, its column is inactive and holds one fixed code, so that it
does not distinguish such candidates.

Notation: N candidates, D columns.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.random import RandomState
from sklearn.utils.random import sample_without_replacement

from sk_tune._space._dimensions import Codes, Dimension
from sk_tune._types import Bools
from sk_tune.exceptions import SpaceError


class Choice:
    """Values of a parameter, each with dependent parameters of its own.

    Parameters
    ----------
    options : dict or iterable of (value, dict) pairs
        The values, each with the space of its dependent parameters, which may be empty.
        Pairs allow values that cannot be keys of a dict.

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
        # An iterator can be read only once.
        self.options = options if isinstance(options, Mapping) else list(options)

    def pairs(self) -> list[Any]:
        """Return the options, unchecked.

        Returns
        -------
        list of (value, dict) pairs
            In the order of `options`.
        """
        options = self.options
        return list(options.items() if isinstance(options, Mapping) else options)

    def __repr__(self) -> str:
        return f"Choice({', '.join(repr(pair[0]) for pair in self.pairs())})"


Candidate = dict[str, Any]
# A choice between groups that is not a parameter is named None.
Drawn = dict[str | None, Any]

# Candidates with a smaller difference of codes are equal.
_N_DIGITS = 9

# Below this size scikit-learn draws indices without replacement.
_INDEX_END = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Node:
    """A parameter and the groups of parameters that depend on its values."""

    name: str | None  # None for a choice that is not a parameter
    dimension: Dimension
    groups: tuple["Group", ...] = ()  # for each value, or empty

    @property
    def n_points(self) -> int | None:
        if not self.groups:
            return self.dimension.n_points
        return _total([group.n_points for group in self.groups], sum)


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that exist together, sorted by name."""

    nodes: tuple[Node, ...]

    @property
    def n_points(self) -> int | None:
        """Number of distinct settings; None if infinite."""
        return _total([node.n_points for node in self.nodes], math.prod)

    def columns(
        self, parent: int | None = None, parent_value: int = 0, start: int = 0
    ) -> list["Column"]:
        """Return the columns of all nodes and descendants, numbered from `start`."""
        columns: list[Column] = []
        for node in self.nodes:
            place = start + len(columns)
            columns.append(Column(node.name, node.dimension, parent, parent_value))
            for value, group in enumerate(node.groups):
                columns += group.columns(place, value, start + len(columns))
        return columns

    def draw(self, rng: RandomState) -> Drawn:
        """Return all parameters, set at random."""
        params: Drawn = {}
        for node in self.nodes:
            if node.groups:
                index = int(rng.randint(len(node.groups)))
                params[node.name] = node.dimension.at(index)
                params |= node.groups[index].draw(rng)
            else:
                params[node.name] = node.dimension.sample(rng)
        return params

    def at(self, index: int) -> Drawn:
        """Return the settings of all parameters at an index of the listing."""
        params: Drawn = {}
        # The last name varies fastest, as in scikit-learn's ParameterGrid.
        for node in reversed(self.nodes):
            index, offset = divmod(index, node.n_points or 1)
            if not node.groups:
                params[node.name] = node.dimension.at(offset)
            for value, group in enumerate(node.groups):
                n_points = group.n_points or 1
                if offset < n_points:
                    params |= {node.name: node.dimension.at(value), **group.at(offset)}
                    break
                offset -= n_points
        return params

    def encode(self, params: Candidate) -> list[float]:
        """Remove the group's parameters from `params`; return the codes of its columns."""
        codes: list[float] = []
        for node in self.nodes:
            if node.name is None:
                codes += _encode_unnamed(node, params)
                continue
            if node.name not in params:
                raise SpaceError(f"A candidate must set {node.name!r}. It is missing.")
            value = params.pop(node.name)
            try:
                code = node.dimension.encode(value)
            except LookupError:
                raise SpaceError(
                    f"The value of {node.name!r} must be in the space. "
                    f"Got {value!r} instead."
                ) from None
            codes.append(code)
            for index, group in enumerate(node.groups):
                active = index == int(code)
                codes += group.encode(params) if active else _neutral(group)
        return codes


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the matrix that models learn from."""

    name: str | None  # None for a choice that is not a parameter
    dimension: Dimension
    parent: int | None  # column of the choice that the parameter depends on
    parent_value: int  # index of the value for which it is active

    @property
    def neutral(self) -> float:
        """Code of an inactive parameter."""
        return 0.0 if self.dimension.n_categories else 0.5


class Space:
    """The candidates of a search, at random or as rows of numbers.

    Searches make it from their parameters and pass it to their sampler.

    Parameters
    ----------
    root : Group
        Tree of parameters.
    n_iters : tuple of int or None, default=(None,)
        Number of candidates for each dict of the space.

    Attributes
    ----------
    names : list of str
        All parameters, sorted; a candidate may lack some.
    n_points : int or None
        Number of candidates; None if infinite.
    is_listed : bool
        Whether all candidates are equally likely, so that each can be drawn once.
    columns : tuple of Column
        Columns of the matrix of numbers; a parent is left of its children.

    See Also
    --------
    Sampler : Proposes candidates of a space.

    Examples
    --------
    >>> from sk_tune.sampler import RandomSampler
    >>> space = RandomSampler({"C": [1, 10], "kernel": ["rbf", "linear"]}).space
    >>> space.names, space.n_points
    (['C', 'kernel'], 4)
    >>> codes = space.encode([{"C": 10, "kernel": "rbf"}])
    >>> codes.tolist(), space.decode(codes)
    ([[0.75, 0.0]], [{'C': 10, 'kernel': 'rbf'}])
    """

    def __init__(self, root: Group, n_iters: tuple[int | None, ...] = (None,)) -> None:
        self.root = root
        self.n_iters = n_iters
        self.n_points = root.n_points
        self.columns = tuple(root.columns())
        self.names = sorted({c.name for c in self.columns if c.name is not None})
        self.is_listed = all(column.dimension.is_listed for column in self.columns)

    def __repr__(self) -> str:
        return f"Space({', '.join(self.names)})"

    def parts(self) -> list[tuple["Space", int | None]]:
        """Return a space for each of the original dicts, with its number of candidates."""
        nodes = self.root.nodes
        if not nodes or nodes[0].name is not None:
            return [(self, self.n_iters[0])]
        return [
            (Space(group, (n_iter,)), n_iter)
            for group, n_iter in zip(nodes[0].groups, self.n_iters, strict=True)
        ]

    def sample(
        self, n: int, rng: RandomState, drawn: set[int] | None = None
    ) -> list[Candidate]:
        """Return random candidates, equal to ``ParameterSampler``'s if possible.

        Parameters
        ----------
        n : int
            Number of candidates.
        rng : RandomState
            Source of random numbers.
        drawn : set of int or None, default=None
            Indices of candidates to omit if all parameters are listed; extended in place.

        Returns
        -------
        list of dict
            If all parameters are listed, distinct candidates, at most `n_points`; otherwise
            independent candidates.
        """
        if self.is_listed:
            drawn = set() if drawn is None else drawn
            indices = _draw_indices(self.n_points or 0, n, rng, drawn)
            candidates = [self.root.at(index) for index in indices]
        else:
            candidates = [self.root.draw(rng) for _ in range(n)]
        return [
            {name: params[name] for name in self.names if name in params}
            for params in candidates
        ]

    def candidate_of(self, params: Mapping[str, Any]) -> Candidate | None:
        """Return the candidate that an estimator's parameters make.

        Parameters
        ----------
        params : mapping of str to object
            Values by name, for example from ``get_params``; others are left out.

        Returns
        -------
        dict or None
            None if the space lacks one of the values.
        """
        if not all(column.dimension.has_codes for column in self.columns):
            return None
        for space, _ in self.parts():
            unused = dict(params)
            try:
                space.root.encode(unused)
            except SpaceError:
                continue
            return {name: params[name] for name in space.names if name not in unused}
        return None

    def encode(self, candidates: Sequence[Mapping[str, Any]]) -> Codes:
        """Return candidates as numbers.

        Parameters
        ----------
        candidates : sequence of dict
            Candidates of the space.

        Returns
        -------
        ndarray of shape (n_candidates, n_columns)
            Indices of categories, and numbers in [0, 1] for other parameters; a fixed
            number for parameters that a candidate lacks.

        Raises
        ------
        SpaceError
            If a parameter is missing or unknown, or has an unknown value.
        """
        codes = np.empty((len(candidates), len(self.columns)))
        for row, candidate in enumerate(candidates):
            params = dict(candidate)
            codes[row] = self.root.encode(params)
            if params:
                raise SpaceError(
                    "A candidate must set parameters of the space only. "
                    f"Got {sorted(params)} as well."
                )
        return codes

    def decode(self, codes: Codes) -> list[Candidate]:
        """Return the candidates of rows of numbers.

        Parameters
        ----------
        codes : ndarray of shape (n_candidates, n_columns)
            Numbers as from ``encode``.

        Returns
        -------
        list of dict
            Candidates with the original values, and Python numbers for numpy's.
        """
        active = self.active(codes)
        return [
            {
                column.name: column.dimension.decode(code)
                for column, code, is_active in zip(self.columns, row, mask, strict=True)
                if is_active and column.name is not None
            }
            for row, mask in zip(codes, active, strict=True)
        ]

    def random_codes(self, n: int, rng: RandomState) -> Codes:
        """Return codes (n, D) of random candidates, not necessarily distinct."""
        return self.from_unit(rng.uniform(size=(n, len(self.columns))))

    def from_unit(self, unit: Codes) -> Codes:
        """Map points (N, D) of the unit cube to codes, evenly or by value weights."""
        codes = np.empty_like(unit)
        for j, column in enumerate(self.columns):
            codes[:, j] = column.dimension.spread(unit[:, j])
        return self.snap(codes)

    def snap(self, codes: Codes) -> Codes:
        """Map any numbers (N, D) to the codes of `encode` for their candidates."""
        snapped = np.empty_like(codes)
        for j, column in enumerate(self.columns):
            snapped[:, j] = column.dimension.snap(codes[:, j])
        neutral = np.array([column.neutral for column in self.columns])
        return np.where(self.active(snapped), snapped, neutral)

    def active(self, codes: Codes) -> Bools:
        """Return a mask, (N, D), of the parameters that each candidate has."""
        active = np.ones(codes.shape, dtype=bool)
        for j, column in enumerate(self.columns):
            if column.parent is not None:
                chosen = codes[:, column.parent].astype(int) == column.parent_value
                active[:, j] = active[:, column.parent] & chosen
        return active

    def keys(self, codes: Codes) -> list[bytes]:
        """Return hashable keys, equal for equal candidates."""
        # Adding zero turns -0.0 into 0.0.
        return [row.tobytes() for row in np.round(codes, _N_DIGITS) + 0.0]


def _encode_unnamed(node: Node, params: Candidate) -> list[float]:
    """Encode by the first group with exactly these parameters."""
    error = None
    for index, group in enumerate(node.groups):
        remaining = dict(params)
        try:
            codes = group.encode(remaining)
        except SpaceError as reason:
            error = error or reason
            continue
        if remaining:
            continue
        params.clear()
        parts = [_neutral(other) for other in node.groups]
        parts[index] = codes
        return [float(index), *(code for part in parts for code in part)]
    raise error or SpaceError(
        "A candidate must set the parameters of one dict of the space. "
        f"Got {sorted(params)} instead."
    )


def _neutral(group: Group) -> list[float]:
    return [column.neutral for column in group.columns()]


def _total(counts: list[int | None], combine: Any) -> int | None:
    return None if None in counts else combine(counts)


def _draw_indices(
    n_points: int, n: int, rng: RandomState, drawn: set[int]
) -> Sequence[int]:
    """Draw up to n indices below n_points that are not in `drawn`, and add them to it."""
    n = min(n, n_points - len(drawn))
    if not drawn and n_points <= _INDEX_END:
        sampled = sample_without_replacement(n_points, n, random_state=rng)
        indices: list[int] = sampled.tolist()
    elif n_points <= 4 * (len(drawn) + n):
        remaining = [index for index in range(n_points) if index not in drawn]
        indices = [remaining[place] for place in rng.permutation(len(remaining))[:n]]
    else:
        # Most draws are new, so that repeats can be discarded.  numpy's integers end at 64
        # bits; a hundred parameters have more combinations.
        source = Random(int(rng.randint(2**31)))
        chosen: dict[int, None] = {}
        while len(chosen) < n:
            index = source.randrange(n_points)
            if index not in drawn:
                chosen[index] = None
        indices = list(chosen)
    drawn.update(indices)
    return indices
