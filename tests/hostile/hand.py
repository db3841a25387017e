"""The hand that gives commands: in this process, which is a hundred times as fast, or in one of their own."""

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ganservice import cli
from tests.lifetime import bound

# A command that takes longer hangs; the machine may be busy.
LIMIT_S = 180
# Of one argument Linux takes no more; and none with a zero byte.
LONGEST_ARGUMENT = 120_000
# The memory that the kernel has seen a process take at most, which this resets.
RESET_PEAK = "5"


@dataclass(frozen=True)
class Given:
    """A command that was given, and what came of it."""

    arguments: tuple[str, ...]
    code: int
    stdout: str
    stderr: str
    seconds: float
    peak_mb: float  # beyond what the process held before; 0 of one of its own

    @property
    def is_refused(self) -> bool:
        """Whether it was not done."""
        return self.code != 0


class TooLong(BaseException):
    """A command did not end in time."""


def typed(word: str) -> str:
    """A word as a process gets it: of bytes, none of them zero."""
    return os.fsdecode(word.encode("utf-8", "surrogatepass").replace(b"\0", b"")[:LONGEST_ARGUMENT])


def give_here(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, stdin: bytes = b"") -> Given:
    """Give a command in this process, as if it had one of its own."""
    written = io.BytesIO(), io.BytesIO()
    out = io.TextIOWrapper(written[0], "utf-8", write_through=True)
    err = io.TextIOWrapper(written[1], "utf-8", "backslashreplace", write_through=True)
    code, before_mb = 0, _memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    started = time.monotonic()
    with (
        _as_process(arguments, environment, folder, stdin),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            with _limited(LIMIT_S):
                cli.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:  # noqa: BLE001 # as the interpreter does at a process' end
            code = 1
            traceback.print_exc(file=err)
    seconds, peak_mb = time.monotonic() - started, _memory_mb("VmHWM") - before_mb
    texts = [each.getvalue().decode() for each in written]
    return Given(tuple(arguments), code, texts[0], texts[1], seconds, peak_mb)


def give_apart(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, stdin: bytes = b"") -> Given:
    """Give a command in a process of its own."""
    command = bound([sys.executable, "-m", "ganservice.cli", *arguments])
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, env={**os.environ, **environment}, cwd=folder, input=stdin, capture_output=True, check=False,
            timeout=LIMIT_S,
        )  # fmt: skip
        code, stdout, stderr = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        code, stdout, stderr = 1, late.stdout or b"", (late.stderr or b"") + b"\nTraceback: it hangs"
    texts = (stdout.decode(errors="backslashreplace"), stderr.decode(errors="backslashreplace"))
    return Given(tuple(arguments), code, *texts, time.monotonic() - started, 0.0)


@contextlib.contextmanager
def _as_process(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, stdin: bytes) -> Iterator[None]:
    """What is global in a process, as a fresh one has it; all of it put back afterwards."""
    variables, argv, old_stdin, hook = dict(os.environ), sys.argv, sys.stdin, sys.excepthook
    root, workers, here = logging.getLogger(), logging.getLogger("workers"), Path.cwd()
    handlers, level, workers_level = root.handlers[:], root.level, workers.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    os.environ.update(environment)
    sys.argv, sys.stdin = ["ganctl", *arguments], io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    os.chdir(folder)
    root.handlers.clear()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(variables)
        sys.argv, sys.stdin, sys.excepthook = argv, old_stdin, hook
        root.handlers[:] = handlers
        root.setLevel(level)
        workers.setLevel(workers_level)
        for number, handler in signals.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def end(*_: object) -> None:
        raise TooLong(f"it has not ended after {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _memory_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(f"{name}:"))
