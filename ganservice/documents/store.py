"""Documents of what the store holds."""

from typing import Any

from pydantic import Field

from ganservice.documents.base import Document, Section
from ganservice.manifest import DataManifest


class FetchDocument(Document):
    """`fetch`: the generator that came home."""

    folder: str = Field(description="Where it is.")
    manifest: dict[str, Any] = Field(description="What its `manifest.json` says.")
    reservation: str | None = Field(description="What is to be said against it.")


class StoredFileSection(Section):
    """An object of a job."""

    name: str = Field(description="Its key without `jobs/ID/`.")
    bytes: int = Field(description="Its size.")
    modified_at: float = Field(description="When it was stored, Unix time in s.")


class LsDocument(Document):
    """`ls`: what a job has in the store."""

    job_id: str = Field(description="The job.")
    files: tuple[StoredFileSection, ...] = Field(description="Its objects, by name.")


class LinkSection(Section):
    """A link to one file."""

    file: str = Field(description="Name of the file.")
    link: str = Field(description="Whoever has it has the file, until it expires.")


class LinkDocument(Document):
    """`link`: links that expire."""

    links: tuple[LinkSection, ...] = Field(description="The links.")


class ReportDocument(Document):
    """`report`: the page that was written."""

    path: str = Field(description="Where it is.")
    key: str | None = Field(description="Its key in the store; null of a sweep's page, which is not stored.")


class NetworkDocument(Document):
    """`networks put`: the file that is in the store."""

    key: str = Field(description="Its key, as `evaluate --weights` takes it.")


class StoredJobSection(Section):
    """A job that only the store knows."""

    id: str = Field(description="Its id.")
    has_generator: bool = Field(description="Whether it published a generator.")
    objects: int = Field(description="Objects that it left.")
    bytes: int = Field(description="Their bytes.")
    modified_at: float = Field(description="When it last wrote, Unix time in s.")


class StoredJobsDocument(Document):
    """`list --stored`: jobs that have left the queue and not the store."""

    jobs: tuple[StoredJobSection, ...] = Field(description="The jobs, those first that were written to last.")


class GarbageSection(Section):
    """An object that nobody refers to."""

    key: str = Field(description="Its key.")
    bytes: int = Field(description="Its size; 0 of an unfinished upload.")
    why: str = Field(description="Why it goes.")


class GarbageDocument(Document):
    """`gc`: what is deleted, or would be."""

    deleted: bool = Field(description="False with `--dry-run`.")
    garbage: tuple[GarbageSection, ...] = Field(description="The objects.")


class DataSetsDocument(Document):
    """`data list`: the data sets in the store."""

    data_sets: tuple[DataManifest, ...] = Field(description="Their manifests.")


class DataShowDocument(Document):
    """`data show`: a data set in the store."""

    data_set: DataManifest = Field(description="Its manifest.")
    bytes: int = Field(description="Its size.")
    imbalance: float | None = Field(
        description="Training pictures of the largest class for each one of the smallest, of classes that have any."
    )
    sheet: str | None = Field(description="The PNG that was written.")


class DataSetDocument(Document):
    """`data get`, `data import`, `data delete`: one data set."""

    name: str = Field(description="Its name.")
    digest: str = Field(description="Its digest.")
    stored: bool = Field(description="Whether the store holds it now.")
