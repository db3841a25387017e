"""The page of the whole service: its jobs first, then what fires, then the queue and its machines."""

from typing import Any

from deploy.grafana import page
from deploy.grafana.jobs import (
    EACH_JOB,
    FRECHET,
    PROTOCOL,
    absent,
    health_cases,
    moving,
    pace_cases,
    quality_cases,
    stands_still,
    state_cases,
)
from deploy.grafana.panels import (
    STACKED,
    Panel,
    Steps,
    amount_tile,
    curves,
    override,
    row,
    table,
    words_column,
    words_tile,
)
from deploy.grafana.words import GREEN, GREY, RED, YELLOW, Case, either, mappings, negative, numbered
from ganservice.job import State

LINK = "/d/" + page.JOB + "?var-job=${__data.fields.job_id}"
LIVE = EACH_JOB.state(State.QUEUED, State.RUNNING)
# Where the exporter itself is away, none of the others has anything to show.
SILENT = Case("the exporter tells nothing", RED, "")
# Of a job at the head of the queue, in s.
WAITS: Steps = [(GREEN, None), (YELLOW, 600), (RED, 1800)]
# Of ours: a Prometheus may have alerts of others too.
ALERTS = 'ALERTS{alertstate="firing", service="ganservice"}'
OF_JOBS = 'ALERTS{alertstate="firing", service="ganservice", job_id!=""}'
HOUR = "sum by (reason) (increase(ganservice_{}_total[1h])) > 0"


def head() -> list[Panel]:
    """The tiles."""
    queued = "sum(ganservice_queue_depth)"
    waits = [Case("nobody waits", GREEN, f"{queued} == 0")]
    leads = "max(ganservice_leader_up)"
    count = "max(ganservice_dispatchers_up)"
    # Where there has always been one, nobody misses the other.
    usual = "max(quantile_over_time(0.5, ganservice_dispatchers_up[1d]))"
    dispatchers = [
        Case("none leads", RED, f"{leads} == 0"),
        Case("one is left", YELLOW, f"{leads} == 1 and {count} == 1 and on() {usual} >= 2"),
        Case("one leads, others wait", GREEN, f"{leads} == 1 and {count} > 1"),
        Case("one leads, as always", GREEN, f"{leads} == 1"),
    ]
    servers = [
        Case("Redis is down", RED, "max(ganservice_broker_up) == 0"),
        Case("the store is down", RED, "max(ganservice_store_up) == 0"),
        Case("the queue is paused", YELLOW, "max(ganservice_queue_paused) == 1"),
        Case("Redis and store work", GREEN, "max(ganservice_store_up) == 1"),
        Case("the store is not asked yet", GREY, "max(ganservice_broker_up) == 1"),
    ]
    healths = "ganservice:jobs_by_health"
    training = 'ganservice_job_info{kind="train"}'
    still = EACH_JOB.both(f"({stands_still(EACH_JOB).when})", training)
    running = EACH_JOB.both(EACH_JOB.state(State.RUNNING), training)
    sick = [
        Case("collapsed or diverged", RED, f'sum({healths}{{health=~"collapsed|diverged"}}) > 0'),
        Case("some stand still", RED, f"count({still}) > 0"),
        Case("suspect", YELLOW, f'sum({healths}{{health="suspect"}}) > 0'),
        Case("all that report are well", GREEN, f"sum({healths}) > 0"),
        Case("none reported yet", GREY, f"count({running}) > 0"),
        Case("none trains", GREY, "max(ganservice_broker_up) == 1"),
    ]
    return [
        amount_tile("Running", "Jobs that hold a lease.", 'max(ganservice_jobs{state="running"})', [], "on()",
                    missing=SILENT, unit="none", width=3),
        amount_tile("Queued", "Jobs that wait.", 'max(ganservice_jobs{state="queued"})', [], "on()", missing=SILENT,
                    unit="none", width=3),
        amount_tile("Oldest wait", "How long the job at the head of the queue could have been leased.",
                    f"max(ganservice_queue_oldest_wait_seconds) and on() {queued} > 0", waits, "on()", missing=SILENT,
                    unit="s", decimals=0, steps=WAITS, width=3),
        words_tile("Trainings", "The worst of those that run.", sick, "on()", missing=SILENT, width=3),
        amount_tile("Throughput", "Images a second of all jobs that come forward.", "ganservice:images_per_second:sum",
                    [], "on()", missing=SILENT, decimals=0, width=3),
        words_tile("Dispatchers", "Without one that leads nothing is started.", dispatchers, "on()", missing=SILENT,
                   width=3),
        words_tile("Servers", "Redis, the object store, and whether the queue gives out jobs.", servers, "on()",
                   missing=SILENT, width=3),
        amount_tile("Firing", "Alerts that fire now; below they are listed.",
                    f'count({ALERTS}) or on() 0 * max(up{{job="ganservice"}})', [], "on()",
                    missing=SILENT, unit="none", steps=[(GREEN, None), (RED, 1)], width=3),
    ]  # fmt: skip


def jobs() -> Panel:
    """Every job that runs or waits, with how it stands, and a link to its page."""

    def live(expression: str) -> str:
        return EACH_JOB.both(f"({expression})", LIVE)

    on = EACH_JOB.on
    states, healths, paces = state_cases(EACH_JOB), health_cases(EACH_JOB), pace_cases(EACH_JOB)
    left, qualities = [stands_still(EACH_JOB), *absent(EACH_JOB, "not known yet")], quality_cases(EACH_JOB)
    # Of jobs that are not live there is neither a state nor anything of an attempt: these need not be looked for.
    who = "max by (job_id, name, user, kind) (ganservice_job_info)"
    queries = {
        "who": live(who),
        "state": numbered(states, on),
        "health": live(numbered(healths, on)),
        "done": live(EACH_JOB.now("job_progress_ratio")),
        "time left": either(on, moving(EACH_JOB, "job_left_seconds"), negative(left, on)),
        "quality": live(EACH_JOB.now("job_quality", FRECHET, PROTOCOL)),
        "beside its best": live(numbered(qualities, on)),
        "last report": EACH_JOB.now("job_report_age_seconds"),
        "reports": numbered(paces, on),
        "alerts": live(f"count by (job_id) ({OF_JOBS})"),
        "submitted": live("1000 * " + EACH_JOB.now("job_submitted_timestamp_seconds")),
    }
    columns = ["job_id", "name", "user", "kind", *(column for column in queries if column != "who")]
    found = table(
        "Jobs",
        "All that run and the first that wait; what is wrong comes first. A click leads to the job's page, the heads "
        "of columns filter.",
        queries, columns, sort_by="state", nothing="no job runs and none waits", height=11,
    )  # fmt: skip
    found["fieldConfig"]["defaults"]["custom"]["filterable"] = True
    words_column(found, "state", mappings(states))
    words_column(found, "health", mappings(healths))
    words_column(found, "beside its best", mappings(qualities))
    words_column(found, "reports", mappings(paces))
    override(found, "job_id", links=[{"title": "This job", "url": LINK, "targetBlank": False}])
    gauge = {"type": "gauge", "mode": "basic"}
    override(found, "done", unit="percentunit", decimals=0, custom__cellOptions=gauge, min=0, max=1)
    override(found, "time left", unit="s", decimals=1, mappings=mappings(left, first=-1, step=-1))
    override(found, "last report", unit="s", decimals=0, noValue="-")
    override(found, "quality", noValue="-")
    override(found, "alerts", noValue="-", custom__cellOptions={"type": "color-background", "mode": "basic"},
             thresholds={"mode": "absolute", "steps": [{"color": RED, "value": None}]})  # fmt: skip
    override(found, "submitted", unit="dateTimeFromNow")
    return found


def alerts() -> Panel:
    """What fires, of which job, since when."""
    columns = ["alertname", "severity", "job_id", "name", "user", "since"]
    found = table(
        "Alerts", "All that fire; what to do about each is in docs/operating.md. Click a job for its page.",
        {"since": f"1000 * ALERTS_FOR_STATE and ignoring(alertstate) {ALERTS}"}, columns,
        is_joined=False, sort_by="severity", nothing="nothing fires", height=6, width=16,
    )  # fmt: skip
    severities = {"critical": {"color": RED, "index": 0}, "warning": {"color": YELLOW, "index": 1}}
    words_column(found, "severity", [{"type": "value", "options": severities}])
    override(found, "since", unit="dateTimeFromNow")
    override(found, "job_id", noValue="-", links=[{"title": "This job", "url": LINK, "targetBlank": False}])
    for column in ("name", "user"):
        override(found, column, noValue="-")
    return found


def jobs_and_queue() -> list[Panel]:
    """What the service does, over time."""
    return [
        curves("Throughput", "Images a second of all jobs that come forward, by their last heartbeats.",
               {"images/s": "ganservice:images_per_second:sum"}, min=0),
        curves("Queue by priority", "Jobs that wait.", {"{{priority}}": "ganservice_queue_depth"}, min=0),
        curves("Wait before a lease", "Mean of each quarter of an hour, from when a job could be leased.",
               {"mean": mean("queue_wait_seconds")}, unit="s", min=0,
               nothing="nothing was leased in a quarter of an hour", steps=WAITS),
        curves("Start", "Mean of each quarter of an hour, from a lease to the first step.",
               {"mean": mean("start_seconds")}, unit="s", min=0, nothing="nothing was started in a quarter of an hour"),
        curves("Retries by reason", "Attempts of the last hour that ended and were tried again.",
               {"{{reason}}": HOUR.format("retries")}, min=0, decimals=0, nothing="none in the last hour"),
        curves("Attempts by outcome", "Attempts of the last hour, by how they ended.",
               {"{{reason}}": HOUR.format("outcomes")}, min=0, decimals=0, nothing="none ended in the last hour"),
    ]  # fmt: skip


def mean(histogram: str) -> str:
    """The mean of what fell into a histogram in the last quarter of an hour; nothing where nothing did."""
    sums, counts = (f"increase(ganservice_{histogram}_{part}[15m])" for part in ("sum", "count"))
    return f"{sums} / ({counts} > 0)"


def machines() -> list[Panel]:
    """Cluster, Redis and store, over time."""
    return [
        curves("Nodes", "Of the Ray cluster.", {"nodes": "ganservice_cluster_nodes"}, min=0, decimals=0,
               nothing="no dispatcher tells of a cluster"),
        curves("CPUs", "Held by gangs, and free.", {"{{use}}": "ganservice_cluster_cpus"}, min=0, custom=STACKED,
               nothing="no dispatcher tells of a cluster"),
        curves("GPUs", "Held by gangs, and free.", {"{{use}}": "ganservice_cluster_gpus > 0"}, min=0, custom=STACKED,
               nothing="the cluster has no GPUs"),
        curves("Leases", "Of the last hour: leases that ran out, writes refused for a stale token, changes of leader.",
               {"leases lost": "increase(ganservice_leases_lost_total[1h])",
                "stale writes refused": "increase(ganservice_stale_writes_total[1h])",
                "changes of leader": "increase(ganservice_leader_changes_total[1h])"}, min=0, decimals=0),
        curves("Errors", "Of the last ten minutes: heartbeats unanswered, and times the store did not answer.",
               {"Redis": "increase(ganservice_missed_beats_total[10m])",
                "store": "increase(ganservice_store_errors_total[10m])"}, min=0, decimals=0),
        curves("Redis, time to answer", "The exporter.", {"Redis": "ganservice_broker_round_trip_seconds"}, unit="s",
               min=0),
        curves("Store, time to answer", "The exporter.", {"store": "ganservice_store_round_trip_seconds"}, unit="s",
               min=0),
        curves("Redis, memory", "What it holds, and the most that it may, where it has a limit.",
               {"held": "ganservice_broker_memory_bytes", "limit": "ganservice_broker_max_memory_bytes > 0"},
               unit="bytes", min=0),
        curves("Store, bytes", "What the object store holds of each kind.", {"{{kind}}": "ganservice_store_bytes"},
               unit="bytes", min=0, custom=STACKED),
        curves("Disk", "Room left on the disk of an embedded stack.", {"free": "ganservice_state_disk_free_bytes"},
               unit="bytes", min=0, nothing="there is no embedded stack"),
    ]  # fmt: skip


def variables() -> list[dict[str, Any]]:
    """By which protocol quality is told: that which most jobs have."""
    used = "sum by (protocol) (ganservice_job_protocol)"
    return [
        page.newest("protocol", "Protocol", f"sort_desc({used})", "protocol"),
    ]


def fleet() -> dict[str, Any]:
    """The page."""
    healths = curves(
        "Trainings by health", "Those that run and have reported.", {"{{health}}": "ganservice:jobs_by_health"},
        min=0, decimals=0, custom=STACKED, nothing="none trains", height=6,
    )  # fmt: skip
    for health, colour in {"ok": GREEN, "suspect": YELLOW, "collapsed": RED, "diverged": "dark-red"}.items():
        override(healths, health, color={"mode": "fixed", "fixedColor": colour})
    panels = [
        *head(),
        jobs(),
        alerts(),
        healths,
        row("Jobs and queue"),
        *jobs_and_queue(),
        row("Machines"),
        *machines(),
    ]
    marks = [
        page.annotation("Leader", "blue", page.changed("ganservice_leader_changes_total"), "another dispatcher leads"),
        page.annotation("Alerts", "red", ALERTS, "{{alertname}}", "{{job_id}}"),
    ]
    return page.dashboard(page.FLEET, "Fleet", "Jobs, alerts, the queue and its machines.", panels, variables(), marks)
