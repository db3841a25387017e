"""The pages that are printed from the code, and the glossary."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from ganservice import metrics, spec_page
from ganservice.cli import reference_page
from ganservice.documents import __main__ as documents_page
from ganservice.recipe import Loss, UnknownNetwork
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec, TrainSpec

DOCS = Path("docs")


def test_the_page_of_specs_is_that_of_the_models() -> None:
    command = "run `python -m ganservice.spec_page >docs/spec.md`"
    assert (DOCS / "spec.md").read_text() == spec_page.page(), command


def test_the_reference_is_that_of_the_code() -> None:
    command = "run `python -m ganservice.cli.reference_page >docs/reference.md`"
    assert (DOCS / "reference.md").read_text() == reference_page.page(), command


def test_the_page_of_metrics_is_that_of_the_code() -> None:
    command = "run `python -m ganservice.metrics >docs/metrics.md`"
    assert (DOCS / "metrics.md").read_text() == metrics.page(), command


def test_the_page_of_documents_is_that_of_the_models() -> None:
    command = "run `python -m ganservice.documents >docs/json.md`"
    assert (DOCS / "json.md").read_text() == documents_page.page(), command


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a value of this type may hold, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            if field.annotation != annotation | None:
                yield from models_in(field.annotation)
    for part in get_args(annotation):
        yield from models_in(part)


MODELS = sorted(
    # What a spec may not ask for has no place on its page.
    {found for root in (TrainSpec, EvaluateSpec, Settings) for found in models_in(root)} - {UnknownNetwork},
    key=lambda model: model.__name__,
)


@pytest.mark.parametrize("model", MODELS)
def test_every_key_is_described_by_a_sentence(model: type[BaseModel]) -> None:
    for key, field in model.model_fields.items():
        text = field.description or ""
        assert text.endswith("."), f"{model.__name__}.{key}"


def test_every_key_of_a_spec_is_on_its_page() -> None:
    page = spec_page.page()
    for model in MODELS:
        if model is not Settings:
            for key, field in model.model_fields.items():
                assert re.search(rf"\| `{key}` \|.*{re.escape(field.description or '')} \|", page)


def test_a_union_has_a_table_for_each_of_its_kinds() -> None:
    page = spec_page.page()
    losses = page[page.index("## `recipe.loss`") : page.index("## `recipe.augment`")]
    kinds = re.findall(r"^### `kind: (\w+)`$", losses, re.MULTILINE)
    tags = [get_args(member)[1].tag for member in get_args(get_args(Loss)[0])]
    assert kinds == tags


def test_all_of_a_training_stands_before_an_evaluation() -> None:
    headings = re.findall(r"^## (.+)$", spec_page.page(), re.MULTILINE)
    of_evaluation = headings[headings.index("An evaluation") + 1 :]
    assert of_evaluation
    assert not [heading for heading in of_evaluation if heading.startswith("`recipe")]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer", "exclusiveMinimum": 0}, "whole number, from 1"),
        ({"type": "integer", "minimum": 2, "maximum": 1000000}, "whole number, 2 to 1,000,000"),
        ({"type": "number", "exclusiveMinimum": 0.5, "exclusiveMaximum": 1}, "number, over 0.5, under 1"),
        ({"enum": ["low", "high"]}, "`low`, `high`"),
        ({"const": "mlp"}, "`mlp`"),
        ({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}, "list of 2 numbers"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "text"),
        ({}, "any value"),
    ],
)
def test_a_schema_is_told_in_words(schema: dict[str, Any], text: str) -> None:
    assert spec_page.type_text(schema) == text


def anchors(page: str) -> set[str]:
    return {spec_page.anchor(heading) for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE)}


@pytest.mark.parametrize("page", [Path("README.md"), Path("CONTRIBUTING.md"), *sorted(DOCS.glob("*.md"))])
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if path.startswith(("http:", "https:")):
            continue
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), target


CODE = re.compile(r"^ *(?:class|def) (\w+)|^(\w+)(?:: [^=]+)? = ", re.MULTILINE)


def test_the_glossary_names_what_there_is() -> None:
    sources = [path.read_text() for room in ("ganservice", "workers") for path in Path(room).rglob("*.py")]
    known = {name for source in sources for names in CODE.findall(source) for name in names if name}
    named = re.findall(r"^\| `(\w+)` \|", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert len(named) > 40
    assert set(named) <= known
