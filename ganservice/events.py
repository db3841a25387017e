"""Events as sentences: what happened to a job, and how its attempts went, as people read it. Pure."""

from collections.abc import Callable, Sequence
from typing import Any

from ganservice.job import Event, EventKind, Reason
from ganservice.model import cut_at_word

# Of a text within a sentence: what is longer ends at a word.
MOST_CHARS = 300
# Stands for what an event does not say, or says as another type of value than expected.
UNKNOWN = "?"
# Larger numbers are nobody's.
MOST = 1e300
# By these the quality of a generator is told; they come first among measures.
QUALITY_NAMES = ("fid", "_frechet_distance")
REASONS: dict[str, str] = {
    Reason.HALTED: "its sweep let it come so far",
    Reason.YIELDED: "it was given back",
    Reason.ROLLED_BACK: "it went back to a good checkpoint",
    Reason.WORKER_DIED: "a worker died",
    Reason.LEASE_EXPIRED: "its lease ran out",
    Reason.STALLED: "it stood still",
    Reason.UNPLACED: "there was no room for it",
    Reason.NO_GPU: "no GPU could be used",
    Reason.DISK_FULL: "a disk was full",
    Reason.STORE: "the store failed",
    Reason.BROKER: "Redis failed",
    Reason.DIVERGED: "it diverged",
    Reason.UNHEALTHY: "the health watch stopped it",
    Reason.DATA: "its data is missing or wrong",
    Reason.NETWORK: "its networks cannot be trained",
    Reason.ERROR: "an error was raised",
}


class Detail:
    """What an event says, whoever wrote it."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def value(self, name: str) -> Any:
        """A value as it is; None where there is none."""
        return self._values.get(name)

    def text(self, name: str, unknown: str = UNKNOWN) -> str:
        """A value as a text, cut at a word. Whoever shows it makes it plain."""
        value = self.value(name)
        return cut_at_word(str(value), MOST_CHARS) if isinstance(value, str | int | float) else unknown

    def amount(self, name: str) -> float | None:
        """A number, as it is; None where there is none."""
        return amount(self.value(name))

    def images(self, name: str = "images") -> str:
        """A number of images in words."""
        images = self.amount(name)
        return f"{UNKNOWN if images is None else f'{images:,}'} images"

    def number(self, name: str, form: str = ".3g") -> str:
        """A number in a form of Python's."""
        return number(self.value(name), form)

    def findings(self) -> list[str]:
        """What the health watch found."""
        findings = self.value("findings")
        each = findings if isinstance(findings, list) else []
        return [Detail(finding).text("message") for finding in each if isinstance(finding, dict)]

    def by(self, word: str = " by ", name: str = "by") -> str:
        """Who did it, or what else is named, if anything is, after a word."""
        who = self.text(name, "")
        return word + who if who else ""

    def because(self, name: str = "message") -> str:
        """What is told of why, after a colon; nothing where nothing is."""
        text = self.text(name, "")
        return f": {text}" if text else ""


def amount(value: Any) -> float | None:
    """A value that is a number which floats can hold, as it is; of any other None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and abs(value) <= MOST else None


def number(value: Any, form: str = ".4g") -> str:
    """A number in a form of Python's, whoever wrote it."""
    found = amount(value)
    return UNKNOWN if found is None else f"{found:{form}}"


def _submitted(detail: Detail) -> str:
    text = f"submitted{detail.by()}{detail.by(', to run after ', 'after')}"
    if detail.value("continues"):
        return f"{text}, to go on from {detail.text('continues')} at {detail.images()}"
    return f"{text}, to evaluate {detail.text('evaluates')} at {detail.images()}" if detail.value("evaluates") else text


def _requeued(detail: Detail) -> str:
    delay_s = detail.amount("delay_s") or 0
    again = f"again in {delay_s:.0f} s" if delay_s >= 1 else "again at once"
    return f"the attempt ended because {_why(detail)}; {again}"


def _why(detail: Detail) -> str:
    """Why an attempt ended; what its message says too is said once."""
    reason, message = reason_text(detail.value("reason")), detail.text("message", "")
    return message if message.startswith(reason) else f"{reason}{detail.because()}"


def _evaluation_submitted(detail: Detail) -> str:
    text = f"submitted {detail.text('job')}, which evaluates {detail.images()}"
    return f"{text} by {detail.text('network')}" if detail.value("network") else text


def _evaluated(detail: Detail) -> str:
    by = detail.by(", by ")
    return f"evaluated at {detail.images()}: {_measures(detail)} (protocol {detail.text('protocol')}{by})"


def _measures(detail: Detail) -> str:
    measures = detail.value("measures")
    known = {name: number(value) for name, value in measures.items()} if isinstance(measures, dict) else {}
    names = sorted(known, key=lambda name: not name.endswith(QUALITY_NAMES))
    return cut_at_word(", ".join(f"{name} {known[name]}" for name in names), MOST_CHARS) or "nothing"


def _health(detail: Detail) -> str:
    before = detail.text("before", "")
    change = f"changed from {before} to {detail.text('state')}" if before else f"is {detail.text('state')}"
    told = "; ".join(detail.findings())
    return f"health {change} at {detail.images()}" + (f": {told}" if told else "")


def _started(detail: Detail) -> str:
    begins = "starts" if detail.value("images") == 0 else "goes on"
    precision = detail.text("precision", "")
    in_graphs = " by graphs" if detail.text("engine", "") == "graph" else ""
    return f"training {begins} at {detail.images()}{f', in {precision}' if precision else ''}{in_graphs}"


def _checkpoint(detail: Detail) -> str:
    size = f"{(detail.amount('bytes') or 0) / 1e6:.1f} MB"
    return f"checkpoint at {detail.images()}: {size}, stored in {detail.number('seconds')} s"


def _rolled_back(detail: Detail) -> str:
    back = f"back from {detail.images('from_images')} to {detail.images()}"
    return f"{back}, learning rates times {detail.number('lr_share')}{detail.because('why')}"


def _classifier_trained(detail: Detail) -> str:
    pictures = "pictures held out" if detail.value("held_out") else "training pictures"
    knows = f"it knows {detail.number('accuracy', '.1%')} of the {pictures}"
    return f"classifier of the data set trained in {detail.text('precision')}: {knows}"


SENTENCES: dict[EventKind, Callable[[Detail], str]] = {
    EventKind.SUBMITTED: _submitted,
    EventKind.LEASED: lambda d: f"the attempt begins, leased by {d.text('owner')}",
    EventKind.REQUEUED: _requeued,
    EventKind.ROLLED_BACK: _rolled_back,
    EventKind.HALTED: lambda d: f"waits until its sweep lets it go on{d.because()}",
    EventKind.PROMOTED: lambda d: f"its sweep lets it train to {d.images()}",
    EventKind.CANCEL_REQUESTED: lambda d: f"{d.text('by', 'its user')} asked it to stop",
    EventKind.SUCCEEDED: lambda d: f"succeeded{d.because()}",
    EventKind.FAILED: lambda d: f"given up because {_why(d)}",
    EventKind.CANCELLED: lambda d: d.text("message", f"cancelled{d.by()}"),
    EventKind.PRIORITY_CHANGED: lambda d: f"priority changed from {d.text('before')} to {d.text('now')}{d.by()}",
    EventKind.RETRIED: lambda d: f"put back into the queue{d.by()}",
    EventKind.EVALUATED: _evaluated,
    EventKind.STALE_WRITE_REFUSED: lambda _: "refused what an attempt wrote that had lost its lease",
    EventKind.STARTED: _started,
    EventKind.TRANSFERRED: lambda d: (
        f"{d.number('share_g', '.1%')} of G and {d.number('share_d', '.1%')} of D are weights gone on from, the rest "
        "begins anew: see its log"
    ),
    EventKind.CHECKPOINT: _checkpoint,
    EventKind.CHECKPOINT_DAMAGED: lambda d: f"{d.text('key')} is damaged, an older one is tried{d.because()}",
    EventKind.SAMPLES: lambda d: f"sample grid at {d.images()}",
    EventKind.HEALTH: _health,
    EventKind.PRECISION_CHANGED: lambda d: (
        f"precision changed from {d.text('before')} to {d.text('now')}{d.because('why')}"
    ),
    EventKind.PRECISION_EMULATED: lambda d: (
        f"bf16 is slow here: a step of convolutions takes {d.number('slowdown', '.1f')} times as long as in fp32"
    ),
    EventKind.STEPS_NOT_RECORDED: lambda d: f"steps are given to the device one operation at a time{d.because('why')}",
    EventKind.EVALUATION_SUBMITTED: _evaluation_submitted,
    EventKind.EVALUATION_SKIPPED: lambda d: f"left the evaluation at {d.images()} out{d.because('reason')}",
    EventKind.CLASSIFIER_TRAINED: _classifier_trained,
    EventKind.STORE_UNREACHABLE: lambda d: f"waits for the store ({d.text('kind')}){d.because()}",
    EventKind.ALREADY_PUBLISHED: lambda _: "the generator is there: an attempt before had published it",
}


def sentence(event: Event) -> str:
    """What an event says, as a sentence without a full stop; of a kind that only another version knows its values."""
    detail = Detail(event.detail)
    if isinstance(event.kind, EventKind):
        return SENTENCES[event.kind](detail)
    return ", ".join(f"{name} {detail.text(name)}" for name in event.detail)


def reason_text(reason: Any) -> str:
    """Why an attempt ended, in words."""
    return cut_at_word(REASONS.get(reason, reason), MOST_CHARS) if isinstance(reason, str) else UNKNOWN


def attempts_story(events: Sequence[Event]) -> list[str]:
    """How the attempts of a job went that ended without an end of the job, and where the next ones went on, by line."""
    lines: list[str] = []
    for event in events:
        detail = Detail(event.detail)
        if event.kind == EventKind.REQUEUED:
            lines.append(f"attempt {event.attempt} ended because {reason_text(detail.value('reason'))}")
        elif event.kind == EventKind.STARTED and event.attempt > 1:
            lines.append(f"attempt {event.attempt} went on at {detail.images()}")
    return lines
