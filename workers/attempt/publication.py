"""Publication: a generator, as the bundle of files that anyone can fetch."""

import logging
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from torch import nn

from ganservice.artifacts import ArtifactStore
from ganservice.evaluation import Evaluation
from ganservice.job import Lease, Progress, Rollback
from ganservice.manifest import CODE, WEIGHTS, GeneratorManifest, Lineage, digests_of
from ganservice.mistakes import brief
from ganservice.recipe import Precision
from ganservice.reservation import reservation_of
from ganservice.spec import TrainSpec
from ganservice.spec_file import dump_spec
from workers.gan.curves import curves_png, metrics_jsonl
from workers.gan.export import (
    ONNX,
    bundle_readme,
    generator_onnx,
    generator_safetensors,
    input_specs,
    output_spec,
    styles_spec,
)
from workers.gan.networks import is_ours, package_versions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BundleContents:
    """A generator, and the training it comes from as it stood then."""

    job_id: str
    attempt: int
    resumed_images: int | None  # what that attempt found done by those before it, where that is known
    spec: TrainSpec
    history: Sequence[Progress]
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]  # pictures of each class that it learned
    generator: nn.Module
    precision: Precision | None  # what its training computed in, where that is known
    grid: bytes  # its sample grid, PNG
    rollbacks: tuple[Rollback, ...] = ()
    evaluations: Sequence[Evaluation] = ()  # of that training up to there


def publish(
    store: ArtifactStore,
    lease: Lease,
    contents: BundleContents,
    before_it_counts: Callable[[], None],
    evaluation: Evaluation | None = None,
) -> str:
    """Store a bundle under the attempt of `lease`, and return the key of its folder.

    `before_it_counts` is called when only the manifest is missing, which makes the generator fetchable.
    """
    joins = contents.spec.start.joins if contents.spec.start else []
    files = {
        WEIGHTS: generator_safetensors(contents.generator),
        **_onnx(contents),
        "samples.png": contents.grid,
        "metrics.jsonl": metrics_jsonl(contents.history),
        "curves.png": curves_png(contents.history, contents.job_id, joins),
        "recipe.yaml": dump_spec(contents.spec).encode(),
    }
    if (code := contents.spec.recipe.code) and code.digest:
        files[CODE] = store.get_code(code.digest).text
    files["README.md"] = bundle_readme(_manifest(contents, files, evaluation))
    store.stage_generator(lease, files)
    before_it_counts()
    return store.publish_generator(lease, files, _manifest(contents, files, evaluation))


def _onnx(contents: BundleContents) -> dict[str, bytes]:
    """The generator as ONNX; a word in the log instead where a network of a user's own cannot be exported."""
    try:
        return generator_onnx(contents.generator, contents.spec.recipe)
    except Exception as error:  # whatever the exporter makes of what others wrote
        if is_ours(contents.spec.recipe.generator):
            raise
        reason = brief(f"{type(error).__name__}: {error}")
        log.warning("the generator is published without %s, for it cannot be exported: %s", ONNX, reason)
        return {}


def _manifest(contents: BundleContents, files: dict[str, bytes], evaluation: Evaluation | None) -> GeneratorManifest:
    recipe, newest = contents.spec.recipe, contents.history[-1]
    max_quality_ratio = contents.spec.health.max_quality_ratio
    reservation = reservation_of(newest.health, contents.evaluations, max_quality_ratio)
    return GeneratorManifest(
        files=digests_of(files),
        name=contents.spec.name,
        created_at=time.time(),
        # A checkpoint that was judged may have been taken after its last report.
        images=evaluation.images if evaluation else newest.images,
        inputs=input_specs(recipe),
        output=output_spec(recipe),
        styles=styles_spec(recipe),
        classes=contents.classes,
        class_counts=contents.class_counts,
        metrics=newest,
        evaluation=evaluation,
        chosen_by=evaluation.quality_name if evaluation else None,
        reservation=str(reservation) if reservation else None,
        lineage=Lineage(
            job_id=contents.job_id,
            attempt=contents.attempt,
            resumed_images=contents.resumed_images,
            data_digest=recipe.pictures.digest if recipe.pictures else None,
            code_digest=recipe.code.digest if recipe.code else None,
            seed=contents.spec.seed,
            precision=contents.precision,
            rollbacks=contents.rollbacks,
            versions={
                "ganservice": version("ganservice"),
                "torch": version("torch"),
                "python": platform.python_version(),
                **package_versions(recipe),
            },
        ),
        spec=contents.spec,
    )
