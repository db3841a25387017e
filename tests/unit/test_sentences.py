"""Events as sentences: every kind has one, whatever an event holds."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ganservice.events import SENTENCES, attempts_story, sentence
from ganservice.job import Event, EventKind, Reason
from ganservice.model import cut_at_word

IMAGES = {"images": 150_000}
TOLD: dict[EventKind, tuple[dict[str, Any], str]] = {
    EventKind.SUBMITTED: (
        {"continues": "root-1", "images": 64, "changes": {"seed": [0, 1]}, "by": "ada"},
        "submitted by ada, to go on from root-1 at 64 images",
    ),
    EventKind.LEASED: ({"owner": "host:1"}, "the attempt begins, leased by host:1"),
    EventKind.REQUEUED: (
        {"reason": "worker_died", "message": "an actor is gone", "delay_s": 4.0},
        "the attempt ended because a worker died: an actor is gone; again in 4 s",
    ),
    EventKind.ROLLED_BACK: (
        {"attempt": 1, "images": 64, "checkpoint": "c", "from_images": 128, "lr_share": 0.5, "why": "D has won"},
        "back from 128 images to 64 images, learning rates times 0.5: D has won",
    ),
    EventKind.CANCEL_REQUESTED: ({"by": "ada"}, "ada asked it to stop"),
    EventKind.SUCCEEDED: ({"reason": "succeeded", "message": ""}, "succeeded"),
    EventKind.FAILED: ({"reason": "diverged", "message": "nan"}, "given up because it diverged: nan"),
    EventKind.CANCELLED: ({"reason": "cancelled", "message": "cancelled by ada", "by": "ada"}, "cancelled by ada"),
    EventKind.PRIORITY_CHANGED: ({"before": 50, "now": 90, "by": "ada"}, "priority changed from 50 to 90 by ada"),
    EventKind.HALTED: (
        {"message": "its sweep lets it train to 640 images"},
        "waits until its sweep lets it go on: its sweep lets it train to 640 images",
    ),
    EventKind.PROMOTED: ({"images": 1280}, "its sweep lets it train to 1,280 images"),
    EventKind.RETRIED: ({"by": "ada"}, "put back into the queue by ada"),
    EventKind.EVALUATED: (
        IMAGES | {
            "measures": {"classes": None, "classifier_frechet_distance": 300.0},
            "protocol": "ab12", "by": "e-1",
        },
        "evaluated at 150,000 images: classifier_frechet_distance 300, classes ? (protocol ab12, by e-1)",
    ),
    EventKind.STALE_WRITE_REFUSED: ({"token": "17"}, "refused what an attempt wrote that had lost its lease"),
    EventKind.STARTED: (
        IMAGES | {"checkpoint": "c", "precision": "bf16", "engine": "graph"},
        "training goes on at 150,000 images, in bf16 by graphs",
    ),
    EventKind.TRANSFERRED: (
        {"checkpoint": "c", "share_g": 0.914, "share_d": 1.0},
        "91.4% of G and 100.0% of D are weights gone on from, the rest begins anew: see its log",
    ),
    EventKind.CHECKPOINT: (
        IMAGES | {"key": "c", "bytes": 3_400_000, "seconds": 0.1234},
        "checkpoint at 150,000 images: 3.4 MB, stored in 0.123 s",
    ),
    EventKind.CHECKPOINT_DAMAGED: (
        {"key": "c/1.pt", "message": "wrong sha256"}, "c/1.pt is damaged, an older one is tried: wrong sha256"
    ),
    EventKind.SAMPLES: (IMAGES | {"key": "k"}, "sample grid at 150,000 images"),
    EventKind.HEALTH: (
        IMAGES | {"before": "ok", "state": "suspect", "findings": [{"kind": "d_has_won", "message": "D has won"}]},
        "health changed from ok to suspect at 150,000 images: D has won",
    ),
    EventKind.PRECISION_CHANGED: (
        {"before": "fp32", "now": "bf16", "why": "all do"}, "precision changed from fp32 to bf16: all do"
    ),
    EventKind.PRECISION_EMULATED: (
        {"slowdown": 3.14}, "bf16 is slow here: a step of convolutions takes 3.1 times as long as in fp32"
    ),
    EventKind.STEPS_NOT_RECORDED: (
        {"why": "only a GPU records graphs"},
        "steps are given to the device one operation at a time: only a GPU records graphs",
    ),
    EventKind.EVALUATION_SUBMITTED: (IMAGES | {"job": "e-1"}, "submitted e-1, which evaluates 150,000 images"),
    EventKind.EVALUATION_SKIPPED: (
        IMAGES | {"reason": "others are under way"}, "left the evaluation at 150,000 images out: others are under way"
    ),
    EventKind.CLASSIFIER_TRAINED: (
        {"accuracy": 0.912, "held_out": True, "precision": "fp32"},
        "classifier of the data set trained in fp32: it knows 91.2% of the pictures held out",
    ),
    EventKind.STORE_UNREACHABLE: (
        {"kind": "full", "message": "no room is left"}, "waits for the store (full): no room is left"
    ),
    EventKind.ALREADY_PUBLISHED: (
        {"generator": "g/"}, "the generator is there: an attempt before had published it"
    ),
}  # fmt: skip


def event(kind: str, detail: dict[str, Any], attempt: int = 1) -> Event:
    return Event(id="1-0", at=0.0, kind=kind, attempt=attempt, detail=detail)


def test_every_kind_has_a_sentence() -> None:
    assert set(SENTENCES) == set(TOLD) == set(EventKind)


@pytest.mark.parametrize("kind", EventKind)
def test_an_event_is_told_in_a_sentence(kind: EventKind) -> None:
    detail, expected = TOLD[kind]
    assert sentence(event(kind, detail)) == expected
    assert not set("{}[]'=") & set(expected), "no Python"


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_told_in_words(reason: Reason) -> None:
    text = sentence(event(EventKind.REQUEUED, {"reason": reason, "message": ""}))
    assert "_" not in text
    assert text.endswith("; again at once")


def test_what_a_message_says_is_not_said_twice() -> None:
    told = sentence(event(EventKind.FAILED, {"reason": "worker_died", "message": "a worker died: killed"}))
    assert told == "given up because a worker died: killed"


anything = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=20) | some.just("x y" * 500),
    lambda values: some.lists(values, max_size=3) | some.dictionaries(some.text(max_size=5), values, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100)
@given(kind=some.sampled_from(EventKind), values=some.lists(anything, min_size=12, max_size=12))
def test_an_event_may_hold_anything(kind: EventKind, values: list[Any]) -> None:
    detail = dict(zip([*TOLD[kind][0], *(f"more {place}" for place in range(12))], values, strict=False))
    assert len(sentence(event(kind, detail))) < 2_000


@pytest.mark.parametrize("kind", EventKind)
@pytest.mark.parametrize("value", [10**400, float("nan"), float("inf"), -1, True, "x" * 3_000, None, ["x"]])
def test_no_value_of_an_event_is_too_odd_for_a_sentence(kind: EventKind, value: Any) -> None:
    assert sentence(event(kind, dict.fromkeys(TOLD[kind][0], value)))


def test_a_kind_of_another_version_tells_its_values() -> None:
    assert sentence(event("of_tomorrow", {"images": 3, "why": "so", "parts": [1]})) == "images 3, why so, parts ?"


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("exit type: SYSTEM_ERROR Worker exits", 30, "exit type: SYSTEM_ERROR..."),
        ("exit type: SYSTEM_ERROR Worker exits", 26, "exit type: SYSTEM_ERROR..."),
        ("one, two three", 9, "one..."),
        ("oneword", 6, "one..."),
        ("short", 5, "short"),
    ],
)
def test_a_text_is_cut_at_a_word(text: str, most: int, expected: str) -> None:
    assert cut_at_word(text, most) == expected


def test_the_story_of_attempts_is_that_of_those_which_ended() -> None:
    events = [
        event(EventKind.STARTED, {"images": 0}),
        event(EventKind.CHECKPOINT, {"images": 64}),
        event(EventKind.REQUEUED, {"reason": "worker_died"}),
        event(EventKind.STARTED, {"images": 64}, attempt=2),
        event(EventKind.REQUEUED, {"reason": "stalled"}, attempt=2),
    ]
    assert attempts_story(events) == [
        "attempt 1 ended because a worker died",
        "attempt 2 went on at 64 images",
        "attempt 2 ended because it stood still",
    ]
