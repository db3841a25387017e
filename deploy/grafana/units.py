"""Numbers as Grafana writes them, in the units that our pages use."""

import math
from collections.abc import Callable

Formatter = Callable[[float, int | None], str]
# Each with the least value from which it is used, in s.
SPANS = [
    (0.0, 1e-9, "ns"), (1e-6, 1e-6, "µs"), (1e-3, 1e-3, "ms"), (1.0, 1.0, "s"), (60.0, 60.0, "min"),
    (3600.0, 3600.0, "hour"), (86400.0, 86400.0, "day"), (604800.0, 604800.0, "week"), (31536000.0, 31536000.0, "year"),
]  # fmt: skip
AGOS = [(60, 1, "second"), (3600, 60, "minute"), (86400, 3600, "hour"), (math.inf, 86400, "day")]


def text_of(value: float, unit: str, decimals: int | None, now_s: float) -> str:
    """A number in a unit of Grafana's; raises KeyError for one that our pages do not use. `now_s` is of Unix time."""
    return _from_now(value, now_s) if unit == "dateTimeFromNow" else UNITS[unit](value, decimals)


def fixed(value: float, decimals: int | None) -> str:
    """A number with so many decimals, or with as many as tell about two digits of it, without zeros at the end."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if decimals is not None:
        return f"{value:.{decimals}f}"
    text = f"{value:.{_decimals(value)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _decimals(value: float) -> int:
    if value == round(value):
        return 0
    exponent = math.floor(math.log10(abs(value)))
    needs_more = abs(value) / 10.0**exponent > 2.25
    return max(0, 1 - exponent + int(needs_more))


def _scaled(base: float, names: list[str]) -> Formatter:
    def text(value: float, decimals: int | None) -> str:
        power = 0 if value == 0 else min(max(math.floor(math.log(abs(value), base)), 0), len(names) - 1)
        return fixed(value / base**power, decimals) + names[power]

    return text


def _seconds(value: float, decimals: int | None) -> str:
    if value == 0:
        return "0 s"
    size, name = [(size, name) for least, size, name in SPANS if abs(value) >= least][-1]
    return f"{fixed(value / size, decimals)} {name}"


def _from_now(value: float, now_s: float) -> str:
    ago_s = max(0.0, now_s - value / 1000)
    size, name = next((size, name) for most, size, name in AGOS if ago_s < most)
    count = max(1, round(ago_s / size))
    return f"{count} {name}{'s' if count > 1 else ''} ago"


UNITS: dict[str, Formatter] = {
    "none": fixed,
    "short": _scaled(1000.0, ["", " K", " Mil", " Bil", " Tri"]),
    "percentunit": lambda value, decimals: fixed(100 * value, decimals) + "%",
    "bytes": _scaled(1024.0, [" B", " KiB", " MiB", " GiB", " TiB"]),
    "s": _seconds,
}
