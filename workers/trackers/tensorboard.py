"""TensorBoard: a folder of event files for each job, in the folder that TensorBoard is pointed at."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from ganservice.errors import DataInvalid
from ganservice.files import named_writing_trouble
from ganservice.job import Job, State
from ganservice.report_pictures import is_png
from ganservice.spec_file import dump_spec
from workers.trackers import Point

SPEC = "spec"


class TensorBoardRun:
    """Event files. What they hold is read back from them: nothing else is to be kept with them."""

    def __init__(self, folder: Path, job: Job) -> None:
        self.rollbacks = 0
        self._sent: set[Point] = set()
        for event in _events(folder):
            self._count(event)
        with named_writing_trouble(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _wait_for_later_name(folder)
            self._writer = EventFileWriter(str(folder))
        if (SPEC, 0) not in self._sent:
            self._add(0, Summary.Value(tag=SPEC, metadata=_text_plugin(), tensor=_text(dump_spec(job.spec))))

    def sent(self) -> set[Point]:
        """As `Tracker`."""
        return self._sent

    def send_numbers(self, images: int, numbers: Mapping[str, float]) -> None:
        """As `Tracker`; one record, which a file holds whole or not at all."""
        self._add(images, *(Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()))

    def send_picture(self, name: str, images: int, png: bytes) -> None:
        """As `Tracker`."""
        if not is_png(png):
            raise DataInvalid("it is no PNG, or too large to be shown")
        self._add(images, Summary.Value(tag=name, image=Summary.Image(encoded_image_string=png)))

    def rewind(self, rollbacks: int, images: int) -> None:
        """As `Tracker`: a session begins, whose first step makes TensorBoard forget what it has beyond."""
        for _ in range(rollbacks - self.rollbacks):
            session = SessionLog(status=SessionLog.START)
            self._writer.add_event(Event(wall_time=time.time(), step=images + 1, session_log=session))
        self.rollbacks = rollbacks

    def flush(self) -> None:
        """As `Tracker`."""
        self._writer.flush()

    def close(self, state: State | None) -> None:
        """As `Tracker`."""
        del state
        self._writer.close()

    def _add(self, images: int, *values: Summary.Value) -> None:
        self._writer.add_event(Event(wall_time=time.time(), step=images, summary=Summary(value=values)))

    def _count(self, event: Event) -> None:
        if event.session_log.status == SessionLog.START:
            self.rollbacks += 1
            self._sent = {point for point in self._sent if point[1] < event.step}
        self._sent.update((value.tag, event.step) for value in event.summary.value)


def open_run(place: str, job: Job) -> TensorBoardRun:
    """The event files of a job. Raises RequestError, DiskFull where its folder cannot be written."""
    return TensorBoardRun(Path(place) / job.id, job)


def _wait_for_later_name(folder: Path) -> None:
    """Wait until a new file comes after all others by its name, in whose order TensorBoard reads them: that has whole
    seconds, and then the process. Not for longer, where a clock was set back."""
    newest_s = max((int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.[0-9]*.*")), default=0)
    time.sleep(max(0.0, min(1.0, newest_s + 1 - time.time())))


def _events(folder: Path) -> Iterator[Event]:
    """Yield the events of all files in the order in which they were written, less a record that was cut off."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        yield from LegacyEventFileLoader(str(path)).Load()


def _text_plugin() -> SummaryMetadata:
    content = TextPluginData(version=0).SerializeToString()
    return SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text", content=content))


def _text(text: str) -> TensorProto:
    """A text as TensorBoard's Markdown shows it as it is: indented."""
    code = "    " + text.replace("\n", "\n    ")
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    return TensorProto(dtype="DT_STRING", string_val=[code.encode()], tensor_shape=shape)
