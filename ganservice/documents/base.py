"""The base of all documents."""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

# Raised when a key goes, or comes to mean something else; a key that is new raises nothing.
VERSION: Final = 1


class Section(BaseModel):
    """A section of a document. Every key is always there; what is unknown, or does not apply, is null."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)

    def plain(self) -> dict[str, Any]:
        """The section as JSON has it."""
        return self.model_dump(mode="json")


class Document(Section):
    """All that a command prints with `-o json`, or one line of it."""

    version: Literal[1] = Field(default=VERSION, description="Version of this form.")
