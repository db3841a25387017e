"""What `ls`, `cp` and `link` bring of any job, on a real broker and a real store."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import click
import pytest

from ganservice.artifacts import ArtifactStore
from ganservice.errors import ArtifactExists, ArtifactMissing, DigestMismatch, JobNotFound, RequestError
from ganservice.job import Lease
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.commands import Command
from tests.integration.broker import Broker
from tests.integration.bundles import FILES, generator_manifest, publish
from tests.integration.jobs import FAILURE, SUCCESS, evaluation, lease, submit, submit_evaluation
from tests.integration.store import damage, raw_client

GRIDS = "attempts/0001/samples"


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """One broker: what scripts do is tested on both elsewhere."""
    return valkey


@pytest.fixture
def running(queue: JobQueue, store: ArtifactStore, spec: TrainSpec) -> Lease:
    """A job that runs, with two grids, metrics and a checkpoint in the store."""
    submit(queue, spec)
    held = lease(queue)
    for images in (8, 16):
        store.put_sample_grid(held, images, f"png {images}".encode())
    store.put_metrics(held, 16, b"{}\n")
    store.put_checkpoint(held, 16, b"weights")
    return held


def put_bare(bucket: Settings, key: str, data: bytes) -> None:
    """Store an object without a digest, as whoever writes to the bucket by other means."""
    name = bucket.require_store().rpartition("/")[2]
    raw_client(bucket).put_object(Bucket=name, Key=key, Body=data)


def test_what_a_running_job_has_is_listed(command: Command, running: Lease) -> None:
    said = command("ls", running.job_id)
    head, *rows = said.out.splitlines()
    assert head.split() == ["NAME", "BYTES", "AGE"]
    assert [row.split()[0] for row in rows] == [
        "attempts/0001/checkpoints/000000000016.pt", "attempts/0001/metrics/000000000016.jsonl",
        f"{GRIDS}/000000000008.png", f"{GRIDS}/000000000016.png",
    ]  # fmt: skip
    [newest] = json.loads(command("ls", running.job_id, "grid", "-o", "json").out)["files"]
    assert (newest["name"], newest["bytes"]) == (f"{GRIDS}/000000000016.png", 6)


@pytest.mark.parametrize(
    ("pattern", "count"), [("*.png", 2), ("samples", 2), ("samples/", 2), ("samples/*8.png", 1), ("attempts/0001", 4)]
)
def test_names_are_asked_for_by_a_pattern(pattern: str, count: int, command: Command, running: Lease) -> None:
    assert len(json.loads(command("ls", running.job_id, pattern, "-o", "json").out)["files"]) == count


def test_a_job_that_has_stored_nothing_is_told_apart_from_one_that_nobody_knows(
    command: Command, queue: JobQueue, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    said = command("ls", job_id)
    assert (said.out, said.err) == ("", f"{job_id} has nothing in the store yet\n")
    with pytest.raises(JobNotFound, match="neither the queue nor the store knows a job nobody-123456"):
        command("ls", "nobody-123456")


def test_an_evaluation_is_told_to_leave_nothing_to_go_on_from(
    command: Command, queue: JobQueue, spec: TrainSpec
) -> None:
    """It "left nothing yet", also where it had succeeded."""
    job_id = submit_evaluation(queue, spec, "tiny-1", 64)
    with pytest.raises(ArtifactMissing, match=f"^{job_id} is an evaluation, which leaves numbers alone; name tiny-1$"):
        command("evaluate", job_id)


def test_the_newest_of_a_kind_comes_by_a_word(command: Command, running: Lease, tmp_path: Path) -> None:
    said = command("cp", f"{running.job_id}:grid", f"{running.job_id}:metrics", str(tmp_path))
    assert said.out.splitlines() == [str(tmp_path / "grid.png"), str(tmp_path / "metrics.jsonl")]
    assert said.err == "2 files, 9 bytes; every sha256 is right\n"
    assert (tmp_path / "grid.png").read_bytes() == b"png 16"
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"{}\n"


def test_the_newest_grid_is_of_the_newest_attempt(
    command: Command, running: Lease, store: ArtifactStore, tmp_path: Path
) -> None:
    after_rollback = running.model_copy(update={"attempt": 2})
    store.put_sample_grid(after_rollback, 8, b"png of the second attempt")
    command("cp", f"{running.job_id}:grid", str(tmp_path / "new.png"))
    assert (tmp_path / "new.png").read_bytes() == b"png of the second attempt"
    assert store.latest_sample_grid(running.job_id) == b"png of the second attempt"


def test_files_of_a_pattern_keep_their_names_and_those_of_several_jobs_their_folders(
    command: Command, queue: JobQueue, running: Lease, store: ArtifactStore, spec: TrainSpec, tmp_path: Path
) -> None:
    queue.finish(running, FAILURE)
    submit(queue, spec)
    other = lease(queue)
    store.put_sample_grid(other, 8, b"png")
    command("cp", f"{running.job_id}:samples", str(tmp_path / "one"))
    assert sorted(path.name for path in (tmp_path / "one" / GRIDS).iterdir()) == [
        "000000000008.png",
        "000000000016.png",
    ]
    command("cp", f"{running.job_id}:grid", f"{other.job_id}:grid", str(tmp_path / "both"))
    assert {path.parent.name for path in (tmp_path / "both").glob("*/grid.png")} == {running.job_id, other.job_id}


def test_a_slash_makes_a_folder(command: Command, running: Lease, tmp_path: Path) -> None:
    said = command("cp", f"{running.job_id}:grid", f"{tmp_path}/new/")
    assert said.out == f"{tmp_path}/new/grid.png\n"
    assert (tmp_path / "new" / "grid.png").read_bytes() == b"png 16"


@pytest.mark.parametrize(("wanted", "end"), [("*.png", ""), ("grid", "/")])
def test_a_file_is_no_folder(wanted: str, end: str, command: Command, running: Lease, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("mine")
    with pytest.raises(RequestError, match="is a file; several files, or a slash at the end, need a folder"):
        command("cp", f"{running.job_id}:{wanted}", f"{tmp_path}/x.png{end}", "--force")
    assert (tmp_path / "x.png").read_text() == "mine"


def test_nothing_is_overwritten_unless_it_is_asked_for(command: Command, running: Lease, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("mine")
    ask = ("cp", f"{running.job_id}:grid", f"{running.job_id}:metrics", str(tmp_path))
    with pytest.raises(ArtifactExists, match=r"metrics\.jsonl exists already; --force overwrites it"):
        command(*ask)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"], "it is seen before anything is copied"
    command(*ask, "--force")
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"{}\n"


def test_what_is_damaged_does_not_arrive(command: Command, bucket: Settings, running: Lease, tmp_path: Path) -> None:
    damage(bucket, f"jobs/{running.job_id}/{GRIDS}/000000000016.png")
    (tmp_path / "grid.png").write_text("mine")
    with pytest.raises(DigestMismatch, match="they are damaged"):
        command("cp", f"{running.job_id}:grid", str(tmp_path), "--force")
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]
    assert (tmp_path / "grid.png").read_text() == "mine"


def test_what_was_stored_by_other_means_comes_with_a_word(
    command: Command, bucket: Settings, running: Lease, tmp_path: Path
) -> None:
    put_bare(bucket, f"jobs/{running.job_id}/notes.txt", b"notes")
    said = command("cp", f"{running.job_id}:notes.txt", str(tmp_path))
    assert said.err == "1 files, 5 bytes; 1 of them stored without a sha256, so that nobody knows\n"


@pytest.mark.parametrize("name", [".bashrc.png", "-rf.png", "a\x1bb.png"])
def test_no_name_leads_out_of_the_folder(
    name: str, command: Command, bucket: Settings, running: Lease, tmp_path: Path
) -> None:
    put_bare(bucket, f"jobs/{running.job_id}/{name}", b"hostile")
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    said = command("cp", f"{running.job_id}:*.png", str(folder))
    assert "for no file is called so here" in said.err
    assert {path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == {b"png 8", b"png 16"}


@pytest.mark.parametrize(
    ("source", "says"),
    [("{id}", "expected JOB:FILE"), ("{id}:", "expected JOB:FILE"), ("{id}:report", "`ganctl report"),
     ("{id}:nothing", "has nothing in the store that matches")],
)  # fmt: skip
def test_what_cannot_be_copied_is_told_in_one_line(
    source: str, says: str, command: Command, running: Lease, tmp_path: Path
) -> None:
    with pytest.raises((RequestError, ArtifactMissing), match=says):
        command("cp", source.format(id=running.job_id), str(tmp_path))


def read(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 # the test's own store
        return bytes(answer.read())


def test_a_link_to_the_newest_grid_is_one_line(command: Command, running: Lease) -> None:
    said = command("link", running.job_id)
    [link] = said.out.splitlines()
    assert read(link) == b"png 16"
    assert f"{GRIDS}/000000000016.png of {running.job_id}, for 1d 0h; of {len(link)} characters " in said.err
    [row] = json.loads(command("link", running.job_id, "metrics", "-o", "json").out)["links"]
    assert (row["file"], read(row["link"])) == ("attempts/0001/metrics/000000000016.jsonl", b"{}\n")


def test_a_link_works_for_as_long_as_it_says(command: Command, running: Lease) -> None:
    [link] = command("link", running.job_id, "--for", "90m").out.splitlines()
    assert "X-Amz-Expires=5400" in link
    with pytest.raises(RequestError, match="for S3 signs no link for longer"):
        command("link", running.job_id, "--for", "8d")
    with pytest.raises(click.BadParameter):
        command("link", running.job_id, "--for", "1 hour")
    with pytest.raises(urllib.error.HTTPError):
        read(link.replace("X-Amz-Expires=5400", "X-Amz-Expires=9000"))


def test_a_generator_is_linked_to_by_a_line_a_file(
    command: Command, queue: JobQueue, running: Lease, store: ArtifactStore
) -> None:
    folder = publish(store, running)
    queue.finish(running, SUCCESS.model_copy(update={"generator": folder}))
    links = command("link", running.job_id, "generator").out.splitlines()
    assert [read(link) for link in links[:-1]] == list(FILES.values())
    assert b'"lineage"' in read(links[-1])


COLLAPSED = "collapsed: its samples were all alike"


def test_a_generator_with_a_reservation_comes_with_a_loud_word(
    command: Command, queue: JobQueue, running: Lease, store: ArtifactStore, tmp_path: Path
) -> None:
    manifest = generator_manifest(running, FILES).model_copy(update={"reservation": COLLAPSED})
    folder = store.publish_generator(running, FILES, manifest)
    queue.finish(running, SUCCESS.model_copy(update={"generator": folder}))
    said = command("fetch", running.job_id, "--into", str(tmp_path / "bundle"))
    assert f"RESERVATION: {COLLAPSED}; look at {tmp_path / 'bundle' / 'samples.png'} before it is used\n" in said.err
    said = command("fetch", running.job_id, "--into", str(tmp_path / "again"), "-o", "json")
    assert json.loads(said.out)["reservation"] == COLLAPSED


def test_what_was_found_since_a_generator_was_published_is_told_too(
    command: Command, queue: JobQueue, running: Lease, store: ArtifactStore, spec: TrainSpec, tmp_path: Path
) -> None:
    folder = publish(store, running)
    queue.finish(running, SUCCESS.model_copy(update={"generator": folder}))
    for images, distance in ((32, 10.0), (64, 90.0)):
        by = submit_evaluation(queue, spec, running.job_id, images)
        found = evaluation(running.job_id, images, distance, by)
        queue.finish(lease(queue), SUCCESS.model_copy(update={"evaluation": found}))
    said = command("fetch", running.job_id, "--into", str(tmp_path / "bundle"))
    assert "RESERVATION: far from its best: classifier_frechet_distance 90 at 64 images, 10 at 32;" in said.err


def test_a_sound_generator_comes_without_one(
    command: Command, queue: JobQueue, running: Lease, store: ArtifactStore, tmp_path: Path
) -> None:
    queue.finish(running, SUCCESS.model_copy(update={"generator": publish(store, running)}))
    assert "RESERVATION" not in command("fetch", running.job_id, "--into", str(tmp_path / "bundle")).err
