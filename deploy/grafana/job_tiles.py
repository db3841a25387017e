"""The tiles of the page of one job: what is there to be seen within ten seconds."""

from deploy.grafana.jobs import (
    FRECHET,
    PROTOCOL,
    THE_JOB,
    absent,
    device_cases,
    end_cases,
    evaluation,
    health_cases,
    heartbeat_cases,
    moving,
    pace_cases,
    quality_cases,
    reservation_cases,
    stands_still,
    state_cases,
)
from deploy.grafana.panels import Panel, amount_tile, words_tile
from deploy.grafana.words import BLUE, GREEN, GREY, RED, YELLOW, Case
from ganservice.job import State

ON = THE_JOB.on
NOT_KNOWN = [Case("not known yet", GREY, THE_JOB.told("job_state"))]
NOT_EVALUATED = [evaluation(THE_JOB), Case("not evaluated", GREY, THE_JOB.told("job_state"))]
OF_TRAINING = absent(THE_JOB, of_training=True)
NOT_QUEUED = [
    Case("runs", GREY, THE_JOB.state(State.RUNNING)),
    Case("ended", GREY, THE_JOB.state(State.SUCCEEDED, State.FAILED, State.CANCELLED)),
    Case("pauses before a retry", BLUE, THE_JOB.state(State.QUEUED)),
]


def tiles() -> list[Panel]:
    """All tiles, six in a row."""
    return [*_how_it_stands(), *_how_good_it_is(), *_how_it_runs()]


def _how_it_stands() -> list[Panel]:
    return [
        words_tile("State", "How the job stands, and what is wrong with it; the worst is said first.",
                   [*state_cases(THE_JOB), *end_cases(THE_JOB)], ON, width=6, height=4),
        words_tile("Health", "What the health watch last saw.", health_cases(THE_JOB), ON, height=4),
        words_tile("Reports", "Whether the job reports as it usually does, by its own pace.",
                   pace_cases(THE_JOB), ON, height=4),
        amount_tile("Done", "Share of the images seen; of an evaluation, of its work.",
                    THE_JOB.told("job_progress_ratio"), NOT_KNOWN, ON, unit="percentunit", decimals=0, width=3,
                    height=4),
        amount_tile("Time left", "At the speed it has.", moving(THE_JOB, "job_left_seconds"),
                    [stands_still(THE_JOB), *absent(THE_JOB, "not known yet")], ON, unit="s", decimals=1, width=3,
                    height=4),
        amount_tile("Quality", "Frechet distance of the newest evaluation, by the protocol above; lower is better.",
                    THE_JOB.told("job_quality", FRECHET, PROTOCOL), NOT_EVALUATED, ON, height=4),
    ]  # fmt: skip


def _how_good_it_is() -> list[Panel]:
    return [
        words_tile("Reservation", "What is to be said against its success.", reservation_cases(THE_JOB), ON, width=6),
        words_tile("Beside its best", "How the newest evaluation stands beside the best one.",
                   quality_cases(THE_JOB), ON),
        amount_tile("Last report", "How long ago.", THE_JOB.now("job_report_age_seconds"), absent(THE_JOB), ON,
                    unit="s", decimals=0),
        amount_tile("Attempts", "Attempts started.", THE_JOB.told("job_attempts"), NOT_KNOWN, ON, unit="none",
                    steps=[(GREEN, None), (YELLOW, 3)], width=3),
        amount_tile("Rollbacks", "Times the health watch sent the job back.", THE_JOB.told("job_rollbacks"),
                    [evaluation(THE_JOB), *NOT_KNOWN], ON, unit="none", steps=[(GREEN, None), (YELLOW, 1)], width=3),
        amount_tile("Best quality", "Of all its evaluations by that protocol.",
                    THE_JOB.told("job_best_quality", PROTOCOL), NOT_EVALUATED, ON),
    ]  # fmt: skip


def _how_it_runs() -> list[Panel]:
    return [
        words_tile("Heartbeat", "Whether its attempt is heard of, beside the length of its lease.",
                   heartbeat_cases(THE_JOB), ON, width=6),
        words_tile("Device", "What it computes on.", device_cases(THE_JOB), ON),
        amount_tile("Throughput", "Images a second, over the last heartbeats.",
                    moving(THE_JOB, "job_images_per_second"), [stands_still(THE_JOB), *OF_TRAINING], ON, decimals=0),
        amount_tile("In the queue", "How long it could have been leased.",
                    f"{THE_JOB.now('job_queue_wait_seconds')} > 0", NOT_QUEUED, ON, unit="s", decimals=0, width=3),
        amount_tile("At stake", "What would be lost now: time since the newest checkpoint.",
                    THE_JOB.now("job_checkpoint_age_seconds"), OF_TRAINING, ON, unit="s", decimals=0,
                    steps=[(GREEN, None), (YELLOW, 3600), (RED, 7200)], width=3),
        amount_tile("Trained to its best", "Images at that evaluation.",
                    THE_JOB.told("job_best_quality_images", PROTOCOL), NOT_EVALUATED, ON),
    ]  # fmt: skip
