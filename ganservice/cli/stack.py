"""up, down, doctor: the embedded stack."""

import os
import sys

import click
import psutil

from ganservice.alerts import Alert, firing
from ganservice.cli.clean import confirm_at_terminal
from ganservice.cli.output import ago, output_option, print_document, print_line, print_rows, say
from ganservice.embedded.doctor import Diagnosis
from ganservice.embedded.processes import MARK
from ganservice.embedded.stack import Stack, stop_on_signals
from ganservice.errors import PrometheusOutage, StackError
from ganservice.settings import Settings

# More of all processors than this, for so long, is worth a word.
BUSY_SHARE, BUSY_LOOK_S = 0.5, 0.5


@click.command("up")
@click.option("-d", "--detach", is_flag=True, help="Return when all works, and leave it running.")
@click.option("--monitor", is_flag=True, help="Also start Prometheus, with the alerts of this project.")
def up_command(detach: bool, monitor: bool) -> None:
    """Start broker, object store, Ray, dispatcher and exporter on loopback.

    A part whose address is set in the environment is used as it is: GANSERVICE_BROKER_URL, GANSERVICE_STORE_URL,
    GANSERVICE_RAY_ADDRESS.
    """
    stack = Stack(Settings.from_environment(), monitored=monitor)
    if not stack.is_up and MARK not in os.environ:  # whoever started this one detached has told
        _tell_if_busy()
    if not detach:
        stack.supervise(stop_on_signals(), say)
        return
    if not stack.is_up:
        say("starting broker, object store, Ray, dispatcher and exporter; this takes some seconds")
    monitored = ["--monitor"] if monitor else []
    if not stack.start_detached([sys.executable, "-m", "ganservice.cli", "up", *monitored], say):
        say("it is up already")
    say(f"state in {stack.folder}; `ganctl down` ends it, `ganctl doctor` examines it")


def _tell_if_busy() -> None:
    """Say so where other programs keep most processors: trainings run at a low priority and get what is left."""
    busy = psutil.cpu_percent(interval=BUSY_LOOK_S) / 100
    if busy > BUSY_SHARE:
        say(f"this machine is busy: {busy:.0%} of its {os.cpu_count()} CPUs are taken, so that jobs take longer")


@click.command("down")
@click.option("--purge", is_flag=True, help="Also delete the state: jobs, artifacts and credentials.")
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
def down_command(purge: bool, yes: bool) -> None:
    """End what `up` started. Jobs go on from their last checkpoint at the next `up`."""
    stack = Stack(Settings.from_environment())
    if purge and stack.exists:
        confirm_at_terminal(f"Delete all jobs and artifacts in {stack.folder}?", yes)
    say("ending; running jobs checkpoint first")
    say("the stack is down" if stack.down() else "nothing was running")
    if purge and stack.exists:
        others = stack.purge()
        say(
            f"deleted {stack.folder}"
            + (f", but for {', '.join(others)}, which is none of the stack's" if others else "")
        )


@click.command("doctor")
@output_option
def doctor_command(output: str) -> None:
    """Examine every part; exit 1 unless all of them work. Then the alerts that fire, where there is a Prometheus."""
    settings = Settings.from_environment()
    diagnoses = Stack(settings).examine()
    try:
        alerts = firing(settings)
    except PrometheusOutage as outage:
        alerts = []
        diagnoses.append(Diagnosis("alerts", "not known", "GANSERVICE_PROMETHEUS_URL", str(outage)))
    if output == "json":
        _print_document(diagnoses, alerts)
    else:
        print_rows([vars(diagnosis) for diagnosis in diagnoses])
        _print_alerts(alerts)
    ill = [diagnosis.part for diagnosis in diagnoses if not diagnosis.is_well]
    if ill:
        raise StackError(f"not well: {', '.join(ill)}; what to do stands in the last column")


def _print_alerts(alerts: list[Alert]) -> None:
    if alerts:
        print_line()
    rows = [
        {
            "alert": alert.name,
            "job": alert.job_id or "-",
            "since": ago(alert.since),
            "what to do": f"{alert.summary} {alert.description}",
        }
        for alert in alerts
    ]
    print_rows(rows)


def _print_document(diagnoses: list[Diagnosis], alerts: list[Alert]) -> None:
    from ganservice.documents import DoctorDocument

    parts = [vars(diagnosis) | {"is_well": diagnosis.is_well} for diagnosis in diagnoses]
    print_document(DoctorDocument.model_validate({"parts": parts, "alerts": [vars(alert) for alert in alerts]}))
