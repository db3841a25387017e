"""Line charts as inline SVG: no script, no fonts, no network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ganservice.markup import Markup, element, markup

WIDTH, HEIGHT = 480, 210
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 30
# More points than this add bytes and show nothing.
MAX_POINTS = 400
# Where there are no more points than this, each is marked.
MARKED_POINTS = 40


@dataclass(frozen=True)
class Line:
    """Points of one curve, by rising x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Scale:
    """How the y axis is laid out."""

    level: float | None = None  # a value worth comparing with, drawn as a line
    limits: tuple[float, float | None] | None = None  # shown, whatever the values
    is_log: bool = False  # level and limits must be positive; values that are not are left out


def line_chart(lines: Sequence[Line], x_label: str, scale: Scale | None = None, joins: Sequence[float] = ()) -> Markup:
    """Draw lines as an <svg>, with vertical lines at `joins`; "" without a point."""
    scale = scale or Scale()
    lines = [Line(line.name, _thin(line.points, scale.is_log)) for line in lines if line.points]
    points = [point for line in lines for point in line.points]
    if not points:
        return Markup()
    x_ticks = _ticks(min(x for x, _ in points), max(x for x, _ in points))
    heights = [y for _, y in points] + [y for y in (scale.level, *(scale.limits or ())) if y is not None]
    y_ticks = (_log_ticks if scale.is_log else _ticks)(min(heights), max(heights))
    frame = _Frame(min(x for x, _ in points), max(x for x, _ in points), y_ticks[0], y_ticks[-1], scale.is_log)
    parts = [
        *(_grid_line(frame, *tick) for tick in zip(y_ticks, _labels(y_ticks), strict=True)),
        *(_x_tick(frame, *tick) for tick in zip(x_ticks, _labels(x_ticks), strict=True) if frame.shows(tick[0])),
        *(_vertical(frame, join) for join in joins if frame.shows(join)),
        *([_level(frame, scale.level)] if scale.level is not None else []),
        *(_curve(frame, line, number) for number, line in enumerate(lines)),
        element("text", x_label, class_="axis", x=WIDTH - RIGHT, y=HEIGHT - 2, text_anchor="end"),
    ]
    names = ", ".join(line.name for line in lines)
    return element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=f"{names} by {x_label}")


@dataclass(frozen=True)
class _Frame:
    """The ranges that the plot shows, and where their values lie in it."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    is_log: bool

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.x_low) / ((self.x_high - self.x_low) or 1)

    def shows(self, x: float) -> bool:
        return self.x_low <= x <= self.x_high

    def y(self, value: float) -> float:
        low, high = self.y_low, self.y_high
        if self.is_log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / ((high - low) or 1)


def _thin(points: Sequence[tuple[float, float]], is_log: bool) -> list[tuple[float, float]]:
    drawable = [(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not is_log)]
    every = -(-len(drawable) // MAX_POINTS) or 1
    return [*drawable[:-1:every], *drawable[-1:]]


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers from just below `low` to just above `high`."""
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        margin = abs(high) / 10 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * number for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers from just below `low` to just above `high`, both positive: 1, 2, 5, 10, or powers of ten alone."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    if len(decades) > 3:
        step = -(-len(decades) // 8)
        exponents = [*decades[:-1:step], decades[-1]]
        return [10.0**exponent for exponent in exponents]
    ticks = [factor * 10.0**exponent for exponent in range(decades[0] - 1, decades[-1] + 2) for factor in (1, 2, 5)]
    first = max(place for place, tick in enumerate(ticks) if tick <= low)
    last = min(place for place, tick in enumerate(ticks) if tick >= high and place > first)
    return ticks[first : last + 1]


def short_number(value: float, digits: int = 4) -> str:
    """A number as an axis shows it: 1.5M, 20k, 0.25."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.{digits}g}{letter}"
    return f"{value:.{digits}g}"


def _labels(ticks: Sequence[float]) -> list[str]:
    """Ticks in words, in as few digits, four or more, as tell them apart."""
    tries = ([short_number(tick, digits) for tick in ticks] for digits in range(4, 17))
    return next((labels for labels in tries if len(set(labels)) == len(ticks)), list(map(short_number, ticks)))


def _grid_line(frame: _Frame, tick: float, label: str) -> Markup:
    y = f"{frame.y(tick):.1f}"
    text = element("text", label, class_="axis", x=LEFT - 6, y=y, dy=4, text_anchor="end")
    return markup(_line("grid", LEFT, WIDTH - RIGHT, y, y), text)


def _x_tick(frame: _Frame, tick: float, label: str) -> Markup:
    x = f"{frame.x(tick):.1f}"
    return element("text", label, class_="axis", x=x, y=HEIGHT - BOTTOM + 14, text_anchor="middle")


def _vertical(frame: _Frame, at: float) -> Markup:
    x = f"{frame.x(at):.1f}"
    return _line("join", x, x, TOP, HEIGHT - BOTTOM)


def _level(frame: _Frame, at: float) -> Markup:
    y = f"{frame.y(at):.1f}"
    return _line("level", LEFT, WIDTH - RIGHT, y, y)


def _line(kind: str, x1: object, x2: object, y1: object, y2: object) -> Markup:
    return element("line", class_=kind, x1=x1, x2=x2, y1=y1, y2=y2)


def _curve(frame: _Frame, line: Line, number: int) -> Markup:
    path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in line.points)
    marks = [
        element(
            "circle",
            element("title", f"{line.name}: {y:.5g} at {short_number(x)}"),
            cx=f"{frame.x(x):.1f}",
            cy=f"{frame.y(y):.1f}",
            r="2.5",
        )
        for x, y in line.points
        if len(line.points) <= MARKED_POINTS
    ]
    return element("g", element("polyline", points=path), *marks, class_=f"line-{number}")
