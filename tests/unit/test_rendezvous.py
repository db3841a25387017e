"""The keys and values by which the process groups of a gang find each other."""

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from workers.attempt import rendezvous
from workers.attempt.rendezvous import Rendezvous

LONG, SHORT = timedelta(minutes=5), timedelta(milliseconds=50)
Address = tuple[str, int]


@pytest.fixture
def address() -> Address:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        return host, port


@pytest.fixture
def meetings(address: Address) -> Iterator[tuple[Rendezvous, Rendezvous]]:
    """As the first worker sees it, and another one."""
    with contextlib.closing(Rendezvous(address, True, LONG)) as first:
        yield first, Rendezvous(address, False, LONG)


def test_what_one_worker_sets_all_get(meetings: tuple[Rendezvous, Rendezvous]) -> None:
    first, second = meetings
    value = bytes(range(256))
    second.set("address", value)
    assert (first.get("address"), second.get("address")) == (value, value)
    assert [first.check(["address"]), first.check(["address", "other"])] == [True, False]


def test_counts_are_of_all_workers_together(meetings: tuple[Rendezvous, Rendezvous]) -> None:
    assert [meeting.add("joined", amount) for meeting in meetings for amount in (1, 0, 2)] == [1, 1, 3, 4, 4, 6]


def test_a_key_is_waited_for(meetings: tuple[Rendezvous, Rendezvous]) -> None:
    first, second = meetings
    with ThreadPoolExecutor() as threads:
        value, waited = threads.submit(second.get, "late"), threads.submit(second.wait, ["late"], LONG)
        first.set("late", b"there")
        assert value.result() == b"there"
        waited.result()


def test_who_waits_too_long_is_told_in_one_line(meetings: tuple[Rendezvous, Rendezvous]) -> None:
    with pytest.raises(dist.DistStoreError, match=r"^other workers had not come to the meeting after 0 s$"):
        meetings[1].wait(["never"], SHORT)


def test_a_first_worker_that_comes_late_is_waited_for(address: Address) -> None:
    with ThreadPoolExecutor() as threads:
        joined = threads.submit(Rendezvous(address, False, LONG).add, "joined", 1)
        with contextlib.closing(Rendezvous(address, True, LONG)):
            assert joined.result() == 1


def test_a_first_worker_that_never_comes_is_told_in_one_line(address: Address) -> None:
    with pytest.raises(dist.DistNetworkError, match=r"^the first worker did not come to the meeting: .*$"):
        Rendezvous(address, False, SHORT).add("joined", 1)


def test_a_first_worker_that_says_nothing_any_more_is_not_waited_for_for_ever(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "ANSWER_S", 0.0)
    with (
        socket.create_server(address),
        pytest.raises(dist.DistNetworkError, match=r"^the first worker left the meeting: timed out$"),
    ):
        Rendezvous(address, False, SHORT).add("joined", 1)


def test_no_more_is_kept_than_a_gang_needs(
    meetings: tuple[Rendezvous, Rendezvous], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "MOST_KEYS", 1)
    meetings[0].set("one", b"1")
    with pytest.raises(dist.DistNetworkError):
        meetings[1].set("two", b"2")
    meetings[1].set("one", b"3")
    assert meetings[0].get("one") == b"3"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\n",
        b"[" * 100_000,
        b'["get", "none"]\n',
        b'["add", "text", 1]\n',
        b'["wait", [["text"]], 0]\n',
        b'["wait", ["none"], 1e300]\n',
        b'["wait", ["none"], NaN]\n',
        b'["wait", ["none"], -1]\n',
    ],
)
def test_a_stranger_at_the_port_gets_no_answer_and_disturbs_nobody(
    meetings: tuple[Rendezvous, Rendezvous], address: Address, sent: bytes
) -> None:
    meetings[0].set("text", b"text")
    with socket.create_connection(address) as stranger:
        stranger.sendall(sent)
        stranger.shutdown(socket.SHUT_WR)
        assert stranger.recv(100) == b""
    assert meetings[1].get("text") == b"text"
