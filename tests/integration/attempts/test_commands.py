"""Commands: plans and completion, and for what users and machines do wrong one clear line and the right exit code."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ganservice.artifacts import ArtifactStore
from ganservice.objects import ObjectStore
from tests.integration.attempts.in_process import InProcess
from tests.integration.store import damage
from tests.source_files import make_table, make_tar, make_zip
from tests.specs import write_spec
from workers.gan.data.picture_source import SUFFIXES

pytestmark = pytest.mark.usefixtures("quick_bundles")
SpecFile = Callable[..., str]
GANCTL = f"{sys.executable} -m ganservice.cli"


@pytest.fixture(scope="module")
def published(service: InProcess, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job that has published a generator of some 2 MB."""
    path = write_spec(tmp_path_factory.mktemp("specs"), "published", images=640)
    return service.train(path, "--set", "recipe.generator.widths=[512]")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("imges=1", "unknown key imges; did you mean images?"),
        ("images=lots", "expected a valid integer"),
        ("recipe.data.image_size=30", "the data set fashion-mnist has 28"),
        ("recipe.batch_size=60001", "the data set fashion-mnist has 60000 images"),
        ("recipe.data.dataset=nowhere", "the store holds no data set nowhere"),
        ("recipe.generator.widths=[1,-1]", "expected greater than or equal to 1"),
    ],
)
def test_a_spec_that_cannot_be_trained_is_refused(
    service: InProcess, spec_file: SpecFile, change: str, says: str
) -> None:
    before = service.queue().totals().get("submitted")
    service.refused(2, says, "submit", spec_file(), "--set", change)
    assert service.queue().totals().get("submitted") == before


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (["{spec}", "--set", "resources.workers=2"], 2, "found 2, expected 1, as `run` trains in this process alone"),
        (["{spec}", "--set", "resources.gpus_per_worker=1"], 2, "no GPU is seen here"),
        (["{spec}", "--set", "imges=1"], 2, "did you mean images?"),
        (["{spec}", "--set", "recipe.data.dataset=nowhere"], 2, "the store holds no data set nowhere"),
        (["nobody"], 102, "no job has the id or name nobody"),
        (["nobody", "--set", "seed=1"], 2, "nobody is no file"),
        (["nobody.yaml"], 2, "nobody.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_run_is_refused(
    service: InProcess, spec_file: SpecFile, arguments: list[str], exit_code: int, says: str
) -> None:
    words = [word.format(spec=spec_file()) for word in arguments]
    service.refused(exit_code, says, "run", *words, **service.addresses())


def test_a_run_imports_what_trains_before_it_takes_a_lease(
    service: InProcess, spec_file: SpecFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = service.queue().totals().get("submitted")
    monkeypatch.setitem(sys.modules, "workers.attempt.process_group", None)  # so that its import fails
    with pytest.raises(ModuleNotFoundError, match=r"workers\.attempt\.process_group"):
        service.ganctl("run", spec_file(), **service.addresses())
    assert service.queue().totals().get("submitted") == submitted


def test_a_cache_that_cannot_be_written_is_told_in_one_line(service: InProcess, spec_file: SpecFile) -> None:
    done = service.ganctl("run", spec_file(), **service.addresses() | {"GANSERVICE_CACHE_DIR": "/proc/none"})
    assert done.returncode == 100
    assert "Traceback" not in done.stderr
    job_id = done.stdout.strip()
    assert re.search(rf"^{job_id} is queued again: error: /proc/none/\S+: cannot be written", done.stderr, re.MULTILINE)
    assert "set GANSERVICE_CACHE_DIR to a folder of your own" in done.stderr
    assert not [line for line in service.queue().logs(job_id) if "Traceback" in line.text]


def test_no_such_job(service: InProcess) -> None:
    for command in ("show", "watch", "wait", "cancel", "retry", "events", "logs", "fetch"):
        service.refused(102, "nobody", command, "nobody")


def test_nothing_to_continue(service: InProcess, spec_file: SpecFile) -> None:
    service.refused(
        102, "neither the queue nor the store knows a job nobody", "submit", spec_file(), "--from", "nobody"
    )
    service.refused(2, "expected @final, @best or @IMAGES", "submit", spec_file(), "--from", "nobody@")


def test_a_broker_that_is_down(service: InProcess) -> None:
    service.refused(3, "127.0.0.1:9 cannot be reached", "list", GANSERVICE_BROKER_URL="redis://127.0.0.1:9/0")


def test_settings_that_make_no_sense(service: InProcess) -> None:
    for command in ("list", "doctor", "up"):
        service.refused(2, "GANSERVICE_BROKER_URL: expected redis://", command, GANSERVICE_BROKER_URL="nonsense")
    service.refused(2, "GANSERVICE_STORE_URL: expected http", "data", "list", GANSERVICE_STORE_URL="nonsense")


def test_an_idempotency_key_of_another_spec(service: InProcess, spec_file: SpecFile) -> None:
    job_id = service.ok("submit", spec_file("once", images=640), "--idempotency-key", "k")
    assert service.ok("submit", spec_file("once", images=640), "--idempotency-key", "k") == job_id
    service.refused(2, job_id, "submit", spec_file("once", images=1280), "--idempotency-key", "k")


def test_a_store_that_is_down(service: InProcess, spec_file: SpecFile) -> None:
    service.refused(
        3, "127.0.0.1:9 cannot be reached", "submit", spec_file(), GANSERVICE_STORE_URL="http://127.0.0.1:9/gan"
    )


def test_a_client_examines_what_it_uses_and_no_more(service: InProcess, tmp_path: Path) -> None:
    elsewhere = service.addresses() | {"GANSERVICE_STATE_DIR": str(tmp_path / "none")}
    done = service.ganctl("doctor", "-o", "json", **elsewhere)
    assert done.returncode == 0, done.stderr
    assert [row["part"] for row in json.loads(done.stdout)["parts"]] == ["broker", "store"]


def test_no_stack_at_all(service: InProcess, tmp_path: Path) -> None:
    service.refused(3, "ganctl up", "list", GANSERVICE_STATE_DIR=str(tmp_path))


def test_a_bundle_whose_digest_is_wrong(service: InProcess, published: str, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    service.ok("fetch", published, "--into", str(bundle))
    service.refused(1, "exists already", "fetch", published, "--into", str(bundle))
    weights = bundle / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    service.refused(4, "sha256 differs", "sample", str(bundle), "--into", str(tmp_path / "never.png"))
    assert not (tmp_path / "never.png").exists()


def test_a_generator_that_another_process_has_just_brought_is_taken(
    service: InProcess, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower of two failed, with advice that meant nothing."""
    monkeypatch.setenv("GANSERVICE_CACHE_DIR", str(tmp_path / "cache"))
    fetch, first = ArtifactStore.fetch_generator, iter([True])
    download = ObjectStore.download

    def fetch_beside(store: ArtifactStore, key: str, target: Path) -> Any:
        def download_late(objects: ObjectStore, *about: Any) -> None:
            for _ in first:
                fetch(store, key, target)
            download(objects, *about)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ObjectStore, "download", download_late)
            return fetch(store, key, target)

    monkeypatch.setattr(ArtifactStore, "fetch_generator", fetch_beside)
    service.ok("sample", published, "--into", str(tmp_path / "grid.png"))
    assert next(first, None) is None


def test_places_that_cannot_be_written(service: InProcess, published: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    service.refused(2, "cannot be written", "fetch", published, "--into", str(tmp_path / "file" / "x"))
    service.refused(2, "cannot be written", "sample", published, "--into", str(tmp_path / "no" / "x.png"))
    service.refused(2, "cannot be written", "sample", published, "--into", str(tmp_path))
    service.refused(2, "cannot be written", "sample", published, "--into", str(tmp_path / "file" / "x.png"))
    service.refused(2, "is no file", "sample", published, "--into", "/dev/null")
    assert Path("/dev/null").is_char_device()
    for name in ("x" * 250, "x" * 300):
        for command in ("fetch", "sample"):
            service.refused(2, "cannot be written", command, published, "--into", str(tmp_path / name))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*GANCTL.split(), "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)


def test_a_disk_that_is_full(published: str, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    # A disk of its own, in a mount namespace of its own: any user may have one.
    script = f"""
        mount -t tmpfs -o size=1m tmpfs {full}
        {GANCTL} fetch {published} --into {full}/bundle; echo code $?
        {GANCTL} sample {published} -n 10000 --into {full}/grid.png; echo code $?
        echo left $(ls -A {full})
    """
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["code 5", "code 5", "left"]
    assert done.stderr.count("the disk is full; nothing half-written was kept") == 2


def test_own_pictures_can_be_imported_and_bad_ones_are_named(service: InProcess, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        Image.new("RGB", (40 + index, 30), (index, 2, 3)).save(folder / f"{index}.png")
    assert service.ok("data", "import", str(folder), "--name", "mine", "--size", "16") == "mine"
    assert "mine" in service.ok("data", "list")
    (folder / "1.png").write_bytes(b"not a picture")
    service.refused(2, "1.png", "data", "import", str(folder), "--name", "mine", "--size", "16")
    service.refused(2, "no data set is known as cifar", "data", "get", "cifar")


def test_a_class_whose_name_is_no_text_is_stored_as_text(service: InProcess, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    for name in (b"caf\xe9", b"bell\x07"):
        of_class = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
        of_class.mkdir(parents=True)
        Image.new("RGB", (30, 30)).save(of_class / "1.png")
    service.ok("data", "import", str(folder), "--name", "odd", "--size", "16")
    assert service.store.find_data_set("odd").classes == ("bell\\x07", "caf\\xe9")


def test_an_import_says_what_it_made_of_a_folder_and_never_drops_labels_unasked(
    service: InProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "pets"
    for number, name in enumerate(("train/cat/1.png", "train/dog/2.png", "val/dog/3.png", "train/notes.txt")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (16, 16), number).save(folder / name, "PNG")
    command = ("data", "import", str(folder), "--name", "pets", "--size", "16")
    done = service.ganctl(*command)
    assert done.stderr.splitlines()[:-1] == [
        "splits: train/ is trained on, 2 pictures",
        "splits: val/ is held out, 1 picture",
        "classes: 2 by folders: cat, dog; 1 picture of each to train on",
        f"ignored: 1 file: 1 *.txt (train/notes.txt); pictures are named *{', *'.join(SUFFIXES)}",
    ]
    stored = service.store.find_data_set("pets")
    ending = f"2 images of 16 px and 1 held out, 2 classes, in the store, digest {stored.digest[:12]}"
    assert done.stderr.splitlines()[-1] == ending
    assert (stored.counts, stored.labels, stored.left_out) == ({"train": 2, "test": 1}, "folders", {"*.txt": 1})
    assert (stored.class_counts, stored.test_class_counts) == ({"cat": 1, "dog": 1}, {"cat": 0, "dog": 1})
    sheet = tmp_path / "sheet.png"
    shown = service.ok("data", "show", f"pets@{stored.digest[:8]}", "--sheet", str(sheet))
    assert "  2, each of 1\n" in shown
    assert shown.splitlines()[-1].split() == ["dog", "1", "50.0%", "1"]
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert json.loads(service.ok("data", "show", "pets", "-o", "json"))["data_set"]["digest"] == stored.digest
    service.refused(2, "the store holds no data set pest", "data", "show", "pest")
    (folder / "train" / "labels.csv").write_text("file,label\ntrain/cat/1.png,old\ntrain/dog/2.png,old\n")
    service.refused(2, "tell different classes; give --labels folders or --labels train/labels.csv", *command)
    service.ok(*command, "--labels", "none")
    assert service.store.find_data_set("pets").classes == ()


def test_pictures_come_in_archives_and_tables_with_their_classes(service: InProcess, tmp_path: Path) -> None:
    images = []
    for shade in range(4):
        stream = io.BytesIO()
        Image.new("L", (16, 16), shade).save(stream, "PNG")
        images.append(stream.getvalue())
    table = [{"bytes": image, "path": None} for image in images]
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    sidecars = {f"{number}.cls": name for number, name in enumerate((b"cat", b"cat", b"dog", b"dog"))}
    names = ("cat\\1.png", "cat\\2.png", "dog\\1.png", "dog\\2.png")
    sources = {
        "backslashes": make_zip(tmp_path / "pets.zip", dict(zip(names, images, strict=True))),
        "webdataset": make_tar(
            tmp_path / "pets.tar", {f"{number}.png": image for number, image in enumerate(images)} | sidecars
        ),
        "hub": make_table(tmp_path / "train-0.parquet", {"image": table, "label": [0, 0, 1, 1]}, features),
    }
    digests = set()
    for name, path in sources.items():
        assert service.ok("data", "import", str(path), "--name", name, "--size", "16") == name
        stored = service.store.find_data_set(name)
        assert (stored.classes, stored.class_counts) == (("cat", "dog"), {"cat": 2, "dog": 2})
        digests.add(stored.digest)
    assert len(digests) == 1, "the same pictures with the same classes are the same set"


def test_one_damaged_object_hides_no_other(service: InProcess, published: str, tmp_path: Path) -> None:
    key = f"data/broken/{'0' * 64}/manifest.json"
    service.store.objects.put(key, b"{}")
    done = service.ganctl("data", "list")
    assert done.returncode == 0
    assert "fashion-mnist" in done.stdout
    assert [line for line in done.stderr.splitlines() if key in line and "passed over" in line]
    service.store.objects.delete(key)
    # Of a job: a grid and its metrics.
    [(_, grid), *_] = service.store.sample_grids(published)
    [metrics] = [each for each in service.store.keys(published) if each.endswith(".jsonl") and "/metrics/" in each]
    damage(service.settings, grid)
    damage(service.settings, metrics, lambda data: b"{}\n" + data, renews_digest=True)
    done = service.ganctl("report", published, "--into", str(tmp_path / "report.html"))
    assert (done.returncode, done.stderr.count("left out")) == (0, 2)
    assert "1 of " in done.stderr
    damage(service.settings, grid)


def test_shell_completion_offers_ids_and_names(service: InProcess, published: str) -> None:
    done = service.ganctl(_GANCTL_COMPLETE="bash_complete", COMP_WORDS="ganctl show publ", COMP_CWORD="2")
    assert {f"plain,{published}", "plain,published"} <= set(done.stdout.split())


def test_a_plan_tells_what_a_gang_takes(service: InProcess, spec_file: SpecFile) -> None:
    before = service.queue().totals().get("submitted")
    plan = service.ok("submit", spec_file(), "--dry-run", "-o", "json", "--set", "resources.cpus_per_worker=2")
    assert json.loads(plan)["gang"]["cpus"] == 2
    assert service.queue().totals().get("submitted") == before
