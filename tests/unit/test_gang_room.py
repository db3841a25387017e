"""What room a gang holds once only its last files are left to make."""

from ganservice.job import Lease
from ganservice.settings import Settings
from ganservice.spec import Resources, TrainSpec
from workers.dispatch.gang import Gang


def test_a_gang_with_gpus_holds_them_to_its_end(spec: TrainSpec) -> None:
    """Ray would end its workers with their room."""
    with_gpus = spec.model_copy(update={"resources": Resources(gpus_per_worker=1)})
    gang = Gang(Settings(), Lease(job_id="tiny-abc", attempt=1, token=1, lease_s=30.0, spec=with_gpus))
    gang.vacate()
    assert gang.holds_room
