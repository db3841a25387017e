"""The names by which users ask for what a job has in the store."""

import pytest

from ganservice.errors import ArtifactMissing
from ganservice.job_files import HARMLESS, WORDS, JobFile, choose_files
from ganservice.objects import StoredObject

NAMES = (
    "attempts/0001/checkpoints/000000000016.pt",
    "attempts/0001/metrics/000000000016.jsonl",
    "attempts/0001/samples/000000000008.png",
    "attempts/0001/samples/000000000016.png",
    "attempts/0002/samples/000000000008.png",
    "attempts/10000/evaluation/nearest.png",
    "attempts/9999/reports/1.html",
    "reports/0000000000000000001.html",
    "reports/0000000000000000002.html",
    "spec.yaml",
)


def files(*names: str) -> list[JobFile]:
    return [JobFile("tiny-abc", StoredObject(f"jobs/tiny-abc/{name}", 1, 0.0), name) for name in names]


@pytest.mark.parametrize(
    ("word", "name", "copy"),
    [
        ("grid", "attempts/0002/samples/000000000008.png", "grid.png"),
        ("metrics", "attempts/0001/metrics/000000000016.jsonl", "metrics.jsonl"),
        ("checkpoint", "attempts/0001/checkpoints/000000000016.pt", "checkpoint.pt"),
        ("report", "reports/0000000000000000002.html", "report.html"),
    ],
)
def test_a_word_means_the_newest_of_its_kind(word: str, name: str, copy: str) -> None:
    [found] = choose_files(files(*NAMES), word, "tiny-abc")
    assert (found.name, found.copy) == (name, copy)


def test_every_word_says_what_makes_one() -> None:
    for word in WORDS:
        with pytest.raises(ArtifactMissing, match=f"tiny-abc has no {word} in the store; .{{10,}}"):
            choose_files(files("samples/x.png", "attempts/1/samples/evil.png"), word, "tiny-abc")


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("*", len(NAMES)), ("*.png", 4), ("samples", 3), ("attempts/0001", 4), ("reports/", 3), ("spec.yaml", 1),
        ("nearest.png", 1), ("attempts/*/samples/*8.png", 2),
    ],
)  # fmt: skip
def test_a_pattern_means_names_their_ends_and_folders(pattern: str, count: int) -> None:
    assert len(choose_files(files(*NAMES), pattern, "tiny-abc")) == count


@pytest.mark.parametrize("pattern", ["png", "sample", "attempts/00", "/"])
def test_a_pattern_means_no_part_of_a_name(pattern: str) -> None:
    with pytest.raises(ArtifactMissing, match="matches"):
        choose_files(files(*NAMES), pattern, "tiny-abc")


def test_our_own_names_become_names_of_files() -> None:
    assert all(file.is_harmless for file in files(*NAMES, "attempts/0001/generator/README.md"))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "x/../../y", "/etc/passwd", "x//y", "x/", "-rf", ".bashrc", "a\nb", "a\x1bb", "a b"]
)
def test_names_that_lead_elsewhere_do_not(name: str) -> None:
    assert HARMLESS.fullmatch(name) is None
