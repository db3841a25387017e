"""Alerts that fire, as Prometheus tells them. What they say may hold names that strangers gave: it is data."""

import base64
import json
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from ganservice.errors import GanServiceError, PrometheusOutage
from ganservice.model import cut
from ganservice.settings import Settings

# What is no answer of a Prometheus that watches us is not read to its end.
MAX_ANSWER_BYTES = 4_000_000
MAX_ALERTS = 1_000
MAX_TEXT_CHARS = 1_000
PATIENCE_S = 5.0
# What a list of jobs may wait for a word about alerts.
GLANCE_S = 0.3
# Alerts that one line names.
NAMED = 2


@dataclass(frozen=True)
class Alert:
    """One alert that fires: its labels, and what its rule says of it."""

    name: str
    severity: str
    job_id: str | None  # None of one that is about the service
    job_name: str | None
    user: str | None
    since: float | None  # Unix time in s
    summary: str
    description: str  # what to do
    runbook_url: str
    dashboard: str

    @property
    def is_critical(self) -> bool:
        """Whether it cannot wait until morning."""
        return self.severity == "critical"


def firing(settings: Settings, patience_s: float = PATIENCE_S) -> list[Alert]:
    """The alerts of ours that fire, the critical ones first, of these the newest; none where no Prometheus is known.

    Raises PrometheusOutage where it gives no answer within `patience_s`, or one that it should not.
    """
    if settings.prometheus_url is None:
        return []
    url = settings.prometheus_url.get_secret_value()
    answers: queue.SimpleQueue[list[Alert] | PrometheusOutage] = queue.SimpleQueue()

    def look() -> None:
        try:
            answers.put(_read(_ask(url, patience_s)))
        except PrometheusOutage as outage:
            answers.put(outage)

    # Neither a name that is not found nor an answer that trickles has a limit of its own.
    threading.Thread(target=look, daemon=True).start()
    try:
        answer = answers.get(timeout=patience_s)
    except queue.Empty:
        raise PrometheusOutage(f"{_place(url)} gives no answer within {patience_s:g} s") from None
    if isinstance(answer, PrometheusOutage):
        raise answer
    return sorted(answer, key=lambda alert: (not alert.is_critical, -(alert.since or 0), alert.name))


def seen_at_once(settings: Settings) -> list[Alert]:
    """The same for whoever cannot wait: none where it is not known within GLANCE_S."""
    try:
        return firing(settings, GLANCE_S)
    except GanServiceError:
        return []


def alerts_line(alerts: Sequence[Alert]) -> str | None:
    """One line on what fires: how many, the first of them, and where to read on; None where none does."""
    if not alerts:
        return None
    names = [f"{alert.name} on {alert.job_id}" if alert.job_id else alert.name for alert in alerts[:NAMED]]
    if len(alerts) > NAMED:
        names.append(f"{len(alerts) - NAMED:,} more")
    told = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    fire = "alert fires" if len(alerts) == 1 else "alerts fire"
    return f"{len(alerts):,} {fire}: {told} (`ganctl doctor` says more)"


def _place(url: str) -> str:
    """Where a Prometheus is, without what lets anybody in there."""
    return f"Prometheus at {urlsplit(url).netloc.rpartition('@')[2]}"


def _ask(url: str, patience_s: float) -> Any:
    """What a Prometheus knows of its alerts."""
    from http.client import HTTPException  # noqa: PLC0415 # who has no Prometheus needs none of these
    from urllib import request  # noqa: PLC0415
    from urllib.error import HTTPError  # noqa: PLC0415

    from ganservice.proxies import ProxyHandler  # noqa: PLC0415

    class Straight(request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            """Go nowhere else: the password is for this place."""

    parts = urlsplit(url)
    asked = request.Request(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/api/v1/alerts")  # noqa: S310 # http or https, as the settings see to
    if parts.username is not None:
        account = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        asked.add_unredirected_header("Authorization", "Basic " + base64.b64encode(account.encode()).decode())
    try:
        with request.build_opener(ProxyHandler(), Straight()).open(asked, timeout=patience_s) as answer:
            return json.loads(answer.read(MAX_ANSWER_BYTES))
    except HTTPError as error:
        error.close()
        raise PrometheusOutage(f"{_place(url)} answers {error.code} {error.reason}") from None
    except (OSError, HTTPException) as error:
        raise PrometheusOutage(f"{_place(url)} does not answer: {getattr(error, 'reason', None) or error}") from error
    except (ValueError, RecursionError) as error:
        raise PrometheusOutage(f"{_place(url)} says what no Prometheus says") from error


def _read(answer: Any) -> list[Alert]:
    try:
        entries = answer["data"]["alerts"]
        return list(_alerts(entries[:MAX_ALERTS]))
    except (KeyError, TypeError, AttributeError) as error:
        raise PrometheusOutage("Prometheus says of its alerts what this release cannot read") from error


def _alerts(entries: list[dict[str, Any]]) -> Iterator[Alert]:
    for entry in entries:
        labels, notes = entry["labels"], entry["annotations"]
        if entry["state"] != "firing" or labels.get("service") != "ganservice":
            continue
        yield Alert(
            name=_text(labels.get("alertname")),
            severity=_text(labels.get("severity")),
            job_id=_text(labels.get("job_id")) or None,
            job_name=_text(labels.get("name")) or None,
            user=_text(labels.get("user")) or None,
            since=_time(entry.get("activeAt")),
            summary=_text(notes.get("summary")),
            description=_text(notes.get("description")),
            runbook_url=_text(notes.get("runbook_url")),
            dashboard=_text(notes.get("dashboard")),
        )


def _text(value: object) -> str:
    return cut(value, MAX_TEXT_CHARS) if isinstance(value, str) else ""


def _time(text: object) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return None
