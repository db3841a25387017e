"""What one scrape of the exporter gives."""

from collections.abc import Callable

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from ganservice.exporter import JobCollector
from ganservice.metrics import PREFIX
from ganservice.settings import Settings

Samples = dict[str, dict[tuple[str, ...], float]]
Scrape = Callable[[], Samples]


def scraper(settings: Settings) -> Scrape:
    """A function that gives every sample of an exporter now: by name, then by the values of its labels, the job's id
    first and the others by their names."""
    exporter = JobCollector(settings)

    def samples() -> Samples:
        found: Samples = {}
        for family in text_string_to_metric_families(exporter.text()):
            for sample in family.samples:
                name = sample.name.removeprefix(f"{PREFIX}_")
                labels = sorted(sample.labels, key=lambda label: (label != "job_id", label))
                found.setdefault(name, {})[tuple(sample.labels[label] for label in labels)] = sample.value
        return found

    return samples


def families(settings: Settings) -> dict[str, Metric]:
    """What an exporter that has not looked before gives, by the name of each metric."""
    return {family.name: family for family in text_string_to_metric_families(JobCollector(settings).text())}
