"""What Grafana shows of a panel, in words and colours: pure functions of its JSON and of Prometheus' answers.

As Grafana's own display processor: a value mapping comes before the unit and before thresholds, `noValue` stands for no
value, what has no colour of its own has that of the lowest threshold. A query of a range is reduced to its last value,
however old that is; an instant one has no other.
"""

import math
from dataclasses import dataclass
from typing import Any

from deploy.grafana.frames import Answers, Field, Value, frames_of, legend_of, samples_of
from deploy.grafana.units import text_of
from deploy.grafana.words import COLOUR_NAMES

MOST_TILES = 25
NO_COLOUR = ""
Config = dict[str, Any]


@dataclass(frozen=True)
class Tile:
    """A value as it is shown; the name is that of its series, which not every panel shows."""

    name: str
    words: str
    colour: str

    def __str__(self) -> str:
        return f"{self.words} ({self.colour})" if self.colour else self.words


@dataclass(frozen=True)
class Span:
    """A stretch of a timeline, in Unix time."""

    start_s: float
    end_s: float
    words: str
    colour: str


@dataclass(frozen=True)
class Mark:
    """An event that is drawn on every curve, in Unix time."""

    at_s: float
    title: str
    colour: str


def tiles(panel: dict[str, Any], answers: Answers, now_s: float) -> list[Tile]:
    """The tiles of a stat, or the bars of a gauge: one for each series, or what stands where there is none."""
    calcs = panel["options"]["reduceOptions"]["calcs"]
    if calcs != ["lastNotNull"]:
        raise ValueError(f"{panel['title']}: no reduction but lastNotNull is known, found {calcs}")
    fields = [each for frame in frames_of(panel, answers) for each in frame if each.is_number]
    found = [_shown(each.name, _last(each), config_of(panel, each.name), now_s) for each in fields]
    if not found:
        nothing = _shown("", None, panel["fieldConfig"]["defaults"], now_s)
        found = [nothing if nothing.words else Tile("", "No data", nothing.colour)]
    return found[:MOST_TILES]


def table(panel: dict[str, Any], answers: Answers, now_s: float) -> list[dict[str, Tile]]:
    """The rows of a table, by columns, in its order."""
    frames = frames_of(panel, answers)
    if not frames:
        return []
    columns = {each.name: each for each in frames[0]}
    count = len(frames[0][0].values) if frames[0] else 0
    rows = list(range(count))
    for sort in reversed(panel["options"].get("sortBy", [])):
        if sort["displayName"] in columns:
            values = columns[sort["displayName"]].values
            rows.sort(key=lambda row: _sort_key(values[row]), reverse=sort["desc"])
    return [
        {name: _shown(name, each.values[row], config_of(panel, name), now_s) for name, each in columns.items()}
        for row in rows
    ]


def timeline(panel: dict[str, Any], answers: Answers, now_s: float) -> dict[str, list[Span]]:
    """The stretches of each row of a state timeline: equal values that follow each other are one."""
    rows: dict[str, list[Span]] = {}
    for time, value in frames_of(panel, answers):
        spans: list[Span] = []
        for at, each in zip(*_pairs(time, value), strict=True):
            tile = _shown(value.name, each, config_of(panel, value.name), now_s)
            if spans and spans[-1].words == tile.words:
                spans[-1] = Span(spans[-1].start_s, at, tile.words, tile.colour)
            else:
                spans.append(Span(at, at, tile.words, tile.colour))
        rows.setdefault(value.name, []).extend(spans)
    return rows


def points(panel: dict[str, Any], answers: Answers) -> dict[str, tuple[list[float], list[float]]]:
    """The series of an xychart: each name with its x and its y. A mapping by hand without a frame draws nothing."""
    options, frames, found = panel["options"], frames_of(panel, answers), {}
    if options["mapping"] == "manual":
        for series in options["series"]:
            place = series.get("frame", {}).get("matcher", {}).get("options")
            if place is not None and place < len(frames):
                names = (series["x"]["matcher"]["options"], series["y"]["matcher"]["options"])
                x, y = (next((each for each in frames[place] if each.name == name), None) for name in names)
                if x and y:
                    found[y.name] = _pairs(x, y)
        return found
    for frame in frames:
        numbers = [each for each in frame if each.is_number]
        for each in numbers[1:]:
            found[" ".join(each.labels.values()) or each.name] = _pairs(numbers[0], each)
    return found


def curves(panel: dict[str, Any], answers: Answers) -> dict[str, tuple[list[float], list[float]]]:
    """The curves of a time series: each name with its times and its values."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for frame in frames_of(panel, answers):
        time = frame[0]
        for each in frame[1:]:
            x, y = found.setdefault(each.name, ([], []))
            more_x, more_y = _pairs(time, each)
            x.extend(more_x)
            y.extend(more_y)
    return found


def marks(annotation: dict[str, Any], results: list[dict[str, Any]], step_s: float) -> list[Mark]:
    """The events of an annotation: where a series is above 0, those that follow each other within a step being one."""
    found: list[Mark] = []
    for result in results:
        title = legend_of(annotation["titleFormat"], result["metric"])
        before_s = -math.inf
        for at_s, value in samples_of(result):
            if value > 0:
                if at_s - before_s > step_s:
                    found.append(Mark(at_s, title, COLOUR_NAMES.get(annotation["iconColor"], annotation["iconColor"])))
                before_s = at_s
    return sorted(found, key=lambda mark: mark.at_s)


def config_of(panel: dict[str, Any], name: str) -> Config:
    """How a field is shown, overrides of its name included."""
    config: Config = dict(panel["fieldConfig"]["defaults"])
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"] == {"id": "byName", "options": name}:
            config |= {each["id"]: each["value"] for each in override["properties"]}
    return config


def _pairs(x: Field, y: Field) -> tuple[list[float], list[float]]:
    pairs = [
        (float(one), float(other))
        for one, other in zip(x.values, y.values, strict=True)
        if one is not None and other is not None
    ]
    return [one for one, _ in pairs], [other for _, other in pairs]


def _last(each: Field) -> Value:
    return next((value for value in reversed(each.values) if value is not None), None)


def _sort_key(value: Value) -> tuple[bool, bool, float, str]:
    if isinstance(value, str):
        return False, True, 0.0, value
    return value is None, False, value or 0.0, ""


def _shown(name: str, value: Value, config: Config, now_s: float) -> Tile:
    words, colour = _mapped(value, config.get("mappings", []))
    number = value if isinstance(value, float) else -math.inf
    if words is None and isinstance(value, float):
        words = text_of(value, config["unit"], config.get("decimals"), now_s)
    words = words or str(value or config.get("noValue", ""))
    colour = colour or _scale(number, config)
    return Tile(name, words, COLOUR_NAMES.get(colour, colour))


def _mapped(value: Value, mappings: list[dict[str, Any]]) -> tuple[str | None, str | None]:
    for mapping in mappings:
        options = mapping["options"]
        result = None
        if mapping["type"] == "value" and value is not None:
            result = options.get(_key(value))
        elif mapping["type"] == "special" and value is None and options["match"] in ("null", "null+nan"):
            result = options["result"]
        elif mapping["type"] not in ("value", "special"):
            raise ValueError(f"value mappings of the type {mapping['type']} are not known")
        if result is not None:
            return result.get("text"), result.get("color")
    return None, None


def _key(value: float | str) -> str:
    """A value as it stands as a key of Grafana's mappings, which know no -0 and no 1.0."""
    return value if isinstance(value, str) else str(int(value)) if value == int(value) else repr(value)


def _scale(value: float, config: Config) -> str:
    color = config.get("color", {"mode": "thresholds"})
    if color["mode"] == "fixed":
        return str(color["fixedColor"])
    if color["mode"] != "thresholds":
        return NO_COLOUR  # of a palette
    steps = config["thresholds"]["steps"]
    held = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return str(held[-1]) if held else str(steps[0]["color"])


def panels_of(page: dict[str, Any]) -> list[dict[str, Any]]:
    """All panels of a page that ask something, those of closed rows too."""
    inner = [each for panel in page["panels"] for each in (panel, *panel.get("panels", []))]
    return [panel for panel in inner if "targets" in panel]
