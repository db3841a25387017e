"""What a stranger wrote is shown, never obeyed: by terminals, in logs, in markup."""

import io
import json
import logging
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import click
import pytest
from hypothesis import given
from prometheus_client.parser import text_string_to_metric_families

from ganservice.addresses import hide_secrets
from ganservice.cli import ganctl
from ganservice.cli.output import (
    drawn,
    print_fields,
    print_json,
    print_json_line,
    print_line,
    print_lines,
    print_links,
    print_rows,
    say,
    say_mistake,
)
from ganservice.documents import LinkDocument
from ganservice.documents.store import LinkSection
from ganservice.exporter.families import Families
from ganservice.logs import FORM, PlainFormatter, start_logging
from ganservice.markup import element, markup
from ganservice.mistakes import MAX_LINE_CHARS
from ganservice.plain_text import plain_line, plain_text
from tests.strangers_text import OBEYED, strangers_texts


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b2J", r"\x9b2J"),
        ("two\nlines\tand\r", r"two\nlines\tand\r"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("\ud800", r"\ud800"),
        ("\u2028", r"\u2028"),
        ("\U000e0041", r"\U000e0041"),
        ("Größe, 漢字, 日本語\u3000, שלום, سلام, 👩, \xa0", "Größe, 漢字, 日本語\u3000, שלום, سلام, 👩, \xa0"),
        (r"C:\x1b", r"C:\x1b"),
    ],
)
def test_what_would_be_obeyed_or_not_seen_is_spelled_out(written: str, shown: str) -> None:
    assert plain_line(written) == shown


@given(strangers_texts)
def test_plain_text_has_nothing_to_obey(text: str) -> None:
    assert not set(OBEYED) & set(plain_line(text))
    assert not (set(OBEYED) - {"\n"}) & set(plain_text(text))
    plain_text(text).encode()
    assert plain_line(plain_line(text)) == plain_line(text)


def test_the_lines_of_a_text_stay() -> None:
    assert plain_text("a: 1\n\tb\x1b") == "a: 1\n\tb\\x1b"


TEXT = "\x1b[2J\u202e\x9bé\r\n\ud800"


def links(file: str, link: str) -> LinkDocument:
    sections = [LinkSection.model_construct(file=file, link=link)]
    return LinkDocument.model_construct(version=1, links=tuple(sections))


@pytest.mark.parametrize(
    "show",
    [
        lambda: print_line(TEXT),
        lambda: print_lines(TEXT),
        lambda: say(TEXT),
        lambda: say_mistake(click.UsageError(TEXT.replace("\ud800", ""))),
        lambda: print_json({TEXT: [TEXT, {"a": TEXT}]}),
        lambda: print_json_line({TEXT: TEXT}),
        lambda: print_rows([{"name": TEXT, TEXT: TEXT}]),
        lambda: print_rows([{"name": TEXT, TEXT: TEXT}], in_capitals=False),
        lambda: print_fields({"name": TEXT, TEXT: TEXT}),
        lambda: print_links(links("a", f"http://store/{TEXT}?X-Amz-Signature=1"), "table"),
        lambda: print_links(links(TEXT, TEXT), "json"),
    ],
)
def test_whatever_prints_prints_plain_text(show: Any, capsys: pytest.CaptureFixture[str]) -> None:
    show()
    printed = "".join(capsys.readouterr())
    assert printed
    assert not (set(OBEYED) - {"\n"}) & set(printed)


def test_json_gives_back_what_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    print_json_line({"text": TEXT})
    assert json.loads(capsys.readouterr().out) == {"text": TEXT}


def test_a_text_that_rich_draws_is_plain() -> None:
    assert drawn("\x1b[2J", "bold").plain == r"\x1b[2J"


def test_a_table_stays_straight_whatever_the_letters(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([{"a": text, "b": "end"} for text in ("two\nlines", "漢字", "e\u0301")])
    _, escaped, wide, combined = capsys.readouterr().out.splitlines()
    assert escaped == r"two\nlines  end"
    assert wide == "漢字" + " " * 8 + "end"
    assert combined == "e\u0301" + " " * 11 + "end"


class Texts(HTMLParser):
    """All texts and attributes of a document."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[str]]] = []
        self.texts: list[str] = []
        self.values: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, [name for name, _ in attrs]))
        self.values += [value for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@given(strangers_texts)
def test_markup_holds_a_text_and_never_becomes_it(text: str) -> None:
    read = Texts()
    read.feed(element("p", text, element("img", alt=text, src="data:,"), class_=text))
    read.close()
    assert read.tags == [("p", ["class"]), ("img", ["alt", "src"])]
    assert "".join(read.texts) == plain_text(text)
    assert read.values == [plain_text(text), plain_text(text), "data:,"]


def test_none_is_nothing_in_markup() -> None:
    assert markup(None, "<", element("b", None)) == "&lt;<b></b>"


def logged(*arguments: Any, **options: Any) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainFormatter(FORM))
    logger = logging.getLogger("tests.logged")
    logger.propagate = False
    logger.addHandler(handler)
    logger.error(*arguments, **options)
    logger.removeHandler(handler)
    return stream.getvalue()


def test_a_record_of_a_log_is_one_line() -> None:
    line = logged("%s", "one\n2026-01-01 00:00:00 ERROR b: forged\x1b[2J")
    assert line.count("\n") == 1
    assert r"one\n2026" in line
    assert r"\x1b[2J" in line


def test_a_traceback_in_a_log_is_plain_text() -> None:
    try:
        raise ValueError("\x1b[2J redis://:hunter2@host")
    except ValueError:
        text = logged("it failed", exc_info=True)
    assert "\nTraceback (most recent call last):\n" in text
    assert r"ValueError: \x1b[2J redis://***@host" in text


def test_what_nobody_catches_is_told_as_plain_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.NullHandler()])
    start_logging()
    error = ValueError("\x1b[2J http://me:hunter2@host/")
    sys.excepthook(ValueError, error, None)
    told = capsys.readouterr().err
    assert told == "ValueError: \\x1b[2J http://***@host/\n"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:hunter2@host:6379/0", "redis://***@host:6379/0"),
        ("redis://me:hunter2@host", "redis://***@host"),
        ("rediss://hunter2@host", "rediss://***@host"),
        ("http://me:hunter2@[::1]:80/bucket", "http://***@[::1]:80/bucket"),
        ("ray://me:hunter2@host:6379", "ray://***@host:6379"),
        ("http://me:hun@ter2@proxy:3128", "http://***@proxy:3128"),
        (
            "https://s3/b/k?X-Amz-Signature=hunter2&X-Amz-Credential=hunter2/us&X-Amz-Expires=60",
            "https://s3/b/k?X-Amz-Signature=***&X-Amz-Credential=***&X-Amz-Expires=60",
        ),
        ("https://host/f?access_token=hunter2#a", "https://host/f?access_token=***#a"),
        ("of http://a:hunter2@x and http://b:hunter2@y", "of http://***@x and http://***@y"),
        ("http://host/user@example", "http://host/user@example"),
        ("me@example.com", "me@example.com"),
        ("http://host/a?size=64&of=b", "http://host/a?size=64&of=b"),
    ],
)
def test_a_url_tells_no_secret(url: str, shown: str) -> None:
    assert hide_secrets(url) == shown


def test_of_a_word_that_is_too_long_a_mistake_shows_the_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    say_mistake(click.BadParameter(f"{'a' * 100_000} is not a valid integer."))
    line = capsys.readouterr().err.strip()
    assert line.startswith("error: Invalid value: aaa")
    assert len(line) == len("error: ") + MAX_LINE_CHARS


def test_what_is_printed_tells_no_secret_but_a_link_itself(capsys: pytest.CaptureFixture[str]) -> None:
    url = "http://me:hunter2@host/?X-Amz-Signature=hunter2"
    print_line(url)
    print_json({"a": [url]})
    print_json_line((url,))
    print_rows([{"a": url}])
    print_fields({"a": url})
    say(url)
    assert "hunter2" not in "".join(capsys.readouterr())
    for output in ("table", "json"):
        print_links(links("file", "http://host/?X-Amz-Signature=signed"), output)
        assert "X-Amz-Signature=signed" in capsys.readouterr().out


@given(strangers_texts, strangers_texts)
def test_a_label_of_a_metric_is_text_and_nothing_else(job_id: str, name: str) -> None:
    families = Families()
    families.add("job_info", 1, job_id, name, "train", "50", "ada", ",tag,", "", "")
    exposed = families.text
    assert not (set(OBEYED) - {"\n"}) & set(exposed)
    ((family),) = text_string_to_metric_families(exposed)
    (sample,) = family.samples
    assert (sample.labels["job_id"], sample.labels["name"]) == (plain_line(job_id), plain_line(name))


@pytest.mark.parametrize("file", ["ganservice/cli/new.py", "workers/commands/new.py", "workers/dispatch/new.py"])
@pytest.mark.parametrize(
    "way",
    [
        "print(1)",
        "import click\n\nclick.echo(1)",
        "from click import secho\n\nsecho(1)",
        "import sys\n\nsys.stderr.write('')",
        "from rich.text import Text\n\nText('')",
        "import rich\n\nrich.print(1)",
        "import logging\n\nlogging.basicConfig()",
    ],
)
def test_lint_forbids_another_way_to_a_terminal(way: str, file: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--select=T20,TID251", f"--stdin-filename={file}", "-"]
    done = subprocess.run(command, input=f"{way}\n", capture_output=True, text=True, check=False)
    assert re.search("T201|TID251", done.stdout), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (
            ["sweep", "a.yaml", "--halving", "1"],
            "Invalid value for '--halving': 1 is not in the range 2<=x<=100; see: ",
        ),
        (
            ["list", "-n", "0"],
            "Invalid value for '-n' / '--limit': 0 is not in the range 1<=x<=1000000; see: ",
        ),
        (["submit"], "Missing argument 'SPEC'; see: ganctl submit --help"),
        (["nothing"], "No such command 'nothing'; see: ganctl --help"),
    ],
)
def test_a_command_that_is_typed_wrong_is_told_in_one_line(
    typed: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three lines of usage stood before it."""
    with pytest.raises(click.ClickException) as caught:
        ganctl.main(typed, prog_name="ganctl", standalone_mode=False)
    say_mistake(caught.value)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {says}")


def test_a_group_without_a_command_is_told_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.ClickException) as caught:
        ganctl.main([], prog_name="ganctl", standalone_mode=False)
    say_mistake(caught.value)
    assert capsys.readouterr().err.startswith("Usage: ganctl")
