"""A service whose dispatcher and workers are the test, and whose commands run in its process."""

import contextlib
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import torch

from ganservice import cli
from ganservice.artifacts import ArtifactStore
from ganservice.job import Job, Lease, Progress
from ganservice.queue import JobQueue
from ganservice.roles import Role
from ganservice.settings import Settings
from ganservice.stack_file import SETTINGS_FILE
from tests.commands import Done, Service
from tests.conftest import wait_until
from tests.integration.broker import Broker
from tests.integration.store import as_role
from workers.attempt.run import run_attempt
from workers.gan.trainer import Trainer
from workers.gan.worker_group import WorkerGroup

# A directive is to reach a training of seconds before its end.
HEARTBEAT_S = 0.05
CPU = torch.device("cpu")


class InProcess(Service):
    """A service whose dispatcher and workers are the test."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.store = ArtifactStore(settings)
        self.leases: dict[str, Lease] = {}  # of the newest attempts, by job
        self._queue = JobQueue(settings)

    @property
    def settings(self) -> Settings:
        return self._settings

    def queue(self) -> JobQueue:
        return self._queue

    def addresses(self) -> dict[str, str]:
        """Variables by which a client of a service elsewhere finds this one."""
        settings = self._settings
        assert settings.store_url
        assert settings.store_access_key
        assert settings.store_secret_key
        values = {
            "BROKER_URL": settings.require_broker(),
            "STORE_URL": settings.store_url,
            "STORE_ACCESS_KEY": settings.store_access_key,
            "STORE_SECRET_KEY": settings.store_secret_key.get_secret_value(),
        }
        return {f"GANSERVICE_{name}": value for name, value in values.items()}

    def ganctl(self, *arguments: str, cwd: str | Path | None = None, **environment: str) -> Done:
        """As the program `ganctl`: what it writes, and the code it exits with."""
        out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
        with contextlib.ExitStack() as around, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["ganctl", *arguments])
            for name, value in environment.items():
                patch.setenv(name, value)
            around.enter_context(contextlib.chdir(cwd or Path.cwd()))
            around.enter_context(contextlib.redirect_stdout(out))
            around.enter_context(contextlib.redirect_stderr(err))
            ended = around.enter_context(pytest.raises(SystemExit))
            cli.main()
        texts = [stream.detach().getvalue().decode() for stream in (out, err)]
        return Done(int(ended.value.code or 0), *texts)

    def take(self, job_id: str) -> Lease:
        """Lease a queued job, whatever its delay."""
        self.leases[job_id] = self._queue.take(job_id)
        return self.leases[job_id]

    def attempt(
        self,
        job_id: str,
        on_lost: Callable[[], None] = lambda: None,
        leaving: threading.Event | None = None,
        device: torch.device = CPU,
    ) -> Job:
        """Run the next attempt of a queued job, with the rights of a worker. Returns the job as it then stands."""
        lease, settings = self.take(job_id), as_role(Role.WORKER, self._settings.for_workers())
        run_attempt(settings, lease, WorkerGroup(), device, on_lost, leaving)
        return self.job(job_id)

    def finish(self, job_id: str) -> Job:
        """Run attempts until the job is in its last state."""
        while not (job := self.attempt(job_id)).state.is_final:
            pass
        return job

    def die_at(self, images: int, job_id: str, error: Exception) -> Job:
        """Run an attempt that raises `error` after so many images, once its checkpoints are stored."""

        def die() -> None:
            wait_until(lambda: self.job(job_id).checkpoint)
            raise error

        with at_images(images, die):
            return self.attempt(job_id)

    def await_beats(self, job_id: str) -> None:
        """Wait until the attempt has the answer to a heartbeat that began after this call."""
        for _ in range(2):
            last = self.job(job_id).heartbeat_at
            wait_until(partial(self._has_beaten, job_id, last))

    def _has_beaten(self, job_id: str, since: float | None) -> bool:
        return self.job(job_id).heartbeat_at != since

    def train(self, path: str, *options: str) -> str:
        """Submit a spec and run its attempts. Returns the job's id."""
        job_id = self.ok("submit", path, *options)
        self.finish(job_id)
        return job_id

    @contextlib.contextmanager
    def training(self, job_id: str) -> Iterator[None]:
        """Run attempts beside the block until the job is in its last state; cancelled at the end of the block."""
        with ThreadPoolExecutor(1, "attempts") as pool:
            attempts = pool.submit(self.finish, job_id)
            try:
                yield
            finally:
                self._queue.cancel(job_id)
        attempts.result()


@contextlib.contextmanager
def serve(broker: Broker, store: Settings, state_dir: Path) -> Iterator[InProcess]:
    """A service with an empty queue, and the store that `store` names."""
    with contextlib.closing(redis.Redis.from_url(broker.admin_url)) as admin:
        admin.flushdb()
    assert store.store_secret_key
    values = {
        "broker_url": broker.url,
        "worker_broker_url": broker.url_of("gan-worker"),
        "store_url": store.store_url,
        "store_access_key": store.store_access_key,
        "store_secret_key": store.store_secret_key.get_secret_value(),
        "cache_dir": str(store.cache_dir),
        "heartbeat_s": HEARTBEAT_S,
    }
    (state_dir / SETTINGS_FILE).write_text(json.dumps(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANSERVICE_STATE_DIR", str(state_dir))
        yield InProcess(Settings())


@contextlib.contextmanager
def at_images(images: int, act: Callable[[], object]) -> Iterator[None]:
    """Have `act` called in the training thread when a training has seen so many images, before that is reported."""
    train = Trainer.train

    def interrupted(self: Trainer, *arguments: Any) -> Iterator[Progress]:
        for progress in train(self, *arguments):
            if progress.images == images:
                act()
            yield progress

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train", interrupted)
        yield


@contextlib.contextmanager
def dead_once_published(error: Exception) -> Iterator[None]:
    """Have an attempt raise `error` as soon as its generator can be fetched."""
    publish = ArtifactStore.publish_generator

    def publish_and_die(*arguments: Any) -> str:
        publish(*arguments)
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ArtifactStore, "publish_generator", publish_and_die)
        yield
