"""Why an attempt ended, from what it raised."""

import pytest
import torch

from ganservice import errors
from ganservice.job import Reason
from workers.attempt.run import reason_of
from workers.gan.worker_group import WorkerGroup

ALONE, FIRST_OF_TWO = WorkerGroup(), WorkerGroup(0, 2)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.Diverged("x"), Reason.DIVERGED),
        (errors.DataMissing("x"), Reason.DATA),
        (errors.DataInvalid("x"), Reason.DATA),
        (errors.DigestMismatch("x"), Reason.DATA),
        (errors.StoreOutage("x"), Reason.STORE),
        (errors.ArtifactExists("x"), Reason.STORE),
        (errors.BrokerOutage("x"), Reason.BROKER),
        (errors.DiskFull("x"), Reason.DISK_FULL),
        (torch.distributed.DistNetworkError("x"), Reason.WORKER_DIED),
        (ZeroDivisionError("x"), Reason.ERROR),
        (RuntimeError("shapes do not match"), Reason.ERROR),
    ],
)
def test_each_error_has_its_reason(error: Exception, reason: Reason) -> None:
    assert reason_of(error, ALONE) is reason
    assert reason_of(error, FIRST_OF_TWO) is reason


def test_a_broken_connection_between_workers_is_no_fault_of_the_recipe() -> None:
    error = RuntimeError("[../third_party/gloo/transport/tcp/pair.cc:534] Connection closed by peer")
    assert reason_of(error, FIRST_OF_TWO) is Reason.WORKER_DIED
    assert reason_of(error, ALONE) is Reason.ERROR
