"""What is garbage among the objects of a store, and what never is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganservice.garbage import GarbageObject, KnownJob, Policy, Why, plan
from ganservice.job import State
from ganservice.objects import StoredObject
from ganservice.store_kinds import Kind, amounts, place_of

DAY = 86_400.0
NOW = 1_000 * DAY
POLICY = Policy(grace_s=DAY, unreferenced_s=30 * DAY, generators_s=None, reports=2)
# What jobs name, by the folder of the store and how its files end.
NAMED = {
    "starts": "pt", "weights": "safetensors", "networks": "safetensors", "statistics": "safetensors", "code": "json",
}  # fmt: skip
FINAL = [state for state in State if state.is_final]


def stored(key: str, age_days: float = 100, size: int = 10) -> StoredObject:
    return StoredObject(key, size, NOW - age_days * DAY)


def garbage(*entries: StoredObject, jobs: tuple[KnownJob, ...] = (), policy: Policy = POLICY) -> dict[str, Why]:
    return {each.object.key: each.why for each in plan(entries, jobs, NOW, policy)}


def ended(job_id: str, state: State = State.SUCCEEDED, days_ago: float = 100, *refers: str) -> KnownJob:
    return KnownJob(job_id, state, NOW - days_ago * DAY, frozenset(refers))


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("jobs/a-1/spec.yaml", Kind.SPECS),
        ("jobs/a-1/reports/0001.html", Kind.REPORTS),
        ("jobs/a-1/attempts/0001/checkpoints/000000000064.pt", Kind.CHECKPOINTS),
        ("jobs/a-1/attempts/0001/samples/000000000064.png", Kind.SAMPLES),
        ("jobs/a-1/attempts/0001/metrics/000000000064.jsonl", Kind.METRICS),
        ("jobs/a-1/attempts/0001/generator/manifest.json", Kind.GENERATORS),
        ("jobs/a-1/attempts/0001/evaluation/neighbours.png", Kind.EVALUATIONS),
        ("data/digits/0d/manifest.json", Kind.DATA),
        ("starts/0d.pt", Kind.STARTS),
        ("weights/0d.safetensors", Kind.WEIGHTS),
        ("networks/0d.safetensors", Kind.NETWORKS),
        ("statistics/0d.safetensors", Kind.STATISTICS),
        ("code/0d.json", Kind.CODE),
        ("health/host:1", Kind.HEALTH),
        ("jobs/a-1/attempts/0001/surprise/1", Kind.OTHER),
        ("jobs/a-1/notes.txt", Kind.OTHER),
        ("jobs/A 1/spec.yaml", Kind.OTHER),
        ("data/notes.txt", Kind.OTHER),
        ("notes.txt", Kind.OTHER),
    ],
)
def test_every_key_has_its_kind(key: str, kind: Kind) -> None:
    assert place_of(stored(key)).kind is kind


def test_bytes_are_told_by_kind() -> None:
    found = amounts([stored("starts/0d.pt", size=3), stored("starts/0e.pt", size=4)])
    assert (found[Kind.STARTS].objects, found[Kind.STARTS].bytes) == (2, 7)
    assert found[Kind.DATA].bytes == 0


def test_of_a_job_that_has_left_the_queue_only_its_published_generator_is_kept() -> None:
    prefix = "jobs/a-1/attempts/0001/"
    gone = [prefix + "checkpoints/000000000064.pt", prefix + "samples/1.png", "jobs/a-1/reports/1.html"]
    kept = [prefix + "generator/manifest.json", prefix + "generator/generator.safetensors", "jobs/a-1/spec.yaml"]
    entries = [stored(key) for key in (*gone, *kept)]
    assert garbage(*entries) == dict.fromkeys(gone, Why.ORPHAN)
    assert garbage(*entries, policy=replace(POLICY, generators_s=50 * DAY)).keys() == {*gone, *kept}
    assert garbage(*entries, stored(prefix + "samples/2.png", age_days=29)) == {}, "it was written to in this month"


def test_without_a_manifest_nothing_of_such_a_job_is_kept() -> None:
    keys = ["jobs/a-1/spec.yaml", "jobs/a-1/attempts/0001/generator/generator.safetensors"]
    assert garbage(*map(stored, keys)).keys() == {*keys}


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, None])
def test_of_a_job_that_may_go_on_nothing_is_garbage(state: State | None) -> None:
    checkpoint = stored("jobs/a-1/attempts/0001/checkpoints/000000000064.pt")
    assert garbage(checkpoint, jobs=(KnownJob("a-1", state),)) == {}


@pytest.mark.parametrize(("state", "days_ago", "goes"), [
    (State.FAILED, 31, True), (State.CANCELLED, 31, True), (State.FAILED, 29, False), (State.SUCCEEDED, 31, False),
])  # fmt: skip
def test_checkpoints_of_what_failed_long_ago_are_abandoned(state: State, days_ago: float, goes: bool) -> None:
    key = "jobs/a-1/attempts/0001/checkpoints/000000000064.pt"
    grid = stored("jobs/a-1/attempts/0001/samples/000000000064.png")
    assert garbage(stored(key), grid, jobs=(ended("a-1", state, days_ago),)) == ({key: Why.ABANDONED} if goes else {})


def test_a_checkpoint_that_an_evaluation_reads_is_kept() -> None:
    key = "jobs/a-1/attempts/0001/checkpoints/000000000064.pt"
    reader = KnownJob("a-eval-1", State.QUEUED, refers=frozenset({key}))
    for owner in [(ended("a-1", State.FAILED),), ()]:
        assert garbage(stored(key), jobs=(*owner, reader)) == {}


def test_what_a_later_attempt_wrote_again_is_garbage_of_the_earlier_one() -> None:
    keys = [f"jobs/a-1/attempts/{attempt}/checkpoints/000000000064.pt" for attempt in ("0002", "0010")]
    assert garbage(*map(stored, keys), jobs=(ended("a-1"),)) == {keys[0]: Why.REWRITTEN}


def test_a_generator_that_was_never_published_is_garbage() -> None:
    half = "jobs/a-1/attempts/0001/generator/generator.safetensors"
    whole = [f"jobs/a-1/attempts/0002/generator/{name}" for name in ("generator.safetensors", "manifest.json")]
    assert garbage(stored(half), *map(stored, whole), jobs=(ended("a-1"),)) == {half: Why.UNPUBLISHED}


def test_the_newest_report_pages_are_kept() -> None:
    pages = [f"jobs/a-1/reports/{number}.html" for number in range(4)]
    young = stored(pages[1], age_days=0.5)
    entries = [stored(pages[0]), young, *map(stored, pages[2:])]
    assert garbage(*entries, jobs=(ended("a-1", days_ago=1),)) == {pages[0]: Why.OLD_REPORT}


def test_what_a_job_names_is_kept() -> None:
    keys = [f"{kind}/0d.{end}" for kind, end in NAMED.items()]
    entries = list(map(stored, keys))
    assert garbage(*entries) == dict.fromkeys(keys, Why.UNNAMED)
    assert garbage(*entries, jobs=(ended("a-1", State.FAILED, 1, *keys),)) == {}
    assert garbage(*entries, jobs=(KnownJob("a-1", None),)) == {}, "what it names is not known"


def test_the_generator_of_an_evaluation_stays_while_its_training_refers_to_it() -> None:
    folder = "jobs/a-eval-1/attempts/0001/generator/"
    entries = [stored(folder + name) for name in ("generator.safetensors", "manifest.json")]
    policy = replace(POLICY, generators_s=1.0)
    assert len(garbage(*entries, policy=policy)) == 2
    assert garbage(*entries, policy=policy, jobs=(ended("a-1", State.SUCCEEDED, 1, folder),)) == {}


def test_superseded_data_goes_only_when_asked_for_and_unused() -> None:
    old, new = ["data/d/0d/images.npy", "data/d/0d/manifest.json"], ["data/d/0e/images.npy", "data/d/0e/manifest.json"]
    entries = [*map(stored, old), *(stored(key, age_days=50) for key in new)]
    asked = replace(POLICY, superseded_data=True)
    assert garbage(*entries) == {}
    assert garbage(*entries, policy=asked) == dict.fromkeys(old, Why.SUPERSEDED)
    assert garbage(*entries, policy=asked, jobs=(ended("a-1", State.SUCCEEDED, 1, "data/d/0d/"),)) == {}


def test_a_data_set_of_which_a_file_is_named_stays_whole() -> None:
    keys = ["data/d/0d/test-images.npy", "data/d/0d/train-images.npy"]
    assert garbage(*map(stored, keys), jobs=(ended("a-1", State.SUCCEEDED, 1, keys[1]),)) == {}


def test_half_a_data_set_is_garbage_unless_some_of_it_is_new() -> None:
    keys = ["data/d/0d/test-images.npy", "data/d/0d/train-images.npy"]
    assert garbage(*map(stored, keys)) == dict.fromkeys(keys, Why.HALF)
    assert garbage(stored(keys[0]), stored(keys[1], age_days=1)) == {}


def test_a_manifest_goes_before_what_it_lists() -> None:
    keys = [f"jobs/a-1/attempts/0001/generator/{name}" for name in ("README.md", "manifest.json", "samples.png")]
    found = plan(map(stored, keys), (), NOW, replace(POLICY, generators_s=1.0))
    assert found[0].object.key == keys[1]


# Whatever lies there

JOBS = ("a-1", "a-eval-2", "b-3")
KEYS = [
    *(
        f"jobs/{job}/attempts/{attempt:04d}/{what}"
        for job in JOBS
        for attempt in (1, 2)
        for what in (
            "checkpoints/000000000064.pt", "checkpoints/000000000128.pt", "samples/000000000064.png",
            "metrics/000000000064.jsonl", "generator/manifest.json", "generator/generator.safetensors",
            "evaluation/neighbours.png", "unknown/thing",
        )
    ),
    *(f"jobs/{job}/{what}" for job in JOBS for what in ("spec.yaml", *(f"reports/{page}.html" for page in (1, 2, 3)))),
    *(f"data/d/{digest}/{name}" for digest in ("0d", "0e", "0f") for name in ("manifest.json", "train-images.npy")),
    *(f"{kind}/0d.{end}" for kind, end in NAMED.items()), "health/host:1",
    "somebody/else",
]  # fmt: skip
FOLDERS = sorted({key[: key.rindex("/") + 1] for key in KEYS if "/generator/" in key or key.startswith("data/")})
AGES = st.sampled_from([0.0, 0.9, 1.1, 29.0, 31.0, 400.0])
STORES = st.dictionaries(st.sampled_from(KEYS), AGES).map(
    lambda ages: [stored(key, age) for key, age in sorted(ages.items())]
)
QUEUES = st.dictionaries(
    st.sampled_from(JOBS),
    st.tuples(st.sampled_from([*State, None]), AGES, st.frozensets(st.sampled_from([*KEYS, *FOLDERS]), max_size=6)),
).map(lambda jobs: [KnownJob(job, state, NOW - age * DAY, refers) for job, (state, age, refers) in jobs.items()])
POLICIES = st.builds(
    Policy,
    grace_s=st.just(DAY),
    unreferenced_s=st.sampled_from([1.0, 30 * DAY]),
    generators_s=st.sampled_from([None, 1.0, 30 * DAY]),
    reports=st.integers(1, 2),
    superseded_data=st.booleans(),
)


def folders(entries: list[StoredObject]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for entry in entries:
        place = place_of(entry)
        if place.kind in (Kind.GENERATORS, Kind.DATA):
            found.setdefault(place.folder, set()).add(entry.key)
    return found


@given(STORES, QUEUES, POLICIES)
def test_nothing_that_is_needed_is_ever_garbage(
    entries: list[StoredObject], jobs: list[KnownJob], policy: Policy
) -> None:
    found: list[GarbageObject] = plan(entries, jobs, NOW, policy)
    refers = frozenset[str]().union(*(job.refers for job in jobs))
    lasting = {job.id for job in jobs if job.may_go_on}
    known = {job.id for job in jobs}
    for each in found:
        place = place_of(each.object)
        assert each.object.modified_at <= NOW - policy.grace_s
        assert place.kind is not Kind.OTHER
        assert place.job_id not in lasting
        is_page = each.why is Why.OLD_REPORT
        assert is_page or (each.object.key not in refers and place.folder not in refers)
        if place.kind is Kind.GENERATORS and policy.generators_s is None:
            assert each.why is Why.UNPUBLISHED or place.folder + "manifest.json" not in {one.key for one in entries}
        if place.job_id in known:
            assert each.why is not Why.ORPHAN


@given(STORES, QUEUES, POLICIES)
def test_a_folder_with_a_manifest_goes_whole_or_not_at_all(
    entries: list[StoredObject], jobs: list[KnownJob], policy: Policy
) -> None:
    named = frozenset[str]().union(*(job.refers for job in jobs))
    gone = {each.object.key for each in plan(entries, jobs, NOW, policy)}
    for folder, keys in folders(entries).items():
        if folder + "manifest.json" in keys and not keys & named:
            assert not keys & gone or keys <= gone


@given(STORES, QUEUES, POLICIES)
def test_what_is_left_is_no_garbage(entries: list[StoredObject], jobs: list[KnownJob], policy: Policy) -> None:
    gone = {each.object.key for each in plan(entries, jobs, NOW, policy)}
    left = [entry for entry in entries if entry.key not in gone]
    assert plan(left, jobs, NOW, policy) == []


@given(STORES, QUEUES, POLICIES)
def test_a_job_more_makes_no_more_garbage_of_others(
    entries: list[StoredObject], jobs: list[KnownJob], policy: Policy
) -> None:
    def of_others(known: list[KnownJob]) -> set[str]:
        found = plan(entries, known, NOW, policy)
        return {each.object.key for each in found if place_of(each.object).job_id != jobs[-1].id}

    if jobs:
        assert of_others(jobs) <= of_others(jobs[:-1])
