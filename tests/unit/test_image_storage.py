from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganservice.cli import meter
from ganservice.manifest import digests_of_files
from ganservice.settings import Settings
from workers.commands import image_storage
from workers.gan.data.image_files import write_image_set
from workers.gan.data.image_set import ImageSet, Split


class Store:
    def __init__(self, _: Settings) -> None:
        pass

    def put_data_set(self, *_: Any) -> None:
        pass


def test_how_far_the_digests_of_a_set_are_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(meter, "LINE_INTERVAL_S", 0)
    monkeypatch.setattr(image_storage, "ArtifactStore", Store)
    images = ImageSet("greys", {"train": Split(np.zeros((30, 1, 256, 256), np.uint8), None)}, (), "a test")
    files = write_image_set(images, tmp_path)
    manifest = image_storage.store_image_files(Settings(), files, "greys")
    assert manifest.files == digests_of_files(files.files)
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("1 of 2 MB have their digest")
    assert told[-2].startswith("2 of 2 MB have their digest")
