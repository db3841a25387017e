"""Every kind of event is in the enum and has a sentence, whoever writes it, and one of another version does no harm."""

import re
from pathlib import Path

import pytest

from ganservice.job import Event, EventKind, State

SCRIPTS = {path.name: path.read_text() for path in Path("ganservice/lua").glob("*.lua")}
KIND_ARGUMENT = re.compile(r"(?<!function )\bevent\([\w.]+, ([^,)]+)")
# What a script takes a kind from, where it writes no name: the final states, and the events of a heartbeat.
VARIABLES = {"state", "new.kind"}


def kinds_in(script: str) -> set[str]:
    """The second argument of each call of event(): names of kinds in quotes, or variables."""
    return {argument.strip() for argument in KIND_ARGUMENT.findall(script)}


def written_by_scripts() -> set[str]:
    names = {argument.strip("'") for script in SCRIPTS.values() for argument in kinds_in(script) - VARIABLES}
    return names | {state for state in State if state.is_final}


def written_by_attempts() -> set[str]:
    code = "".join(path.read_text() for path in Path("workers/attempt").glob("*.py"))
    return {EventKind[name] for name in re.findall(r"\.say\(\s*EventKind\.(\w+)", code)}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_knows_no_kind_but_those_of_the_enum(name: str) -> None:
    names = {argument for argument in kinds_in(SCRIPTS[name]) if argument not in VARIABLES}
    assert all(re.fullmatch("'[a-z_]+'", argument) for argument in names), "neither a name nor a known variable"
    names |= set(re.findall(r"\.kind == ('\w+')", SCRIPTS[name]))
    assert {argument.strip("'") for argument in names} <= set(EventKind)


def test_every_kind_is_written_by_a_script_or_by_an_attempt() -> None:
    assert written_by_scripts() | written_by_attempts() == set(EventKind)
    assert written_by_scripts().isdisjoint(written_by_attempts())


def test_no_kind_is_spelled_out_in_python() -> None:
    for folder in ("ganservice", "workers"):
        for path in Path(folder).rglob("*.py"):
            assert not re.search(r"""\.say\(\s*["']|\.kind (==|in) \(?["']|["']event:\w""", path.read_text()), path


@pytest.mark.parametrize("kind", [*EventKind, "of_tomorrow"])
def test_an_event_of_any_kind_can_be_read(kind: str) -> None:
    event = Event(id="1-0", at=0.0, kind=str(kind), attempt=1, detail={})
    assert event.kind == kind
    assert isinstance(event.kind, EventKind) == (kind in set(EventKind))
    assert Event.model_validate_json(event.model_dump_json()) == event
    assert f"{event.kind:<20}|" == f"{kind!s:<20}|"
