"""The ground on which inputs are fed: gives commands, looks at what they left, and notes what is wrong."""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from botocore.exceptions import ClientError

from ganservice.embedded.home import BUCKET, HOST
from ganservice.errors import GanServiceError
from ganservice.plain_text import plain_line
from ganservice.s3_client import s3_client
from tests.hostile.families.files import ESCAPED, OWNED
from tests.hostile.hand import Given, give_apart, give_here, typed
from tests.hostile.service import Service
from tests.hostile.verdict import problems

# So many commands in this process, then one in its own.
APART_EVERY = 40


@dataclass
class Case:
    """One hostile input, and all that came of it."""

    family: str
    value: Any
    commands: list[Given] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @property
    def is_refused(self) -> bool:
        """Whether any command refused it."""
        return any(given.is_refused for given in self.commands)


class Ground:
    """What families work with."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.store = service.store()
        # Past all that our code would refuse.
        self._s3 = s3_client(service.settings, f"http://{HOST}:{service.identity.ports['s3']}")
        self.queue = service.queue()
        self.worker = service.client("gan-worker")
        self.leader = service.client("gan-dispatcher")
        self.mallory = service.client("mallory")
        self.admin = service.client()
        self.secrets = [*service.secrets, "hunter2"]
        self.case = Case("", None)
        # What was made at the start: ids, and bytes of what is sound.
        self.found: dict[str, Any] = {}
        self._count = 0

    def ganctl(
        self,
        *arguments: str,
        stdin: bytes = b"",
        refused: bool | None = None,
        writes: bool = False,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Given:
        """Give a command and hold it against all that must hold; one that is refused must write nothing.

        `writes` says that it may have begun before it is refused.
        """
        words = [typed(word) for word in arguments]
        held, files = (None, None) if writes else (self.service.held(), self.service.files())
        self._count += 1
        give = give_apart if self._count % APART_EVERY == 0 and sum(map(len, words)) < 1_000_000 else give_here
        given = give(words, {**self.service.environment, **variables}, self.service.work, stdin)
        self.case.commands.append(given)
        for problem in problems(given, self.secrets, refused):
            self.violation(f"{_shown(given.arguments)}: {problem}")
        if given.is_refused and held is not None and files is not None:
            self._compare(given, held, files)
        return given

    def look_for_traces(self) -> None:
        """Note what only a hostile input that was obeyed can have written."""
        for path in (Path(OWNED), Path(ESCAPED)):
            if path.exists():
                self.violation(f"{path} has been written")
                path.unlink()

    def _compare(self, given: Given, held: dict[str, Any], files: dict[str, int]) -> None:
        for name, before, now in (("held", held, self.service.held()), ("files", files, self.service.files())):
            if changed := {key for key in {*before, *now} if before.get(key, "-") != now.get(key, "-")}:
                self.violation(
                    f"{_shown(given.arguments)}: is refused, and yet it changed {name}: {sorted(changed)[:4]}"
                )

    def violation(self, what: str) -> None:
        """Note what must not be."""
        self.case.violations.append(what)

    @contextlib.contextmanager
    def refusal(self, what: str) -> Iterator[None]:
        """Have a function refuse what it is given, with an error of ours and nothing else; or take it."""
        code, text = 0, ""
        try:
            yield
        except GanServiceError as error:
            code, text = error.exit_code, plain_line(f"error: {error}")
        except Exception as error:  # noqa: BLE001 # this is what must not be
            self.violation(f"{what}: {type(error).__name__}: {str(error)[:300]}")
            code = 1
        self.case.commands.append(Given((what,), code, "", text, 0.0, 0.0))
        if any(secret in text for secret in self.secrets):
            self.violation(f"{what}: a secret is told")

    def heard(self, what: str, refusal: str | None) -> None:
        """Note what a part of the service answered, as if by a command: a refusal, or None."""
        self.case.commands.append(Given((what,), int(refusal is not None), "", f"error: {refusal or ''}", 0.0, 0.0))

    def look(self, commands: Sequence[Sequence[str]]) -> None:
        """Give commands that only read; they show it or refuse it."""
        for command in commands:
            self.ganctl(*command, writes=True)

    def scrape(self, *, may_be_down: bool = False) -> None:
        """Have the exporter tell of it; the broker is up, unless it `may_be_down`."""
        try:
            page = self.service.scrape()
        except OSError as error:
            self.violation(f"a scrape: {error}")
            return
        if "broker_up 1.0" not in page and not may_be_down:
            self.violation("a scrape says that the broker is down")

    def clear_work(self) -> None:
        """Take away what commands have written into the folder in which they are given."""
        for path in self.service.work.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def clear_cache(self) -> None:
        """Take away what was brought into the cache."""
        for name in ("data", "generators", "networks"):
            shutil.rmtree(self.service.cache / name, ignore_errors=True)

    @contextlib.contextmanager
    def file(self, name: str, data: bytes) -> Iterator[Path]:
        """An input as a file, while the `with` lasts."""
        path = self.service.folder / "inputs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def stored(self, objects: dict[str, bytes], *, is_signed: bool = True) -> Iterator[None]:
        """Objects put straight into the bucket, in the place of what was there, while the `with` lasts.

        One that is signed says of its bytes the digest that they have, as every object of ours does.
        """
        before = {key: self._found(key) for key in objects}
        try:
            for key, data in objects.items():
                with contextlib.suppress(ClientError):  # a key that the store itself refuses
                    self._put(key, data, {"sha256": hashlib.sha256(data).hexdigest()} if is_signed else {})
            yield
        finally:
            for key, found in before.items():
                with contextlib.suppress(ClientError):
                    if found is None:
                        self._s3.delete_object(Bucket=BUCKET, Key=key)
                    else:
                        self._put(key, *found)

    def _put(self, key: str, data: bytes, metadata: dict[str, str]) -> None:
        self._s3.put_object(Bucket=BUCKET, Key=key, Body=data, Metadata=metadata)

    def _found(self, key: str) -> tuple[bytes, dict[str, str]] | None:
        try:
            answer = self._s3.get_object(Bucket=BUCKET, Key=key)
        except ClientError:
            return None
        return answer["Body"].read(), answer["Metadata"]


def _shown(arguments: Sequence[str]) -> str:
    words = (word if len(word) < 120 else f"{word[:60]}...({len(word)})" for word in arguments)
    return ascii(" ".join(words))[1:-1][:400]
