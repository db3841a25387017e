"""Series of jobs: whatever is known of each, in each of its states."""

import logging
from collections.abc import Iterable, Mapping

from ganservice.exporter.families import Families
from ganservice.exporter.quality_series import Quality
from ganservice.job import Health, Job, State
from ganservice.quantities import QUANTITIES
from ganservice.reservation import ReservationKind, reservation
from ganservice.spec import TrainSpec

log = logging.getLogger(__name__)

NO_RESERVATION = "none"
UNKNOWN = Quality()
# A job, what is found of its quality, and what these two give.
Series = tuple[Job, Quality, dict[str, str]]


class JobSeries:
    """The series of jobs. Those of a job are made anew once something of it has changed."""

    def __init__(self) -> None:
        self._kept: dict[str, Series] = {}

    def add(self, families: Families, jobs: Iterable[Job], qualities: Mapping[str, Quality], now_s: float) -> None:
        """Add the series of these jobs; those of any other are forgotten."""
        kept: dict[str, Series] = {}
        for job in jobs:
            quality, known = qualities.get(job.id, UNKNOWN), self._kept.get(job.id)
            is_same = known is not None and known[0] is job and known[1] is quality
            kept[job.id] = known if known and is_same else (job, quality, _texts(job, quality))
            families.add_texts(kept[job.id][2])
            add_ages(families, job, now_s)
        self._kept = kept


def _texts(job: Job, quality: Quality) -> dict[str, str]:
    found = Families()
    try:
        add_job(found, job, quality)
    except Exception:  # one bad job must hide no other
        log.exception("%s: its series are not whole", job.id)
    return found.texts


def add_job(families: Families, job: Job, quality: Quality) -> None:
    """Add all that is known of a job and of its evaluations, but for what depends on the moment."""
    _add_identity(families, job)
    if job.state is State.QUEUED:
        families.add("job_unplaceable", float(job.unplaceable), job.id)
    if _beats(job):
        _add_attempt(families, job)
    if job.training:
        _add_training(families, job, job.training)
    families.add("job_progress_ratio", job.share_done, job.id)
    add_quantities(families, job)
    if job.checkpoint is not None:
        families.add("job_checkpoint_images", job.checkpoint.images, job.id)
        families.add("job_checkpoint_bytes", job.checkpoint.bytes, job.id)
        families.add("job_checkpoint_seconds", job.checkpoint.seconds, job.id)
    for name, value, *labels in quality.samples:
        families.add(name, value, job.id, *labels)
    if job.training and job.state is State.SUCCEEDED:
        found = reservation(job, quality.last_and_best)
        states = [*ReservationKind, NO_RESERVATION]
        families.add_states("job_reservation", states, found.kind if found else NO_RESERVATION, job.id)


def add_quantities(families: Families, job: Job) -> None:
    """Add what the job's last report, or its last heartbeat, told."""
    for quantity in QUANTITIES:
        if quantity.only_while_running and job.state is not State.RUNNING:
            continue
        source = job if quantity.is_live else job.progress
        if source is not None:
            for curve in quantity.curves:
                labels = [curve.label] if curve.label else []
                families.add(quantity.metric, getattr(source, curve.field), job.id, *labels)


def _add_identity(families: Families, job: Job) -> None:
    tags = "".join(f"{tag}," for tag in job.spec.tags)
    families.add(
        "job_info",
        1,
        job.id,
        job.name,
        job.spec.kind,
        str(job.priority),
        job.user or "",
        f",{tags}" if tags else "",
        job.subject.job_id if job.subject else "",
        job.sweep or "",
    )
    families.add_states("job_state", State, job.state, job.id)
    families.add("job_submitted_timestamp_seconds", job.submitted_at, job.id)
    families.add("job_finished_timestamp_seconds", job.finished_at, job.id)
    families.add("job_attempts", job.attempt, job.id)
    families.add("job_cpus", job.spec.resources.cpus, job.id)
    families.add("job_gpus", job.spec.resources.gpus, job.id)
    families.add("job_leased_seconds", job.leased_s, job.id)


def add_ages(families: Families, job: Job, now_s: float) -> None:
    """Add how long something has been so, by the last heartbeat of an attempt that runs."""
    if job.state is State.QUEUED:
        families.add("job_queue_wait_seconds", max(0.0, now_s - (job.ready_at or now_s)), job.id)
    if not _beats(job):
        return
    saved_at = max(job.leased_at or 0.0, job.checkpoint_at or 0.0) if job.training else None
    ages = {
        "job_heartbeat_age_seconds": job.heartbeat_at,
        "job_report_age_seconds": job.reported_at,
        "job_still_seconds": job.moved_at,
        "job_checkpoint_age_seconds": saved_at,
    }
    for name, at in ages.items():
        families.add(name, None if at is None else max(0.0, now_s - at), job.id)


def _beats(job: Job) -> bool:
    return job.state is State.RUNNING and bool(job.heartbeat_at and job.leased_at)


def _add_attempt(families: Families, job: Job) -> None:
    """Add how the attempt that runs stands by its last heartbeat."""
    families.add("job_waits", float(job.waits_for is not None), job.id)
    families.add("job_left_seconds", job.left_s, job.id)
    if job.pulse:
        families.add("job_report_interval_seconds", job.pulse.report_every_s, job.id)
        if job.pulse.device:
            families.add("job_device", 1, job.id, job.pulse.device)


def _add_training(families: Families, job: Job, training: TrainSpec) -> None:
    if training.health.action == "rollback":
        families.add("job_rollbacks_left", max(0, training.health.max_rollbacks - len(job.rollbacks)), job.id)
    if job.progress or job.pulse:
        families.add("job_images", job.images, job.id)
    families.add("job_trained_images", job.images_trained, job.id)
    families.add("job_rollbacks", len(job.rollbacks), job.id)
    families.add("job_halts", job.halts, job.id)
    if job.progress or job.state is not State.QUEUED:
        families.add_states("job_health", Health, job.health, job.id)
    resources = job.spec.resources
    families.add("job_held_cpu_seconds", job.leased_s * resources.cpus, job.id, "training")
    families.add("job_held_cpu_seconds", job.evaluations_cpu_s, job.id, "evaluation")
    families.add("job_held_gpu_seconds", job.leased_s * resources.gpus, job.id, "training")
    families.add("job_held_gpu_seconds", job.evaluations_gpu_s, job.id, "evaluation")
