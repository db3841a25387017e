"""Documents of what goes on to come: one a line."""

from typing import Any, Self

from pydantic import Field

from ganservice.documents.base import Document
from ganservice.events import sentence
from ganservice.job import Event, LogLine


class EventDocument(Document):
    """`events`: what happened to a job, a line each."""

    job_id: str = Field(description="The job.")
    id: str = Field(description="By which events are in order.")
    at: float = Field(description="When it happened, Unix time in s.")
    attempt: int = Field(description="In which attempt; 0 before the first.")
    kind: str = Field(description="What happened.")
    text: str = Field(description="What happened, as a sentence.")
    detail: dict[str, Any] = Field(description="More of it; the keys are the kind's.")

    @classmethod
    def of(cls, job_id: str, event: Event) -> Self:
        """The document of an event."""
        return cls(job_id=job_id, text=sentence(event), **event.model_dump(mode="json"))


class LogDocument(Document):
    """`logs`: what an attempt wrote, a line each."""

    job_id: str = Field(description="The job.")
    id: str = Field(description="By which lines are in order.")
    at: float = Field(description="When it was written, Unix time in s.")
    attempt: int = Field(description="By which attempt.")
    text: str = Field(description="The line.")

    @classmethod
    def of(cls, job_id: str, line: LogLine) -> Self:
        """The document of a line."""
        return cls(job_id=job_id, **line.model_dump(mode="json"))
