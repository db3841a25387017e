"""Attempts of jobs, and commands, in the process of the tests: on a real broker and store, without Ray."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from ganservice import cli
from ganservice.settings import Settings
from tests.integration.attempts.in_process import InProcess, serve
from tests.integration.broker import Broker
from tests.integration.store import Store
from tests.specs import write_spec
from workers.gan.export import ONNX


@pytest.fixture(scope="session")
def fashion_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a store that holds Fashion-MNIST, for as long as the tests run."""
    folder = tmp_path_factory.mktemp("pictures")
    store = Store(folder)
    try:
        store.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GANSERVICE_STATE_DIR", str(folder))
            # One that is set keeps downloads from one run of the tests to the next.
            patch.setenv("GANSERVICE_CACHE_DIR", os.environ.get("GANSERVICE_CACHE_DIR", str(folder / "cache")))
            patch.setattr(sys, "argv", ["ganctl", "data", "get", "fashion-mnist"])
            with pytest.raises(SystemExit) as ended:
                cli.main()
        assert not ended.value.code
        yield store.settings.model_copy(update={"cache_dir": folder / "cache"})
    finally:
        store.kill()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store of one module's own, which it may kill."""
    store = Store(tmp_path_factory.mktemp("store"))
    try:
        store.start()
        yield store
    finally:
        store.kill()


@pytest.fixture(scope="module")
def service(
    valkey: Broker, fashion_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InProcess]:
    """The service of one module of tests: its queue is empty at first, its store has Fashion-MNIST."""
    with serve(valkey, fashion_settings, tmp_path_factory.mktemp("state")) as service:
        yield service


@pytest.fixture(scope="module")
def quick_bundles() -> Iterator[None]:
    """Publish without a graph and curves: they take seconds, and tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.attempt.publication.generator_onnx", lambda *_: {ONNX: b"left out"})
        patch.setattr("workers.attempt.publication.curves_png", lambda *_: b"left out")
        yield


@pytest.fixture(scope="module")
def import_shapes(service: InProcess, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Imports a data set of two classes that a classifier tells apart in seconds, drawn by its name."""
    return lambda name: service.import_shapes(tmp_path_factory.mktemp(name), name)


@pytest.fixture
def spec_file(tmp_path: Path) -> Callable[..., str]:
    """Writes the spec of a small MLP GAN on real pictures; keyword arguments replace its top-level keys."""
    return partial(write_spec, tmp_path)
