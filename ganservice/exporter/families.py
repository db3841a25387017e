"""Families: the samples of one scrape, by metric."""

from collections.abc import Iterable, Iterator
from typing import Any

import prometheus_client.core as prometheus

from ganservice.broker import WAIT_BOUNDS_S
from ganservice.metrics import METRICS, PREFIX, Kind
from ganservice.plain_text import plain_line

FAMILIES = {
    Kind.COUNTER: prometheus.CounterMetricFamily,
    Kind.HISTOGRAM: prometheus.HistogramMetricFamily,
}


class Families:
    """The samples of one scrape, by metric."""

    def __init__(self) -> None:
        self._families: dict[str, Any] = {}
        self._plain: dict[str, str] = {}  # a job's id is a label of all its samples

    def add(self, name: str, value: float | None, *labels: str) -> None:
        """A sample; none of what was not measured. Labels are plain text: some of them are names that users gave."""
        if value is not None:
            self._family(name).add_metric([self._as_plain(label) for label in labels], value)

    def add_states(self, name: str, states: Iterable[str], current: str, *labels: str) -> None:
        """A sample for each state, 1 for the one that holds."""
        for state in states:
            self.add(name, float(state == current), *labels, state)

    def add_histogram(self, name: str, counts: dict[str, int], sum_s: float) -> None:
        """Spans by the class they fell into, named by its upper end."""
        so_far, buckets = 0, []
        for bound, label in [*((f"{bound:g}", f"{float(bound)}") for bound in WAIT_BOUNDS_S), ("inf", "+Inf")]:
            so_far += counts.get(bound, 0)
            buckets.append((label, so_far))
        self._family(name).add_metric([], buckets, sum_s)

    def __iter__(self) -> Iterator[prometheus.Metric]:
        return iter(self._families.values())

    def _as_plain(self, label: str) -> str:
        if (plain := self._plain.get(label)) is None:
            plain = self._plain[label] = plain_line(label)
        return plain

    def _family(self, name: str) -> Any:  # each kind of family takes other arguments
        if name not in self._families:
            metric = METRICS[name]
            kind = FAMILIES.get(metric.kind, prometheus.GaugeMetricFamily)
            self._families[name] = kind(f"{PREFIX}_{name}", metric.text, labels=metric.labels)
        return self._families[name]
