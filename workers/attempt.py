"""One attempt of a training job: restore, iterate the trainer, upload, publish. Knows nothing of Ray."""

import logging
import platform
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from ganservice.artifacts import ArtifactStore, digests_of
from ganservice.errors import (
    BrokerUnreachable,
    DataInvalid,
    DataMissing,
    DigestMismatch,
    DiskFull,
    Diverged,
    LeaseLost,
    StoreUnreachable,
)
from ganservice.job import Checkpoint, Directive, Lease, Outcome, Progress, Reason
from ganservice.manifest import GeneratorManifest, Lineage
from ganservice.queue import JobQueue
from ganservice.recipe import Mixture, Pictures
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from ganservice.spec_file import dump_spec
from workers.gan.checkpoint import decode_checkpoint, encode_checkpoint, snapshot
from workers.gan.curves import curves_png, metrics_jsonl
from workers.gan.data.examples import Examples, draw_mixture
from workers.gan.export import (
    ONNX,
    WEIGHTS,
    bundle_readme,
    generator_onnx,
    generator_safetensors,
    input_specs,
    output_spec,
)
from workers.gan.grid import grid_png
from workers.gan.plane import SAMPLES as PLANE_SAMPLES
from workers.gan.plane import coverage, plane_png
from workers.gan.randomness import fixed_inputs, fixed_latents
from workers.gan.replicas import Replicas
from workers.gan.trainer import Trainer
from workers.heartbeat import Heartbeat
from workers.uploader import Uploader

log = logging.getLogger(__name__)

REASONS: list[tuple[type[Exception], Reason]] = [
    (Diverged, Reason.DIVERGED),
    (DataMissing, Reason.DATA),
    (DataInvalid, Reason.DATA),
    (DigestMismatch, Reason.DATA),
    (StoreUnreachable, Reason.STORE),
    (BrokerUnreachable, Reason.BROKER),
    (DiskFull, Reason.DISK_FULL),
    (torch.distributed.DistError, Reason.WORKER_DIED),
]

# How an attempt ends that was told to, after a checkpoint.
LEAVING = {
    Directive.STOP: Outcome(reason=Reason.CANCELLED, message="stopped by its user after a checkpoint"),
    Directive.YIELD: Outcome(reason=Reason.YIELDED, message="gave its job back after a checkpoint"),
}


def run_attempt(
    settings: Settings, lease: Lease, replicas: Replicas, device: torch.device, on_lost: Callable[[], None]
) -> None:
    """Run this worker's part of an attempt to its end; the first worker reports, uploads and finishes.

    Raises:
        LeaseLost: the job is no longer this attempt's; nothing was published.
    """
    if not replicas.is_first:
        _follow(settings, lease, replicas, device)
        return
    queue = JobQueue(settings)
    with Heartbeat(queue, lease, settings.heartbeat_s, on_lost) as heartbeat:
        with _LogsTo(heartbeat):
            outcome = _lead(settings, lease, replicas, device, heartbeat)
        heartbeat.finish(outcome)


def _follow(settings: Settings, lease: Lease, replicas: Replicas, device: torch.device) -> None:
    store = ArtifactStore(settings)
    examples = _examples(settings, store, lease.spec)
    trainer = Trainer(lease.spec.recipe, examples, lease.spec.seed, device, replicas)
    key = replicas.first_says("")
    if key:
        _load(trainer, lease.spec, key, store.objects.get(key))
    for _ in trainer.train(lease.spec.total_images, lease.spec.report_every_images):
        if replicas.any(False):
            return


def _lead(settings: Settings, lease: Lease, replicas: Replicas, device: torch.device, heartbeat: Heartbeat) -> Outcome:
    """The first worker's attempt, and how it ended."""

    def store_trouble(error: StoreUnreachable) -> None:
        heartbeat.say("store_unreachable", message=str(error))

    try:
        # Twice the lease: an outage that costs no lease must cost no attempt either.
        with Uploader(patience_s=2 * lease.lease_s, on_trouble=store_trouble) as uploader:
            leader = _Leader(settings, lease, replicas, device, heartbeat, uploader)
            return leader.run()
    except LeaseLost:
        raise
    except Exception as error:
        reason = next((reason for kind, reason in REASONS if isinstance(error, kind)), Reason.ERROR)
        if reason is Reason.ERROR and replicas.world_size > 1 and _is_broken_connection(error):
            reason = Reason.WORKER_DIED
        message = str(error) if reason is not Reason.ERROR else f"{type(error).__name__}: {error}"
        log.error("attempt %d ended: %s", lease.attempt, message)
        if reason is Reason.ERROR:
            log.error("%s", traceback.format_exc())
        return Outcome(reason=reason, message=" ".join(message.split())[:500])


def _is_broken_connection(error: Exception) -> bool:
    # gloo tells of a lost peer by a plain RuntimeError.
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in ("gloo", "nccl", "peer"))


class _Leader:
    """The first worker's duties around its trainer."""

    def __init__(
        self,
        settings: Settings,
        lease: Lease,
        replicas: Replicas,
        device: torch.device,
        heartbeat: Heartbeat,
        uploader: Uploader,
    ) -> None:
        self._lease = lease
        self._spec = lease.spec
        self._replicas = replicas
        self._heartbeat = heartbeat
        self._uploader = uploader
        self._store = ArtifactStore(settings)
        self._store.put_spec(lease.job_id, dump_spec(self._spec))
        examples = _examples(settings, self._store, self._spec)
        self._classes = examples.classes
        self._trainer = Trainer(self._spec.recipe, examples, self._spec.seed, device, replicas)
        self._history: list[Progress] = []
        self._joins = self._spec.start.joins if self._spec.start else []
        self._restore()
        self._resumed_images = self._trainer.images_seen
        grid = self._spec.samples
        self._fixed = fixed_inputs(self._spec.recipe, self._spec.seed, grid.rows, grid.columns)

    def run(self) -> Outcome:
        """Train to the end, or to a directive to stop, and leave behind what the outcome calls for."""
        spec, seen = self._spec, self._trainer.images_seen
        for progress in self._trainer.train(spec.total_images, spec.report_every_images):
            self._history.append(self._with_coverage(progress))
            self._heartbeat.progress(self._history[-1])
            self._uploader.check()
            directive = self._heartbeat.directive
            if self._replicas.any(directive is not Directive.CONTINUE):
                self._checkpoint()
                self._uploader.drain()
                return LEAVING[directive]
            at_end = progress.images >= spec.total_images
            if at_end or _crosses(spec.samples.every_images, seen, progress.images):
                self._draw_samples()
            if at_end or _crosses(spec.checkpoints.every_images, seen, progress.images):
                self._checkpoint()
            seen = progress.images
        self._uploader.drain()
        return Outcome(reason=Reason.SUCCEEDED, generator=self._publish())

    def _restore(self) -> None:
        """Go on from the newest checkpoint that can be read, if there is one; all workers from the same."""
        restored: Checkpoint | None = None
        start = self._spec.start
        for key in [*self._store.checkpoint_keys(self._lease.job_id), *([start.checkpoint] if start else [])]:
            try:
                data = self._store.objects.get(key)
                self._history = _load(self._trainer, self._spec, key, data)
            except DigestMismatch as error:
                log.warning("%s is damaged, trying the one before: %s", key, error)
                self._heartbeat.say("checkpoint_damaged", key=key, message=str(error))
                if start and key == start.checkpoint:
                    raise
                continue
            restored = Checkpoint(key=key, images=self._trainer.images_seen, bytes=len(data))
            break
        self._replicas.first_says(restored.key if restored else "")
        images = self._trainer.images_seen
        self._heartbeat.resumed(images, restored)
        self._heartbeat.say("started", images=images, checkpoint=restored.key if restored else None)
        log.info("attempt %d starts at %s images", self._lease.attempt, f"{images:,}")

    def _checkpoint(self) -> None:
        state = snapshot(self._trainer.state_dict())
        images, history = self._trainer.images_seen, list(self._history)

        def upload() -> None:
            checkpoint = self._store.put_checkpoint(self._lease, images, encode_checkpoint(state, history))
            curves = curves_png(history, self._lease.job_id, self._joins)
            self._store.put_metrics(self._lease, images, metrics_jsonl(history), curves)
            self._heartbeat.checkpointed(checkpoint)
            log.info("checkpoint at %s images in %.2f s", f"{images:,}", checkpoint.seconds)
            self._store.prune(self._lease, self._spec.checkpoints)

        self._uploader.submit(upload)

    def _with_coverage(self, progress: Progress) -> Progress:
        data = self._spec.recipe.data
        if not isinstance(data, Mixture):
            return progress
        modes, good_share = coverage(data, self._trainer.sample(self._many_latents))
        return progress.model_copy(update={"modes": modes, "good_share": good_share})

    def _grid(self) -> bytes:
        data = self._spec.recipe.data
        if isinstance(data, Mixture):
            return plane_png(data, self._trainer, self._many_latents)
        return grid_png(self._trainer.sample(*self._fixed).numpy(), self._spec.samples.columns)

    @property
    def _many_latents(self) -> torch.Tensor:
        """Enough to judge the coverage of a mixture by; the same every time."""
        return fixed_latents(self._spec.seed, PLANE_SAMPLES, self._spec.recipe.latent_size)

    def _draw_samples(self) -> None:
        images, png = self._trainer.images_seen, self._grid()

        def upload() -> None:
            key = self._store.put_sample_grid(self._lease, images, png)
            self._heartbeat.say("samples", key=key, images=images)

        self._uploader.submit(upload)

    def _publish(self) -> str:
        generator = self._trainer.sampling_generator
        recipe = self._spec.recipe
        files = {
            WEIGHTS: generator_safetensors(generator),
            ONNX: generator_onnx(generator, recipe),
            "samples.png": self._grid(),
            "metrics.jsonl": metrics_jsonl(self._history),
            "curves.png": curves_png(self._history, self._lease.job_id, self._joins),
            "recipe.yaml": dump_spec(self._spec).encode(),
        }
        files["README.md"] = bundle_readme(self._manifest(files))
        self._store.stage_generator(self._lease, files)
        # The last look before the manifest makes the generator fetchable.
        self._heartbeat.hold()
        return self._store.publish_generator(self._lease, files, self._manifest(files))

    def _manifest(self, files: dict[str, bytes]) -> GeneratorManifest:
        recipe = self._spec.recipe
        return GeneratorManifest(
            files=digests_of(files),
            name=self._spec.name,
            created_at=time.time(),
            images=self._trainer.images_seen,
            inputs=input_specs(recipe),
            output=output_spec(recipe),
            classes=self._classes,
            metrics=self._history[-1],
            lineage=Lineage(
                job_id=self._lease.job_id,
                attempt=self._lease.attempt,
                resumed_images=self._resumed_images,
                data_digest=recipe.data.digest if isinstance(recipe.data, Pictures) else None,
                seed=self._spec.seed,
                versions={
                    "ganservice": version("ganservice"),
                    "torch": version("torch"),
                    "python": platform.python_version(),
                },
            ),
            spec=self._spec,
        )


def _load(trainer: Trainer, spec: TrainSpec, key: str, data: bytes) -> list[Progress]:
    """Put a checkpoint into the trainer and return the progress it continues. Raises DigestMismatch."""
    state, history = decode_checkpoint(data)
    if spec.start and spec.start.weights_only and key == spec.start.checkpoint:
        trainer.load_weights(state)
        return []
    trainer.load_state_dict(state)
    return history


def _examples(settings: Settings, store: ArtifactStore, spec: TrainSpec) -> Examples:
    data = spec.recipe.data
    if isinstance(data, Mixture):
        return draw_mixture(data, spec.seed)
    manifest = store.find_data_set(data.dataset, data.digest)
    folder = store.cache_data_set(manifest, settings.cache_dir)
    images, labels = folder / "train-images.npy", folder / "train-labels.npy"
    examples = Examples(_array(images), _array(labels).long() if labels.exists() else None, manifest.classes)
    return examples.of_classes([manifest.classes.index(name) for name in data.only]) if data.only else examples


def _array(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.load(path, allow_pickle=False))


def _crosses(every: int, before: int, after: int) -> bool:
    return after // every > before // every


class _LogsTo(logging.Handler):
    """Sends what the workers and this package log to the job's log while it is open."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        super().__init__(logging.INFO)
        self._heartbeat = heartbeat
        self._logger = logging.getLogger("workers")

    def __enter__(self) -> None:
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """One line of the job's log for each line of the record."""
        for line in record.getMessage().splitlines():
            self._heartbeat.log(f"{record.levelname.lower()}: {line}")
