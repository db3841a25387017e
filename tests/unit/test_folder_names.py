"""What folders of classes are called: never a way out of the folder that they are in."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.strangers_text import strangers_texts
from workers.bundle import Bundle
from workers.commands.augment import folder_names


def test_a_class_has_its_own_name_but_for_what_leads_elsewhere() -> None:
    assert folder_names(["T-shirt/top", "Hose", "漢字"]) == ["T-shirt-top", "Hose", "漢字"]
    assert folder_names(["..", "a\x00\x1bb"]) == ["000-", "001-a--b"]
    assert folder_names(["a/b", "a-b"]) == ["000-a-b", "001-a-b"]
    assert folder_names(["x" * 5_000]) == ["x" * 50]


@given(st.lists(strangers_texts | st.sampled_from(["", ".", "..", "../..", "/", "a/", "é" * 300]), max_size=4))
def test_each_class_has_a_folder_of_its_own_in_there(classes: list[str]) -> None:
    names = folder_names(classes)
    assert len(set(names)) == len(classes)
    for name in names:
        assert name not in ("", ".", "..")
        assert name.isprintable()
        assert not set("/\\") & set(name)
        assert len(name.encode()) < 256


@pytest.mark.parametrize(
    ("classes", "names"),
    [(("bars", "discs"), ("bars", "discs")), ((), ("0", "1")), (("bars",), ("0", "1")), (("a", "b", "c"), ("0", "1"))],
)
def test_a_manifest_that_names_another_number_of_classes_names_none(
    classes: tuple[str, ...], names: tuple[str, ...]
) -> None:
    recipe = SimpleNamespace(conditioning=SimpleNamespace(classes=2))
    manifest: Any = SimpleNamespace(classes=classes, spec=SimpleNamespace(recipe=recipe))
    assert Bundle(Path("bundle"), manifest, nn.Identity()).class_names == names
