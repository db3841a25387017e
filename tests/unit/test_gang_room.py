"""What room a gang holds, and on which nodes."""

import pytest

from ganservice.job import Lease
from ganservice.settings import Settings
from ganservice.spec import Resources, TrainSpec
from workers.dispatch import gang as module
from workers.dispatch.gang import Gang, Phase


def gang_of(spec: TrainSpec, **resources: int) -> Gang:
    spec = spec.model_copy(update={"resources": Resources(**resources)})
    return Gang(Settings(), Lease(job_id="tiny-abc", attempt=1, token=1, lease_s=30.0, spec=spec))


def test_a_gang_with_gpus_holds_them_to_its_end(spec: TrainSpec) -> None:
    """Ray would end its workers with their room."""
    gang = gang_of(spec, gpus_per_worker=1)
    gang.vacate()
    assert gang.holds_room


@pytest.mark.parametrize("incomplete", [{0: "", 1: "b"}, {1: "b"}, {}])
def test_the_nodes_are_those_of_all_workers_by_rank(
    incomplete: dict[int, str], spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray tells none of a place that it gives anew."""
    placed = incomplete
    monkeypatch.setattr(module, "placement_group_table", lambda _: {"bundles_to_node_id": placed})
    gang = gang_of(spec, workers=2)
    gang.phase, gang._group = Phase.MEETING, object()
    assert gang.nodes == ()
    placed = {1: "b", 0: "a"}
    assert gang.nodes == ("a", "b")


def test_a_gang_whose_nodes_are_not_known_keeps_its_room(spec: TrainSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody would know that it is on a node that is drained."""
    placed: dict[int, str] = {}
    removed = []
    monkeypatch.setattr(module, "placement_group_table", lambda _: {"bundles_to_node_id": placed})
    monkeypatch.setattr(module, "remove_group", removed.append)
    gang = gang_of(spec)
    gang.phase, gang._group = Phase.RUNNING, object()
    gang.vacate()
    assert (gang.holds_room, removed) == (True, [])
    placed[0] = "a"
    gang.vacate()
    assert (gang.holds_room, len(removed), gang.nodes) == (False, 1, ("a",))
