"""Families: the samples of one scrape by metric, as text in the format of Prometheus.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache

from ganservice.broker import WAIT_BOUNDS_S
from ganservice.metrics import METRICS, Kind, Metric
from ganservice.plain_text import plain_line

# Labels whose text is kept: each job's id stands in all its samples.
KEPT_LABELS = 20_000


class Families:
    """The samples of one scrape, by metric."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(self, name: str, value: float | None, *labels: str) -> None:
        """A sample; none of what was not measured. Labels are plain text: some of them are names that users gave."""
        if value is None:
            return
        metric = METRICS[name]
        self._add_line(metric.full_name, zip(metric.labels, labels, strict=True), value, name)

    def add_states(self, name: str, states: Iterable[str], current: str, *labels: str) -> None:
        """A sample for each state, 1 for the one that holds."""
        for state in states:
            self.add(name, float(state == current), *labels, state)

    def add_histogram(self, name: str, counts: dict[str, int], sum_s: float) -> None:
        """Spans by the class they fell into, named by its upper end."""
        full_name, so_far = METRICS[name].full_name, 0
        for bound, label in [*((f"{bound:g}", f"{float(bound)}") for bound in WAIT_BOUNDS_S), ("inf", "+Inf")]:
            so_far += counts.get(bound, 0)
            self._add_line(f"{full_name}_bucket", [("le", label)], so_far, name)
        self._add_line(f"{full_name}_count", (), so_far, name)
        self._add_line(f"{full_name}_sum", (), sum_s, name)

    def add_texts(self, texts: Mapping[str, str]) -> None:
        """What the `texts` of others give."""
        for name, text in texts.items():
            self._lines.setdefault(name, []).append(text)

    @property
    def texts(self) -> dict[str, str]:
        """The samples of each metric, a line for each."""
        return {name: "".join(lines) for name, lines in self._lines.items()}

    @property
    def text(self) -> str:
        """All of it, as Prometheus is answered."""
        return "".join(_head(METRICS[name]) + text for name, text in self.texts.items())

    def _add_line(self, full_name: str, labels: Iterable[tuple[str, str]], value: float, name: str) -> None:
        told, number = ",".join(_label(*label) for label in labels), _number(value)
        line = f"{full_name}{{{told}}} {number}\n" if told else f"{full_name} {number}\n"
        self._lines.setdefault(name, []).append(line)


@lru_cache(KEPT_LABELS)
def _label(name: str, value: str) -> str:
    escaped = plain_line(value).replace("\\", r"\\").replace('"', r"\"")
    return f'{name}="{escaped}"'


def _number(value: float) -> str:
    """As Prometheus reads it."""
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else f"{value:+}".title()


def _head(metric: Metric) -> str:
    meaning = metric.text.replace("\\", r"\\")
    kind = metric.kind if metric.kind in (Kind.COUNTER, Kind.HISTOGRAM) else Kind.GAUGE
    return f"# HELP {metric.full_name} {meaning}\n# TYPE {metric.full_name} {kind}\n"
