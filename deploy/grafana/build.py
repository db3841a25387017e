"""Builds the Grafana dashboards from the short description below: `python deploy/grafana/build.py`.

They lie in the Helm chart, which can only read files below itself; Docker Compose mounts them from there. A test
holds them to this description, and their queries to the metrics there are.
"""

import json
from pathlib import Path
from typing import Any

from ganservice.evaluation import QUALITY_NUMBER, name_pattern
from ganservice.metrics import METRICS
from ganservice.quantities import CHARTS, Quantity

DASHBOARDS = Path(__file__).parents[1] / "kubernetes" / "ganservice" / "files" / "dashboards"
SOURCE = {"type": "prometheus", "uid": "ganservice"}
FLEET, JOB, QUALITY = "ganservice-fleet", "ganservice-job", "ganservice-quality"
OF_JOB = 'job_id="$job"'
FRECHET = f'measure=~"{name_pattern(QUALITY_NUMBER)}"'
DISTANCES = f'measure=~"{name_pattern(QUALITY_NUMBER, "kernel_distance")}"'
SHARES = f'measure=~"{name_pattern("precision", "recall", "density", "coverage")}"'
Panel = dict[str, Any]
Queries = dict[str, str]  # by legend

# Panels


def panel(kind: str, title: str, text: str, queries: Queries, *, unit: str = "short", **more: Any) -> Panel:
    """A panel without its place. `wide` is its width in 24ths of the page, `high` its height."""
    steps = more.pop("thresholds", None)
    defaults: dict[str, Any] = {"unit": unit, "noValue": more.pop("nothing", "nothing yet")}
    defaults["thresholds"] = {
        "mode": "absolute",
        "steps": [{"color": color, "value": value} for color, value in steps or [("green", None)]],
    }
    for key in ("min", "max", "mappings"):
        if key in more:
            defaults[key] = more.pop(key)
    if kind == "timeseries":
        style = {"mode": more.pop("threshold_style", "area" if steps else "off")}
        defaults["custom"] = {"fillOpacity": 5, "showPoints": "auto", "thresholdsStyle": style}
        defaults["custom"] |= more.pop("custom", {})
    return {
        "type": kind,
        "title": title,
        "description": text,
        "datasource": SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "expr": expression,
                "legendFormat": legend,
                **more.get("query", {}),
            }
            for place, (legend, expression) in enumerate(queries.items())
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": more.get("options", OPTIONS.get(kind, {})),
        "transformations": more.get("transformations", []),
        "gridPos": {"w": more.get("wide", 8), "h": more.get("high", 8)},
    }


OPTIONS: dict[str, dict[str, Any]] = {
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "background"},
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
}
NO_OR_YES = [
    {"type": "value", "options": {"0": {"text": "none", "color": "red"}, "1": {"text": "leads", "color": "green"}}}
]
LOG_SCALE = {"scaleDistribution": {"type": "log", "log": 10}}
UNITS = {"s": "s", "bytes": "bytes"}  # Grafana's name of a metric's unit
LATE = [("green", None), ("yellow", 600), ("red", 1800)]


def stat(title: str, text: str, queries: Queries, **more: Any) -> Panel:
    """One number, or one for each series."""
    return panel("stat", title, text, queries, **{"wide": 4, "high": 4} | more)


def curves(title: str, text: str, queries: Queries, **more: Any) -> Panel:
    """Values over time."""
    return panel("timeseries", title, text, queries, **more)


def quantiles(metric: str) -> Queries:
    """Quantiles of a histogram; 0 while nothing falls into it, which would be no number."""
    queries = {}
    for name, share in (("half of them", 0.5), ("95 of 100", 0.95)):
        rate = f"sum by (le) (rate({metric}_bucket[15m]))"
        queries[name] = f"(histogram_quantile({share}, {rate}) > 0) or vector(0)"
    return queries


def dashboard(uid: str, title: str, text: str, panels: list[Panel], variables: list[dict[str, Any]]) -> dict[str, Any]:
    """A page: panels stand from left to right, then below."""
    places, x, y, row = [], 0, 0, 0
    for number, each in enumerate(panels, start=1):
        place = each["gridPos"]
        if x + place["w"] > 24:
            x, y, row = 0, y + row, 0
        places.append({**each, "id": number, "gridPos": {**place, "x": x, "y": y}})
        x, row = x + place["w"], max(row, place["h"])
    others = {"Fleet": FLEET, "Job": JOB, "Quality": QUALITY}
    return {
        "uid": uid,
        "title": f"ganservice / {title}",
        "description": text,
        "tags": ["ganservice"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "",
        "templating": {"list": variables},
        "annotations": {"list": []},
        "links": [
            {"type": "link", "title": name, "url": f"/d/{other}", "keepTime": True, "icon": "dashboard", "tags": [],
             "asDropdown": False, "includeVars": False, "targetBlank": False, "tooltip": ""}
            for name, other in others.items() if other != uid
        ],
        "panels": places,
    }  # fmt: skip


def choice(name: str, label: str, query: str, *, many: bool = False) -> dict[str, Any]:
    """A variable with the values of a label."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": many,
        "includeAll": many,
        **({"allValue": ".*"} if many else {}),
    }


# Fleet

JOB_LINK = [{"title": "This job", "url": f"/d/{JOB}?var-job=${{__data.fields.job_id}}", "targetBlank": False}]


def running_jobs() -> Panel:
    """A table: one line for each running job, with a link to its page."""
    queries = {
        "progress": 'ganservice_job_progress_ratio and on(job_id) ganservice_job_state{state="running"} == 1',
        "images/s": "ganservice_job_images_per_second",
        "heartbeat": "ganservice_job_heartbeat_age_seconds",
    }
    table = panel(
        "table", "Running jobs", "Share done, throughput and time since the last heartbeat; click for the job's page.",
        queries, wide=24, high=8, nothing="no job runs", query={"format": "table", "instant": True},
        options={"showHeader": True, "cellHeight": "sm"},
        transformations=[
            {"id": "joinByField", "options": {"byField": "job_id", "mode": "outer"}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": dict.fromkeys(("Time", "Time 1", "Time 2", "Time 3"), True),
                    "renameByName": {"Value #A": "done", "Value #B": "images/s", "Value #C": "last heartbeat, s ago"},
                },
            },
            {"id": "filterFieldsByName", "options": {"include": {"pattern": "job_id|done|images/s|last heartbeat.*"}}},
        ],
    )  # fmt: skip
    table["fieldConfig"]["overrides"] = [
        {"matcher": {"id": "byName", "options": "job_id"}, "properties": [{"id": "links", "value": JOB_LINK}]},
        {"matcher": {"id": "byName", "options": "done"}, "properties": [{"id": "unit", "value": "percentunit"}]},
    ]
    return table


def fleet() -> dict[str, Any]:
    """The queue, its machines and what goes wrong."""
    hour = 'sum by (reason) (increase({}[1h])) > 0 or on() label_replace(vector(0), "reason", "none", "", "")'
    panels = [
        stat("Running", "Jobs that hold a lease.", {"running": 'ganservice_jobs{state="running"}'}),
        stat("Queued", "Jobs that wait.", {"queued": 'ganservice_jobs{state="queued"}'}),
        stat("Oldest wait", "How long the job at the head of the queue could have been leased.",
             {"wait": "ganservice_queue_oldest_wait_seconds"}, unit="s", thresholds=LATE),
        stat("Dispatcher", "Whether one leads. Without it nothing is started.", {"leader": "ganservice_leader_up"},
             mappings=NO_OR_YES, thresholds=[("red", None), ("green", 1)]),
        stat("Nodes", "Nodes of the Ray cluster.", {"nodes": "max(ganservice_cluster_nodes) or vector(0)"}),
        stat("Alerts", "Alerts that fire now.", {"alerts": 'count(ALERTS{alertstate="firing"}) or vector(0)'},
             thresholds=[("green", None), ("red", 1)]),
        curves("Queue by priority", "Jobs that wait.", {"{{priority}}": "ganservice_queue_depth"}, min=0),
        curves("Wait before a lease", "From when a job could be leased to its lease, of the last quarter of an hour.",
               quantiles("ganservice_queue_wait_seconds"), unit="s", min=0, thresholds=LATE),
        curves("Start", "From a lease to the first step, of the last quarter of an hour.",
               quantiles("ganservice_start_seconds"), unit="s", min=0),
        curves("CPUs", "Held by gangs, and free.", {"{{use}}": "ganservice_cluster_cpus"}, min=0,
               custom={"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 30}),
        curves("GPUs", "Held by gangs, and free.", {"{{use}}": "ganservice_cluster_gpus"}, min=0,
               custom={"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 30}),
        curves("Throughput", "Images a second that all jobs train together.",
               {"images/s": "rate(ganservice_images_total[1m])"}, min=0),
        curves("Retries by reason", "Attempts of the last hour that ended and were tried again.",
               {"{{reason}}": hour.format("ganservice_retries_total")}, min=0),
        curves("Attempts by outcome", "Attempts of the last hour, by how they ended.",
               {"{{reason}}": hour.format("ganservice_outcomes_total")}, min=0),
        curves("Leases", "Of the last hour: leases that ran out, writes refused for a stale token, changes of leader.",
               {"leases lost": "increase(ganservice_leases_lost_total[1h])",
                "stale writes refused": "increase(ganservice_stale_writes_total[1h])",
                "changes of leader": "increase(ganservice_leader_changes_total[1h])"}, min=0),
        curves("Round trips", "Time that Redis and the object store take to answer.",
               {"Redis": "ganservice_broker_round_trip_seconds", "store": "ganservice_store_round_trip_seconds"},
               unit="s", min=0),
        curves("Errors", "Of the last ten minutes: heartbeats unanswered, and times the store did not answer.",
               {"Redis": "increase(ganservice_missed_beats_total[10m])",
                "store": "increase(ganservice_store_errors_total[10m])"}, min=0),
        curves("Memory and disk", "What Redis holds; room left on the embedded stack's disk, where there is one.",
               {"Redis": "ganservice_broker_memory_bytes", "free disk": "ganservice_state_disk_free_bytes"},
               unit="bytes", min=0),
        curves("Store", "What the object store holds of each kind.", {"{{kind}}": "ganservice_store_bytes"},
               unit="bytes", min=0, custom={"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 30}),
        running_jobs(),
    ]  # fmt: skip
    return dashboard(FLEET, "Fleet", "The queue, its machines and what goes wrong.", panels, [])


# Job


def chart(quantity: Quantity) -> Panel:
    """A quantity of a training over time, as the report page draws it."""
    metric = METRICS[quantity.metric]
    legend = f"{{{{{quantity.label}}}}}" if quantity.label else quantity.curves[0].legend
    more: dict[str, Any] = {"custom": LOG_SCALE} if quantity.is_log else {}
    more |= {key: limit for key, limit in zip(("min", "max"), quantity.limits or (), strict=False) if limit is not None}
    if quantity.bad_below is not None:
        more["thresholds"] = [("red", None), ("transparent", quantity.bad_below)]
    elif quantity.level is not None:
        more |= {"thresholds": [("transparent", None), ("text", quantity.level)], "threshold_style": "dashed"}
    return curves(
        quantity.title,
        f"{metric.text} {quantity.reading}".strip(),
        {legend: f"{metric.full_name}{{{OF_JOB}}}"},
        unit="percentunit" if quantity.limits == (0, 1) else UNITS.get(metric.unit, "short"),
        **more,
    )


def job() -> dict[str, Any]:
    """One training."""
    of = f"{{{OF_JOB}}}"
    training = [chart(quantity) for quantity in CHARTS if quantity.on_dashboard]
    for each in training[:2]:
        each["gridPos"]["w"] = 12
    health = f"max by (health) (ganservice_job_health{{{OF_JOB}}}) == 1"
    report = (
        "`ganctl report $job` writes the whole story of this job, with its samples, as one page, and stores it beside "
        "the job's artifacts. `ganctl fetch $job` brings the best generator home, with a grid of its samples."
    )
    panels = [
        stat("Done", "Share of the images seen.", {"done": f"ganservice_job_progress_ratio{of}"}, unit="percentunit"),
        stat("Throughput", "Images a second, of the last report.",
             {"images/s": f"ganservice_job_images_per_second{of}"}),
        stat("Health", "What the health watch last saw.", {"{{health}}": health},
             options={**OPTIONS["stat"], "textMode": "name"}),
        stat("Heartbeat", "Time since the running attempt's last heartbeat.",
             {"ago": f"ganservice_job_heartbeat_age_seconds{of}"}, unit="s",
             thresholds=[("green", None), ("yellow", 10), ("red", 15)]),
        stat("Attempts", "Attempts started.", {"attempts": f"ganservice_job_attempts{of}"},
             thresholds=[("green", None), ("yellow", 3)]),
        stat("At stake", "What would be lost now: time since the newest checkpoint.",
             {"age": f"ganservice_job_checkpoint_age_seconds{of}"}, unit="s",
             thresholds=[("green", None), ("yellow", 3600), ("red", 7200)]),
        *training[:2],
        curves("Quality", "What evaluations found, over time. Only values of one protocol compare.",
               {"{{measure}}": f'ganservice_job_quality{{{OF_JOB}, {DISTANCES}}}'},
               nothing="not evaluated: give the spec an evaluate: section"),
        panel("xychart", "Quality against images", "Distance of the generated pictures to the data: lower is better.",
              {"images": f"max(ganservice_job_quality_images{of})",
               "distance": f"min(ganservice_job_quality{{{OF_JOB}, {FRECHET}}})"},
              nothing="not evaluated: give the spec an evaluate: section",
              options={"mapping": "manual", "series": [
                  {"x": {"matcher": {"id": "byName", "options": "images"}},
                   "y": {"matcher": {"id": "byName", "options": "distance"}}}],
                  "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []},
                  "tooltip": {"mode": "single", "sort": "none"}},
              transformations=[{"id": "joinByField", "options": {"byField": "Time", "mode": "inner"}}]),
        curves("Shares", "Precision, recall, density and coverage, of the evaluated checkpoint with most images.",
               {"{{measure}}": f'ganservice_job_quality{{{OF_JOB}, {SHARES}}}'},
               min=0, nothing="not evaluated: give the spec an evaluate: section"),
        *training[2:],
        curves("Checkpoints", "Time the newest one took to store, and how long ago that was.",
               {"seconds to store": f"ganservice_job_checkpoint_seconds{of}",
                "age": f"ganservice_job_checkpoint_age_seconds{of}"}, unit="s", min=0),
        curves("Memory", "Of the workers of the gang, and on their GPUs.",
               {"memory": f"ganservice_job_memory_bytes{of}", "GPU memory": f"ganservice_job_gpu_memory_bytes{of}"},
               unit="bytes", min=0),
        curves("Busy", "CPUs the workers keep busy, of those the gang holds; share of time its GPUs are busy.",
               {"CPUs busy": f"ganservice_job_used_cpus{of}", "CPUs held": f"ganservice_job_cpus{of}",
                "GPUs busy": f"ganservice_job_gpu_busy_ratio{of}"}, min=0),
        {"type": "text", "title": "Report", "description": "How to see the pictures.",
         "options": {"mode": "markdown", "content": report}, "gridPos": {"w": 24, "h": 3}},
    ]  # fmt: skip
    variables = [choice("job", "Job", "label_values(ganservice_job_info, job_id)")]
    return dashboard(
        JOB, "Job", "One job: losses, balance, quality, throughput, health, checkpoints.", panels, variables
    )


# Quality


def quality() -> dict[str, Any]:
    """The page that compares runs."""
    selector = 'job_id=~"$jobs", protocol=~"$protocol"'
    distance = f"ganservice_job_quality{{{selector}, {FRECHET}}}"
    best = f"min by (job_id) (min_over_time({distance}[$__range]))"
    first = f"max by (job_id) (max_over_time({distance}[$__range]))"
    jobs = '{job_id=~"$jobs"}'
    nothing = "no evaluations yet: give a spec an evaluate: section, or run ganctl evaluate JOB"

    def hours(of: str) -> str:
        lease_s = f"max by (job_id) (max_over_time(ganservice_job_leased_seconds_total{jobs}[$__range]))"
        return f"{lease_s} * max by (job_id) (max_over_time(ganservice_job_{of}{jobs}[$__range])) / 3600"

    bars: dict[str, Any] = {
        "wide": 8,
        "query": {"instant": True},
        "options": {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "orientation": "horizontal",
            "displayMode": "gradient",
        },
    }
    panels = [
        curves("Distance to the data", "Frechet distance by the feature network of the protocol: lower is better.",
               {"{{job_id}}": distance}, wide=12, nothing=nothing),
        curves("Images when evaluated", "How far each job was when it was evaluated.",
               {"{{job_id}}": f"ganservice_job_quality_images{{{selector}}}"}, wide=12, nothing=nothing),
        panel("bargauge", "Best distance", "The least of each job in the time shown.", {"{{job_id}}": best},
              nothing=nothing, **bars),
        panel("bargauge", "Cost", "CPU hours that each job has held.", {"{{job_id}}": hours("cpus")},
              unit="h", nothing="no job in the time shown", **bars),
        panel("bargauge", "Cost of a point",
              "CPU hours held for each point by which the distance fell, from the worst to the best evaluation.",
              {"{{job_id}}": f"({hours('cpus')}) / ({first} - {best} > 0)"}, unit="h", nothing=nothing, **bars),
        curves("Fidelity", "Precision: share of generated pictures that look like real ones.",
               {"{{job_id}}": f'ganservice_job_quality{{{selector}, measure=~".*_precision"}}'},
               unit="percentunit", min=0, max=1, nothing=nothing),
        curves("Variety", "Recall: share of real pictures that look like generated ones.",
               {"{{job_id}}": f'ganservice_job_quality{{{selector}, measure=~".*_recall"}}'},
               unit="percentunit", min=0, max=1, nothing=nothing),
        curves("Diversity while training",
               "Distance from a sample to its nearest other one, over that of real pictures.",
               {"{{job_id}}": f"ganservice_job_diversity_ratio{jobs}"}, min=0, nothing="no job in the time shown"),
    ]  # fmt: skip
    variables = [
        choice("jobs", "Jobs", "label_values(ganservice_job_info, job_id)", many=True),
        choice("protocol", "Protocol", "label_values(ganservice_job_quality, protocol)", many=True),
    ]
    return dashboard(QUALITY, "Quality", "Runs compared, and what their quality cost.", panels, variables)


def files() -> dict[str, str]:
    """The text of every file, by name."""
    pages = {"fleet": fleet(), "job": job(), "quality": quality()}
    return {f"{name}.json": json.dumps(page, indent=2) + "\n" for name, page in pages.items()}


if __name__ == "__main__":
    for name, text in files().items():
        (DASHBOARDS / name).write_text(text)
