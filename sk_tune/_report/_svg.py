# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Elements, scales and frames of the page's pictures, as inline SVG.

Colours and fonts are classes, so that the page's style sheet decides them for light, dark
and print.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
# Fewer do not show that a scale is logarithmic.
_LEAST_TICKS = 3
# Share of the range that is left free at both ends of an axis.
_MARGIN = 0.04


def element(tag: str, *children: Any, **attributes: Any) -> Markup:
    """Return an element with all text in it escaped, but for Markup.

    Attributes that are None are left out; underscores become hyphens, or are dropped at the
    end.

    >>> element("circle", element("title", "<b>"), cx=1.25, r=3, class_="dot")
    Markup('<circle cx="1.2" r="3" class="dot"><title>&lt;b&gt;</title></circle>')
    """
    written = ""
    for name, value in attributes.items():
        if value is not None:
            is_float = isinstance(value, float | np.floating)
            text = _short(float(value)) if is_float else str(value)
            written += f' {name.rstrip("_").replace("_", "-")}="{escape(text)}"'
    inner = "".join(escape(child) for child in children)
    # Everything that was not Markup is escaped above.
    return Markup(f"<{tag}{written}>{inner}</{tag}>" if inner else f"<{tag}{written}/>")


@dataclass(frozen=True, slots=True)
class AxisScale:
    """An axis from the value `low` at position `first` to `high` at `last`."""

    low: float
    high: float
    first: float
    last: float
    is_log: bool = False
    is_count: bool = False  # only integers get a tick

    def __call__(self, value: float) -> float:
        """Return the position of a value, at the nearer end if it is outside."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = (at - low) / (high - low)
        return self.first + share * (self.last - self.first)

    def ticks(self, n_most: int = 6) -> list[float]:
        """Return about `n_most` round values for ticks, in rising order."""
        if self.is_log:
            return self._log_ticks(n_most)
        rough = (self.high - self.low) / n_most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * s for s in _STEPS if power * s >= rough * (1 - 1e-9))
        if self.is_count:
            step = max(1.0, math.ceil(step))
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        # Rounded, because 3 * 0.1 is 0.30000000000000004.
        digits = max(0, 1 - math.floor(math.log10(step)))
        ticks = [round(k * step, digits) + 0.0 for k in range(first, last + 1)]
        return [t for t in ticks if self.low <= t <= self.high] or [self.low]

    def _log_ticks(self, n_most: int) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = max(1, math.ceil((last - first) / n_most))
        ticks: list[float] = []
        for parts in ((1,), (1, 3), (1, 2, 5)):
            ticks = [
                part * 10.0**power
                for power in range(first, last + 1, every)
                for part in parts
                if self.low <= part * 10.0**power <= self.high
            ]
            if len(ticks) >= _LEAST_TICKS:
                break
        return ticks or [self.low, self.high]


def scale_of(
    values: Iterable[float],
    ends: tuple[float, float],
    *,
    is_log: bool = False,
    is_count: bool = False,
) -> AxisScale:
    """Return a scale between positions that shows all finite values, with a little room."""
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = float(min(finite)), float(max(finite))
    is_log = is_log and low < high
    if is_log:
        factor = (high / low) ** _MARGIN
        low, high = low / factor, high * factor
    else:
        room = (high - low) * _MARGIN
        # Without an epoch 0 next to epoch 1.
        room = min(room, 0.5) if is_count else room
        if low == high:
            room = 0.5 if is_count else abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    return AxisScale(low, high, *ends, is_log=is_log, is_count=is_count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Size and margins of a picture, in units with a text height of about 11."""

    width: int = 440
    height: int = 270
    left: int = 64  # For the title of the axis and labels such as -0.125.
    right: int = 12
    top: int = 12
    bottom: int = 40

    @property
    def x_range(self) -> tuple[float, float]:
        """Positions of the left and right end."""
        return self.left, self.width - self.right

    @property
    def y_range(self) -> tuple[float, float]:
        """Positions of the lower and upper end."""
        return self.height - self.bottom, self.top

    def axes(
        self,
        x: AxisScale | None,
        y: AxisScale | None,
        *,
        x_label: str,
        y_label: str = "",
        n_x: int = 6,
        x_names: Sequence[tuple[float, str]] = (),
    ) -> Markup:
        """Return the axes; without `x`, `x_names` are positions and names of categories."""
        (left, right), (bottom, top) = self.x_range, self.y_range
        parts = [text_at(x_label, (left + right) / 2, self.height - 6, class_="label")]
        marks = [(x(value), _tick_text(value)) for value in x.ticks(n_x)] if x else x_names
        for at, text in marks:
            ends = (bottom, bottom + 4, "axis") if y else (top, bottom, "grid")
            parts += [line(at, ends[0], at, *ends[1:]), text_at(text, at, bottom + 16)]
        if y is not None:
            for value in y.ticks(5):
                at = y(value)
                parts.append(line(left, at, right, at, "grid"))
                parts.append(text_at(_tick_text(value), left - 6, at + 4, "end"))
            parts.append(line(left, bottom, right, bottom, "axis"))
            turned = f"translate(12 {(top + bottom) / 2:.0f}) rotate(-90)"
            parts.append(text_at(y_label, 0, 0, transform=turned, class_="label"))
        return element("g", *parts, class_="axes", aria_hidden="true")


def picture(
    name: str, title: str, frame: Frame, *parts: Any, is_active: bool = True
) -> Markup:
    """Return a picture with a unique `name`; an active one reacts to arrow keys."""
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        *parts,
        viewBox=f"0 0 {frame.width} {frame.height}",
        role="img",
        aria_labelledby=f"{name}-title",
        aria_describedby="keys" if is_active else None,
        tabindex="0" if is_active else None,
        class_="plot" if is_active else "still",
        id=name,
    )


def point(text: str, x: float, y: float, r: float, kind: str) -> Markup:
    """Return a point of the class `kind` that shows its text under the pointer."""
    return element("circle", element("title", text), cx=x, cy=y, r=r, class_=kind)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Return a straight line; `kind` is its class."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def text_at(text: str, x: float, y: float, anchor: str = "middle", **more: Any) -> Markup:
    """Return a text with its middle, start or end at `x`."""
    return element("text", text, x=x, y=y, text_anchor=anchor, **more)


def line_path(x: Iterable[float], y: Iterable[float]) -> str:
    """Return the path through points, with gaps at points that are not finite.

    >>> line_path([0, 1, 2, 3], [5, 6, float("nan"), 7])
    'M0 5L1 6M3 7'
    """
    steps, is_drawing = [], False
    for a, b in zip(x, y, strict=True):
        if not (math.isfinite(a) and math.isfinite(b)):
            is_drawing = False
            continue
        steps.append(f"{'L' if is_drawing else 'M'}{_short(a)} {_short(b)}")
        is_drawing = True
    return "".join(steps)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _tick_text(value: float) -> str:
    text = f"{value:.6g}"
    if "e" in text:
        mantissa, _, power = text.partition("e")
        return f"{mantissa}e{int(power)}"
    return text.replace("-", "\N{MINUS SIGN}")
