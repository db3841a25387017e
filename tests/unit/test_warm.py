"""Which warm workers there should be."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from workers.dispatch.name import GangName
from workers.dispatch.sources import release
from workers.dispatch.warm import Plan, Stage, WarmName, plan

NODES = ["a", "b", "c"]
NAMES = st.builds(WarmName, st.sampled_from(["0.0.9", release()]), st.sampled_from(NODES), st.sampled_from("123456"))
KNOWN = st.dictionaries(NAMES, st.sampled_from(Stage))
OPEN = st.sets(st.sampled_from(NODES))


@given(NAMES)
def test_a_name_is_read_as_it_was_written_and_is_no_gangs(name: WarmName) -> None:
    assert WarmName.parse(str(name)) == name
    assert GangName.parse(str(name)) is None
    assert WarmName.parse("warm-abc/1/0") is None
    assert WarmName.new("a") != WarmName.new("a")


def test_each_node_has_its_share_and_no_other_has_any() -> None:
    kept, idle, old, away = (
        WarmName(*words) for words in (("2", "a", "1"), ("2", "a", "2"), ("1", "b", "3"), ("2", "c", "4"))
    )
    known = dict.fromkeys((kept, idle, old, away), Stage.IDLE)
    assert plan(known, ["a", "b"], 1, "2") == Plan(end=[old, idle, away], start=["b"])


def test_one_starts_at_a_time() -> None:
    assert plan({}, ["a", "b"], 3, "2").start == ["a", "b"]
    for stage in (Stage.STARTING, Stage.ASKED):
        assert plan({WarmName("2", "a", "1"): stage}, ["a", "b"], 3, "2").start == ["b"]
    assert plan({WarmName("2", "a", "1"): Stage.TAKEN}, ["a"], 1, "2").start == ["a"]


@given(KNOWN, OPEN, st.integers(0, 3))
def test_it_comes_to_what_was_asked_for_and_ends_no_gangs_worker(
    known: dict[WarmName, Stage], nodes: set[str], count: int
) -> None:
    for _ in range(10):
        made = plan(known, nodes, count, release())
        assert {known.pop(name) for name in made.end} <= {Stage.IDLE, Stage.STARTING}
        # Whatever was asked says that no gang has it.
        known = {name: stage if stage is Stage.TAKEN else Stage.IDLE for name, stage in known.items()}
        known |= {WarmName.new(node): Stage.STARTING for node in made.start}
    idle = [name for name, stage in known.items() if stage is Stage.IDLE]
    assert all(name.release == release() for name in idle)
    expected = dict.fromkeys(nodes, count) if count else {}
    assert Counter(name.node for name in idle) == expected


def test_those_that_start_end_where_none_is_wanted_any_more() -> None:
    """A dispatcher that went while one imported left it, for ever where no other one came."""
    starting, asked = WarmName("2", "a", "1"), WarmName("2", "b", "2")
    known = {starting: Stage.STARTING, asked: Stage.ASKED}
    assert plan(known, ["a", "b"], 1, "2") == Plan(end=[], start=[])
    assert plan(known, [], 1, "2") == plan(known, ["a", "b"], 0, "2") == Plan(end=[starting], start=[])
