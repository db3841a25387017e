"""A trained generator at hand, from a folder or from a job, for the commands that use one."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ganservice.artifacts import ArtifactStore
from ganservice.cache import cache_folder, cache_path
from ganservice.code_folder import is_cached, unpack
from ganservice.errors import (
    ArtifactExists,
    ArtifactMissing,
    JobNotFound,
    JobUnreadable,
    NotConfigured,
    Outage,
    RequestError,
)
from ganservice.job_search import Resolve, locate_generator
from ganservice.manifest import CODE, MANIFEST, WEIGHTS, GeneratorManifest
from ganservice.mistakes import one_line
from ganservice.model import cut
from ganservice.queue import JobQueue
from ganservice.recipe import Pictures, Recipe
from ganservice.settings import Settings
from ganservice.stored_manifest import check_generator, folder_of, job_or_folder
from workers.gan.export import load_generator
from workers.gan.networks.own import import_code
from workers.gan.networks.stylegan2 import StyleGenerator

BATCH = 256
# Classes that an error spells out.
NAMED = 20


@dataclass(frozen=True)
class Bundle:
    """A generator in evaluation mode, and its manifest."""

    folder: Path
    manifest: GeneratorManifest
    generator: nn.Module

    @property
    def recipe(self) -> Recipe:
        """What it was trained by."""
        return self.manifest.spec.recipe

    @property
    def latent_size(self) -> int:
        """Numbers in one latent. Raises RequestError where it enlarges pictures instead."""
        if self.recipe.super_resolution:
            raise RequestError(
                f"the generator of {self.job_id} enlarges pictures and takes no latents; "
                f"use `ganctl upscale PICTURE --from {self.job_id}`"
            )
        return self.recipe.latent_size

    @property
    def pictures(self) -> Pictures:
        """What it learned. Raises RequestError when those were no pictures."""
        if self.recipe.pictures:
            return self.recipe.pictures
        raise RequestError(f"the generator of {self.job_id} makes points in the plane; expected one of pictures")

    @property
    def job_id(self) -> str:
        """The job that it comes from, by which users know it; the folder may be one of the cache."""
        return self.manifest.lineage.job_id

    @property
    def class_names(self) -> tuple[str, ...]:
        """A name for each label; its number where the manifest names none, or another number of them."""
        count = self.recipe.conditioning.classes if self.recipe.conditioning else 0
        names = self.manifest.classes
        return names if len(names) == count else tuple(map(str, range(count)))

    @property
    def learned(self) -> tuple[int, ...]:
        """The labels that it can be asked for: those of the classes that it learned. Raises RequestError of none."""
        if self.recipe.conditioning is None:
            _ = self.latent_size  # refuses a generator that enlarges pictures: none such is trained with classes
            raise RequestError(f"the generator of {self.job_id} knows no classes; train one with recipe.conditioning")
        return self.manifest.learned

    def class_number(self, name: str | int) -> int:
        """The label of a class that it learned: by number, or by a text that is its name or, if none's, its number.

        Raises RequestError.
        """
        learned, names = self.learned, self.class_names
        count = len(names)
        label = (
            names.index(name) if name in names else int(name) if str(name).isdecimal() and int(name) < count else None
        )
        if label in learned:
            return label
        examples = ", ".join(names[each] for each in learned[:NAMED]) + (", ..." if len(learned) > NAMED else "")
        if label is not None:
            raise RequestError(
                f"--class {name}: the generator of {self.job_id} did not learn it; it learned: {examples}"
            )
        raise RequestError(f"--class {name}: expected a number below {count}, or one of: {examples}")

    def labels(self, class_name: str | int | None, count: int) -> tuple[Tensor, ...]:
        """What the generator needs beside latents: nothing, or `count` labels of the class, int64 [count].

        Without a class, a generator that needs labels gets the classes that it learned in turn.
        """
        if class_name is not None:
            return (torch.full((count,), self.class_number(class_name)),)
        if self.recipe.conditioning is None:
            return ()
        return (torch.tensor(self.learned)[torch.arange(count) % len(self.learned)],)

    @torch.no_grad()
    def make(self, latents: Tensor, labels: tuple[Tensor, ...] = (), psi: float | None = None) -> Tensor:
        """Latents float [B, latent_size] and labels int64 [B] -> pictures or points; styles are truncated by `psi`.

        Raises RequestError where there are no styles.
        """
        draw = self.generator if psi is None else self._truncated(psi)
        return self._in_batches(draw, latents, *labels)

    @torch.no_grad()
    def draw(self, styles: Tensor) -> Tensor:
        """Styles w float [B, w_size] -> pictures. Raises RequestError where there are none."""
        return self._in_batches(self.style_generator("--styles").draw, styles)

    def _in_batches(self, draw: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        parts = zip(*(torch.split(values, BATCH) for values in inputs), strict=True)
        return torch.cat([draw(*part) for part in parts])

    def _truncated(self, psi: float) -> Callable[..., Tensor]:
        generator = self.style_generator("--psi")

        def draw(latents: Tensor, labels: Tensor | None = None) -> Tensor:
            return generator.draw(generator.styles(latents, labels, latents.new_full((len(latents),), psi)))

        return draw

    def style_generator(self, option: str) -> StyleGenerator:
        """The generator, for an option that takes one with styles. Raises RequestError of another."""
        if isinstance(self.generator, StyleGenerator):
            return self.generator
        raise RequestError(
            f"{option}: the generator of {self.job_id} is of kind {self.recipe.generator.kind}, expected one with "
            "styles, such as a stylegan2"
        )


def open_bundle(source: str, resolve: Resolve = JobQueue.resolve, settings: Settings | None = None) -> Bundle:
    """A fetched generator by its folder, or that of a job, which is fetched into the cache; digests are checked.

    Raises:
        RequestError: it is neither a folder nor a word for a job.
        JobNotFound, ArtifactMissing: there is no such job, or it published none; the folder holds none.
        DigestMismatch: the files are not those that were published.
    """
    folder, job_id, settings = folder_of(source), None, settings or Settings()
    if folder is None:
        with job_or_folder(source):
            folder, job_id = _of_job(source, resolve, settings)
    manifest = check_generator(folder)
    if (code := manifest.spec.recipe.code) and code.digest:
        _bring_code(folder, manifest, code.digest, settings, job_id)
    return Bundle(folder, manifest, load_generator(manifest.spec.recipe, folder / WEIGHTS))


def _bring_code(folder: Path, manifest: GeneratorManifest, digest: str, settings: Settings, job_id: str | None) -> None:
    """Have the networks of its maker's own found in this process, where they may be run.

    Raises:
        RequestError: they may not.
        ArtifactMissing, DigestMismatch: the folder does not hold their files.
    """
    if CODE not in manifest.files:
        raise ArtifactMissing(f"{folder / MANIFEST}: names no {CODE}; expected a folder made by `ganctl fetch`")
    may_run = settings.folder_code or is_cached(settings.cache_dir, digest)
    # What the queue says of a job, not the store, to which whoever writes there may have brought another folder.
    if not may_run and not (settings.own_code and job_id and _code_of(job_id, settings) == digest):
        raise RequestError(
            f"{folder}: is of a network of its maker's own, whose Python files ({CODE}) would run with your rights; "
            "set GANSERVICE_FOLDER_CODE=true if you trust them, or use its ONNX file"
        )
    files = unpack((folder / CODE).read_bytes(), digest, str(folder / CODE))
    import_code(files.cached(settings.cache_dir), digest)


def _code_of(job_id: str, settings: Settings) -> str | None:
    """The digest of the files that a job in the queue was submitted with; None where there is none such."""
    try:
        code = JobQueue(settings).get(job_id).spec.recipe.code
    except (JobNotFound, JobUnreadable, NotConfigured, Outage):
        return None
    return code.digest if code else None


def _of_job(source: str, resolve: Resolve, settings: Settings) -> tuple[Path, str]:
    if "/" in source:
        raise RequestError(one_line(f"{cut(source)}: is no folder; expected a folder made by `ganctl fetch`, or a job"))
    store = ArtifactStore(settings)
    job_id, folder_key = locate_generator(settings, store, source, resolve=resolve)
    steps = ("generators", folder_key.strip("/").replace("/", "-"), job_id)
    folder = cache_path(settings.cache_dir, *steps)
    cache_folder(settings.cache_dir, *steps[:-1])
    if not os.access(folder, os.R_OK | os.X_OK):
        with contextlib.suppress(ArtifactExists):  # another process has just fetched it
            store.fetch_generator(folder_key, folder)
    return folder, job_id
