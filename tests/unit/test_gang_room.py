"""What room a gang holds, and on which nodes."""

from unittest.mock import Mock

import pytest

from ganservice.job import Lease
from ganservice.settings import Settings
from ganservice.spec import Resources, TrainSpec
from workers.dispatch import gang as module
from workers.dispatch.gang import Gang, Phase


def lease_of(spec: TrainSpec, **resources: int) -> Lease:
    spec = spec.model_copy(update={"resources": Resources(**resources)})
    return Lease(job_id="tiny-abc", attempt=1, token=1, lease_s=30.0, spec=spec)


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """The only group; its attribute `nodes` is what Ray tells of where its places are."""
    made = Mock(nodes={})
    monkeypatch.setattr(module, "placement_group", Mock(return_value=made))
    monkeypatch.setattr(module, "placement_group_table", lambda group: {"bundles_to_node_id": group.nodes})
    return made


def test_a_gang_with_gpus_holds_them_to_its_end(spec: TrainSpec) -> None:
    """Ray would end its workers with their room."""
    gang = Gang(Settings(), lease_of(spec, gpus_per_worker=1))
    gang.vacate()
    assert gang.holds_room


@pytest.mark.parametrize("incomplete", [{0: "", 1: "b"}, {1: "b"}, {}])
def test_the_nodes_are_those_of_all_workers_by_rank(incomplete: dict[int, str], group: Mock, spec: TrainSpec) -> None:
    """Ray tells none of a place that it gives anew."""
    gang = Gang.start(Settings(), lease_of(spec, workers=2))
    gang.phase, group.nodes = Phase.MEETING, incomplete
    at_first = gang.nodes
    group.nodes = {1: "b", 0: "a"}
    assert (at_first, gang.nodes) == ((), ("a", "b"))


def test_a_gang_whose_nodes_are_not_known_keeps_its_room(
    group: Mock, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would know that it is on a node that is drained."""
    remove = Mock()
    monkeypatch.setattr(module, "remove_group", remove)
    gang = Gang.start(Settings(), lease_of(spec))
    gang.phase = Phase.RUNNING
    gang.vacate()
    assert gang.holds_room
    remove.assert_not_called()
    group.nodes = {0: "a"}
    gang.vacate()
    assert (gang.holds_room, gang.nodes) == (False, ("a",))
    remove.assert_called_once_with(group)
