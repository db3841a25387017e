"""Answers of Prometheus as Grafana's frames of fields, and the transformations of frames that our pages use."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Answers = dict[str, list[dict[str, Any]]]  # the results of each query of a panel, by its letter
Value = float | str | None


@dataclass(frozen=True)
class Field:
    """A column: its name, its values, and the labels of the series that it is."""

    name: str
    values: list[Value]
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers of ours: neither time nor labels."""
        return self.name != "Time" and all(isinstance(value, float | None) for value in self.values)


Frame = list[Field]


def frames_of(panel: dict[str, Any], answers: Answers) -> list[Frame]:
    """What a panel is given: a frame for each series or, of queries for tables, for each query; then transformed."""
    asked = [target for target in panel["targets"] if answers[target["refId"]]]
    tables = [target for target in asked if target.get("format") == "table"]
    frames: list[Frame] = []
    for target in asked:
        results = answers[target["refId"]]
        if target in tables:
            frames.append(_table(results, f"Value #{target['refId']}" if len(tables) > 1 else "Value"))
        else:
            frames += [_series(result, target["legendFormat"]) for result in results]
    for transformation in panel["transformations"]:
        frames = TRANSFORMATIONS[transformation["id"]](frames, transformation["options"])
    return frames


def samples_of(result: dict[str, Any]) -> list[tuple[float, float]]:
    """The times and values of a series."""
    samples = result["values"] if "values" in result else [result["value"]]
    return [(float(at), float(value)) for at, value in samples]


def legend_of(text: str, labels: dict[str, str]) -> str:
    """A text in which `{{label}}` stands for the value of a label."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda label: labels.get(label[1], ""), text)


def _series(result: dict[str, Any], legend: str) -> Frame:
    labels = result["metric"]
    name = legend_of(legend, labels)
    samples = samples_of(result)
    return [Field("Time", [at for at, _ in samples]), Field(name, [value for _, value in samples], labels)]


def _table(results: list[dict[str, Any]], name: str) -> Frame:
    rows = [(at, result["metric"], value) for result in results for at, value in samples_of(result)]
    rows.sort(key=lambda row: row[0])
    labels = sorted({label for _, metric, _ in rows for label in metric})
    return [
        Field("Time", [at for at, _, _ in rows]),
        *(Field(label, [metric.get(label, "") for _, metric, _ in rows]) for label in labels),
        Field(name, [value for _, _, value in rows]),
    ]


# Transformations


def _named(frame: Frame, name: str) -> Field | None:
    return next((each for each in frame if each.name == name), None)


def _rows(frame: Frame) -> list[dict[str, Value]]:
    return [{each.name: each.values[row] for each in frame} for row in range(len(frame[0].values) if frame else 0)]


def _frame(rows: Sequence[dict[str, Value]]) -> Frame:
    return [
        Field(name, [row.get(name) for row in rows]) for name in dict.fromkeys(name for row in rows for name in row)
    ]


def _join(frames: list[Frame], options: dict[str, Any]) -> list[Frame]:
    """All frames side by side, a row for each value of one field; inner: of those values that every frame has."""
    by = options["byField"]
    frames = [frame for frame in frames if _named(frame, by)]
    rows: dict[Value, dict[str, Value]] = {}
    for frame in frames:
        for row in _rows(frame):
            known = rows.setdefault(row[by], {})
            known |= {name: value for name, value in row.items() if name not in known}
    if options["mode"] == "inner":
        shared = set.intersection(*({row[by] for row in _rows(frame)} for frame in frames)) if frames else set()
        rows = {key: rows[key] for key in sorted(shared, key=str) if key in rows}
    return [_frame(list(rows.values()))] if rows else []


def _merge(frames: list[Frame], options: dict[str, Any]) -> list[Frame]:  # noqa: ARG001 # as every transformation
    """One table of all, rows that agree in all fields that they share made one."""
    if not frames:
        return []
    shared = [name for name in (each.name for each in frames[0]) if all(_named(frame, name) for frame in frames)]
    rows: dict[tuple[Value, ...], dict[str, Value]] = {}
    for row in (row for frame in frames for row in _rows(frame)):
        rows.setdefault(tuple(row[name] for name in shared), {}).update(row)
    return [_frame(list(rows.values()))]


def _organize(frames: list[Frame], options: dict[str, Any]) -> list[Frame]:
    names, order = options.get("renameByName", {}), options.get("indexByName", {})
    hidden = {name for name, is_hidden in options.get("excludeByName", {}).items() if is_hidden}
    return [
        [
            replace(each, name=names.get(each.name, each.name))
            for each in sorted(frame, key=lambda each: order.get(each.name, len(order)))
            if each.name not in hidden
        ]
        for frame in frames
    ]


def _filter(frames: list[Frame], options: dict[str, Any]) -> list[Frame]:
    pattern = re.compile(options["include"]["pattern"])
    return [[each for each in frame if pattern.search(each.name)] for frame in frames]


def _partition(frames: list[Frame], options: dict[str, Any]) -> list[Frame]:
    """A frame for each value of some fields, which become labels."""
    parts: dict[tuple[Value, ...], list[dict[str, Value]]] = {}
    keys = options["fields"]
    for row in _rows(frames[0]) if frames else []:
        parts.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [
        [
            replace(each, labels={name: str(value) for name, value in zip(keys, key, strict=True)})
            for each in _frame(rows)
            if each.name not in keys
        ]
        for key, rows in parts.items()
    ]


TRANSFORMATIONS = {
    "joinByField": _join,
    "merge": _merge,
    "organize": _organize,
    "filterFieldsByName": _filter,
    "partitionByValues": _partition,
}
