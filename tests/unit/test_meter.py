import pytest

from ganservice.cli import meter
from ganservice.cli.meter import Meter


class Clock:
    def __init__(self) -> None:
        self.time_s = 0.0

    def __call__(self) -> float:
        return self.time_s


def count(clock: Clock, shown: Meter) -> None:
    """Count to 6,000 of 10,000 in a minute, beginning with 1,000 that were there."""
    for second in range(61):
        clock.time_s = second
        shown.proceed(1000 + 5000 * second // 60, 10_000)


def test_elsewhere_than_at_a_terminal_a_line_is_written_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Meter("pictures", clock) as shown:
        count(clock, shown)
    assert capsys.readouterr() == (
        "",
        "3,500 of 10,000 pictures, 83/s, 1m 18s left\n6,000 of 10,000 pictures, 83/s, 48s left\n",
    )


def test_what_is_soon_done_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Meter("pictures") as shown:
        shown.proceed(10, 10)
    assert capsys.readouterr() == ("", "")


def test_at_a_terminal_one_line_is_drawn_again_and_makes_way_for_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "draws_lines", lambda: True)
    clock = Clock()
    with Meter("pictures", clock) as shown:
        count(clock, shown)
        shown.say("left out: a.png")
    lines = capsys.readouterr().err.split("\r")
    assert len(lines) == 1 + 60 + 1 + 1
    assert lines[60:] == [
        "6,000 of 10,000 pictures, 83/s, 48s left\x1b[K", "\x1b[Kleft out: a.png\n", "\x1b[K"
    ]  # fmt: skip
