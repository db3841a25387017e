"""What `ganctl watch` says of a job as it stands."""

from typing import Any

import pytest

from ganservice.cli.watch import headline
from ganservice.job import Activity, Job, Progress, Pulse, State
from ganservice.spec import TrainSpec

REPORT = Progress(
    images=16, step=2, loss_g=0.7, loss_d=1.3, score_real=0.4, score_fake=-0.4, d_real=0.6, d_fake=0.4,
    grad_norm_g=1.0, grad_norm_d=2.0, images_per_s=100.0, step_s=0.6,
)  # fmt: skip
RUNNING = {"state": State.RUNNING}
TRAINING = Pulse(activity=Activity.TRAINING, images=24, images_per_s=8.0)


@pytest.mark.parametrize(
    ("stands", "expected"),
    [
        ({"waiting_for": "8 CPUs; the cluster has 2 CPUs"}, "queued  waits for 8 CPUs; the cluster has 2 CPUs"),
        ({}, "queued  waits for its turn"),
        (RUNNING, "running  starting its workers"),
        (RUNNING | {"pulse": Pulse(activity=Activity.LOADING)}, "running  loading the data set  0/64 images"),
        (RUNNING | {"pulse": Pulse(activity=Activity.TRAINING, images=0)}, "running  0/64 images"),
        (RUNNING | {"pulse": TRAINING}, "running  24/64 images  8 images/s"),
        (
            RUNNING | {"pulse": TRAINING.model_copy(update={"waits_for": "the store (full)"})},
            "running  waits for the store (full)  24/64 images  8 images/s",
        ),
        (
            RUNNING | {"pulse": TRAINING.model_copy(update={"activity": Activity.PUBLISHING})},
            "running  publishing the generator  24/64 images",
        ),
        (  # as workers of earlier versions report
            RUNNING | {"progress": REPORT},
            "running  16/64 images  loss G 0.700 D 1.300  D(x) 0.60 D(G(z)) 0.40  100 images/s",
        ),
        (
            RUNNING | {"pulse": TRAINING, "progress": REPORT},
            "running  24/64 images  loss G 0.700 D 1.300  D(x) 0.60 D(G(z)) 0.40  8 images/s",
        ),
    ],
)
def test_a_line_says_what_a_job_does(stands: dict[str, Any], expected: str, spec: TrainSpec) -> None:
    assert headline(make(spec, **stands), has_dispatcher=True) == expected


def test_a_queued_job_without_a_dispatcher_says_so(spec: TrainSpec) -> None:
    line = headline(make(spec), has_dispatcher=False)
    assert line == "queued  waits for a dispatcher: none is there; `ganctl doctor` tells more"


def make(spec: TrainSpec, **stands: Any) -> Job:
    plain: dict[str, Any] = {"state": State.QUEUED, "priority": 50, "submitted_at": 0.0, "order": 1}
    return Job(id="tiny-abc", spec=spec, **(plain | stands))
