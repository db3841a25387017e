"""Bundles of a generator in the store, small ones that no training made."""

from ganservice.artifacts import ArtifactStore
from ganservice.job import Lease, Progress
from ganservice.manifest import GeneratorManifest, Lineage, TensorSpec, digests_of
from ganservice.spec import TrainSpec

FILES = {"generator.onnx": b"onnx", "README.md": b"read me", "samples.png": b"png"}
PROGRESS = Progress(
    images=64, step=8, loss_g=1.0, loss_d=1.5, score_real=1.0, score_fake=-1.0, d_real=0.6, d_fake=0.4, value=-1.3,
    grad_norm_g=2.0, grad_norm_d=3.0, images_per_s=100.0, step_s=0.08,
)  # fmt: skip


def generator_manifest(lease: Lease, files: dict[str, bytes]) -> GeneratorManifest:
    assert isinstance(lease.spec, TrainSpec)
    return GeneratorManifest(
        files=digests_of(files), name="tiny", created_at=1.5, images=64, metrics=PROGRESS,
        inputs=(TensorSpec(name="latents", dtype="float32", shape=("N", 5)),), classes=(),
        output=TensorSpec(name="images", dtype="float32", shape=("N", 1, 28, 28)),
        lineage=Lineage(
            job_id=lease.job_id, attempt=lease.attempt, resumed_images=0, data_digest=None, seed=0, versions={}
        ),
        spec=lease.spec,
    )  # fmt: skip


def publish(store: ArtifactStore, lease: Lease, files: dict[str, bytes] = FILES) -> str:
    return store.publish_generator(lease, files, generator_manifest(lease, files))
