from pathlib import Path

import pytest

from workers.dispatch import sources


def test_code_that_has_changed_under_the_same_version_is_another_release(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def release() -> str:
        sources.release.cache_clear()
        return sources.release()

    assert release() == release(), "the same code is the same on every machine"
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    for package in sources.OWN:
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text("A = 1\n")
    found = [release()]
    (tmp_path / "workers" / "a.py").write_text("A = 2\n")
    found.append(release())
    (tmp_path / "workers" / "a.py").rename(tmp_path / "workers" / "b.py")
    found.append(release())
    assert len(set(found)) == len(found)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.py").touch()
    assert release() == found[-1]
    monkeypatch.undo()
    sources.release.cache_clear()
