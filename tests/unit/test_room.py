"""What of the cluster may be given away, where nodes are cordoned and Ray's own count lags."""

from ganservice.job import Capacity
from ganservice.spec import Resources
from workers.dispatch.room import Machine, Placement, may_vacate, room

ONE, TWO = Resources(), Resources(workers=2)


def machine(name: str, cpus: float = 4, free: float | None = None) -> Machine:
    return Machine(name, name, name, Capacity(cpus, 0), Capacity(cpus if free is None else free, 0))


def cpus(*machines: Machine, cordoned: tuple[str, ...] = (), gangs: tuple[Placement, ...] = ()) -> tuple[float, float]:
    free, total = room(machines, cordoned, gangs)
    return free.cpus, total.cpus


def test_what_a_gang_holds_is_not_free_however_late_ray_counts() -> None:
    assert cpus(machine("a"), gangs=(Placement(TWO, ("a", "a")),)) == (2, 4)
    assert cpus(machine("a", free=2), gangs=(Placement(TWO, ("a", "a")),)) == (2, 4)


def test_a_gang_that_waits_for_room_gets_it_from_what_ray_counts_as_free() -> None:
    others_hold_one = machine("a", free=3)
    assert cpus(others_hold_one, gangs=(Placement(TWO),)) == (1, 4)


def test_a_cordoned_node_has_no_room() -> None:
    assert cpus(machine("a"), machine("b"), cordoned=("a",)) == (4, 4)
    assert cpus(machine("a"), cordoned=("a", "gone")) == (0, 0)


def test_what_is_held_on_a_cordoned_node_takes_nothing_from_the_others() -> None:
    machines = (machine("a", free=2), machine("b", free=3))
    gangs = (Placement(TWO, ("a", "a")), Placement(ONE, ("b",)))
    assert cpus(*machines, cordoned=("a",), gangs=gangs) == (3, 4)
    # A gang may have workers on both.
    assert cpus(machine("a", free=3), machine("b", free=3), cordoned=("a",), gangs=(Placement(TWO, ("a", "b")),)) == (
        3,
        4,
    )


def test_gpus_are_counted_as_cpus_are() -> None:
    node = Machine("a", "a", "a", Capacity(4, 2), Capacity(4, 2))
    free, total = room([node], (), [Placement(Resources(gpus_per_worker=1), ("a",))])
    assert (free, total) == (Capacity(3, 1), Capacity(4, 2))


def test_a_node_bears_one_gang_without_room_for_each_four_cpus_and_one_at_least() -> None:
    small, large = machine("a", cpus=2), machine("b", cpus=11)
    machines, on_a, on_b = (small, large), ("a", "a"), ("b",)
    assert may_vacate(on_a, machines, [on_b, on_b])
    assert not may_vacate(on_a, machines, [on_a])
    assert may_vacate(on_b, machines, [on_a, ("b", "b")])
    assert not may_vacate(on_b, machines, [("a", "b"), on_b])
    assert not may_vacate(("a", "b"), machines, [on_a]), "each of its nodes must"
    assert not may_vacate(("gone",), machines, [])
