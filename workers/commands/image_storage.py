"""Sets of pictures on their way into the store."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from ganservice.artifacts import ArtifactStore
from ganservice.cache import ADVICE, cache_folder
from ganservice.cli.meter import Meter
from ganservice.cli.output import say
from ganservice.errors import RequestError
from ganservice.files import named_writing_trouble
from ganservice.manifest import DataManifest, FileDigest, digests_of_files, identity
from ganservice.mistakes import describe_mistake
from ganservice.recipe import DataSetName, image_size_of
from ganservice.settings import Settings

if TYPE_CHECKING:
    from workers.gan.data.image_files import ImageFiles
    from workers.gan.data.image_set import ImageSet

MB = 1_000_000


def check_data_set_name(name: str) -> None:
    """Raise RequestError for a name that no data set can have."""
    try:
        TypeAdapter(DataSetName).validate_python(name)
    except ValidationError as error:
        raise RequestError(f"--name {name}: expected lower-case letters, digits, '.', '_' and '-'") from error


def store_image_set(settings: Settings, images: "ImageSet", name: str) -> DataManifest:
    """Store a set that is in memory. Raises RequestError, DiskFull, StoreOutage."""
    from workers.gan.data.image_files import write_image_set
    from workers.gan.data.work_folder import FOLDER

    root = cache_folder(settings.cache_dir, FOLDER)
    with named_writing_trouble(root, ADVICE), tempfile.TemporaryDirectory(dir=root) as folder:
        return store_image_files(settings, write_image_set(images, Path(folder)), name)


def store_image_files(settings: Settings, images: "ImageFiles", name: str) -> DataManifest:
    """Store a set that lies on the disk, and return its manifest. Raises RequestError, OSError, StoreOutage."""
    check_data_set_name(name)
    manifest = manifest_of(images, name)
    total = sum(file.bytes for file in manifest.files.values())
    with Meter("MB are in the store") as meter:
        ArtifactStore(settings).put_data_set(
            images.files, manifest, lambda share: meter.proceed(round(share * total / MB), round(total / MB))
        )
    classes = f"{len(manifest.classes)} classes" if manifest.classes else "no classes"
    held_out = f" and {manifest.counts['test']:,} held out" if "test" in manifest.counts else ""
    say(
        f"{manifest.counts['train']:,} images of {manifest.image_size} px{held_out}, {classes}, in the store, "
        f"digest {manifest.digest[:12]}"
    )
    return manifest


def _digests(files: Mapping[str, Path]) -> dict[str, FileDigest]:
    done, total = 0, sum(path.stat().st_size for path in files.values())
    with Meter("MB have their digest") as meter:

        def moved(length_bytes: int) -> None:
            nonlocal done
            done += length_bytes
            meter.proceed(round(done / MB), round(total / MB))

        return digests_of_files(files, moved)


def manifest_of(images: "ImageFiles", name: str) -> DataManifest:
    """The manifest of a set that lies on the disk. Raises RequestError where it can have none, OSError."""
    digests = _digests(images.files)
    channels, height, width = images.shape
    try:
        return DataManifest.model_validate(
            {
                "files": digests,
                "name": name,
                "digest": identity(digests),
                "image_size": image_size_of(width, height),
                "channels": channels,
                "counts": images.counts,
                "classes": images.classes,
                "class_counts": images.class_counts["train"],
                "source": images.source.encode(errors="backslashreplace").decode(),
                "test_class_counts": images.class_counts.get("test", {}),
                "labels": images.labels,
                "left_out": images.left_out,
                "duplicates": images.duplicates,
                "value_range": images.value_range,
            }
        )
    except ValidationError as error:
        mistake = error.errors()[0]
        where = ".".join(map(str, mistake["loc"]))
        raise RequestError(f"{name}: {describe_mistake(where, mistake, shows_value=False)}") from error
