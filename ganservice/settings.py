"""Settings: the only reader of the environment, and of the file in which `ganctl up` leaves its addresses.

Every setting is a variable named GANSERVICE_ + its name in capitals; the environment wins over the file.
"""

import os
import pwd
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    JsonConfigSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from ganservice.addresses import (
    check_broker_url,
    check_prometheus_url,
    check_ray_address,
    check_store_url,
    hide_secrets,
    is_one_word,
)
from ganservice.errors import NotConfigured, SettingsInvalid
from ganservice.mistakes import describe_mistake
from ganservice.model import LONGEST_USER_NAME, UserName
from ganservice.places import Places
from ganservice.stack_file import PREFIX, SETTINGS_FILE, is_own, read_settings, state_folder, xdg


def _login_name() -> str:
    """The system's name of who runs this process; of a user id without one `uid-` and the id."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    # What no user of ours may be called is written with hyphens.
    return re.sub("[^A-Za-z0-9._@-]", "-", name).lstrip("._@-")[:LONGEST_USER_NAME] or f"uid-{uid}"


class Settings(BaseSettings):
    """Addresses, credentials and times. The workers of a gang get the dispatcher's own copy."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    broker_url: SecretStr | None = Field(
        default=None,
        description=(
            "Address of Redis 7 or Valkey, `redis://[:password@]host[:port][/db]`, or `rediss://` for TLS. "
            "It needs an append-only file and no eviction."
        ),
    )
    worker_broker_url: SecretStr | None = Field(
        default=None,
        description=(
            "For dispatchers: the address of Redis that they give to the workers of gangs, who have a user with fewer "
            "rights; without it their own."
        ),
    )
    store_url: str | None = Field(
        default=None, description="Address of a bucket of any S3-compatible store, `http(s)://host[:port]/bucket`."
    )
    store_access_key: str | None = Field(
        default=None, description="Access key of the store; without one the usual AWS chain of credentials is used."
    )
    store_secret_key: SecretStr | None = Field(default=None, description="Secret key of the store.")
    store_region: str = Field(default="us-east-1", description="Region of the store.")
    ray_address: str | None = Field(
        default=None,
        description="`host:port` of the Ray head, for dispatchers. Ray's own token is `RAY_AUTH_TOKEN`.",
    )

    prometheus_url: SecretStr | None = Field(
        default=None,
        description=(
            "Address of a Prometheus with the rules of this project, `http(s)://[user:password@]host[:port]`, which "
            "`list` and `doctor` ask for the alerts that fire; without one they tell of none."
        ),
    )

    user: UserName = Field(
        default_factory=_login_name,
        description=(
            "Whose jobs are submitted here, and who cancels and retries; without it the system's name of who runs the "
            "process. Where Redis has a user of its own for a submitter, that one's name counts instead."
        ),
    )

    state_dir: Path = Field(
        default_factory=state_folder,
        description=(
            "Folder of all that the embedded stack is and knows; without it `ganservice` in `$XDG_STATE_HOME`, "
            "which is `~/.local/state` unless set."
        ),
    )
    cache_dir: Path = Field(
        default_factory=lambda: xdg("XDG_CACHE_HOME", ".cache"),
        description=(
            "Folder of downloads and data sets, safe to delete at any time; without it `ganservice` in "
            "`$XDG_CACHE_HOME`, which is `~/.cache` unless set."
        ),
    )
    data_mirrors: str = Field(
        default="",
        description="Base addresses to ask for IDX files before the built-in ones, separated by spaces.",
    )

    weights_from: str = Field(
        default="",
        description=(
            "Folders, and beginnings of URLs such as `https://host/path`, separated by commas, from which evaluations "
            "read weights of networks that specs name; without it only from `networks/` in the store."
        ),
    )

    own_code: bool = Field(
        default=False,
        description=(
            "For workers, and for commands that draw pictures of jobs: whether networks of users' own, the Python "
            "files that `recipe.code` names, are run here, with all the rights of the process. The embedded stack runs "
            "its user's."
        ),
    )
    folder_code: bool = Field(
        default=False,
        description=(
            "For commands: whether networks of its maker's own, the Python files in a fetched folder, are run with "
            "your rights. Those that have been run on this machine before need no leave."
        ),
    )

    lease_s: Annotated[float, Field(ge=1)] = Field(
        default=30.0,
        description="An attempt whose last heartbeat is older than this has lost its job: how soon a death is noticed.",
    )
    heartbeat_s: Annotated[float, Field(gt=0)] = Field(
        default=2.0, description="Time between two heartbeats of an attempt; at most a third of the lease."
    )
    outage_patience_s: Annotated[float, Field(ge=0)] = Field(
        default=6 * 3600.0,
        description=(
            "How long an attempt waits for a store that is away, full or refuses it, while its lease holds, before "
            "it gives its job back. The default is 6 hours."
        ),
    )
    stall_limit_s: Annotated[float, Field(gt=0)] = Field(
        default=1800.0,
        description=(
            "How long an attempt may only beat, while it waits for no server and for no other evaluation, and nothing "
            "of it comes further, before its job goes back to the queue; longer than its longest step. The default is "
            "half an hour."
        ),
    )
    trouble_limit_s: Annotated[float, Field(ge=0)] = Field(
        default=12 * 3600.0,
        description=(
            "How long a job is tried again while the cluster's own faults (a worker or a node that dies, a server "
            "that is away, no room) keep it from a new checkpoint, before it is set aside. The default is 12 hours."
        ),
    )
    finished_ttl_s: Annotated[float, Field(gt=0)] = Field(
        default=30 * 86_400.0,
        description=(
            "How long a finished job stays listed; its artifacts stay in the store until `ganctl gc` or `ganctl "
            "delete`. The default is 30 days."
        ),
    )
    gc_grace_s: Annotated[float, Field(ge=3600)] = Field(
        default=86_400.0,
        description=(
            "`ganctl gc` takes nothing younger than this, for who refers to it may still be on his way. The default "
            "is a day, and an hour the least."
        ),
    )
    keep_unreferenced_s: Annotated[float, Field(gt=0)] = Field(
        default=90 * 86_400.0,
        description=(
            "How long `ganctl gc` leaves what no job of the queue refers to, and the checkpoints of failed and "
            "cancelled jobs. The default is 90 days."
        ),
    )
    keep_generators_s: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description=(
            "How long `ganctl gc` leaves the published generators of jobs that have left the queue; without it for "
            "good, until `ganctl delete`."
        ),
    )
    keep_reports: Annotated[int, Field(ge=1)] = Field(
        default=10, description="Report pages that `ganctl gc` leaves of each finished job, the newest."
    )
    store_usage_every_s: Annotated[float, Field(ge=60)] = Field(
        default=3600.0,
        description=(
            "How often the exporter lists the whole bucket to tell how many bytes of each kind it holds. The default "
            "is an hour."
        ),
    )
    placement_timeout_s: Annotated[float, Field(gt=0)] = Field(
        default=60.0,
        description="How long a gang may wait for room in the Ray cluster before its job goes back to the queue.",
    )
    warm_workers: Annotated[int, Field(ge=0, le=64)] = Field(
        default=1,
        description=(
            "For dispatchers: idle workers on each node that takes work, each of about 350 MB, which have imported all "
            "that an attempt needs. On a node that has one a job begins within half a second; one with GPUs, once CUDA "
            "has begun too. With 0 there are none."
        ),
    )
    exporter_host: str = Field(default="127.0.0.1", description="Address on which the exporter listens.")
    exporter_port: int = Field(default=9464, description="Port on which the exporter listens.")
    exporter_password: SecretStr | None = Field(
        default=None,
        description="Password that the exporter asks for, of the user `gan` (HTTP basic auth); without it, for none.",
    )

    def __init__(self, **values: Any) -> None:
        """Raises SettingsInvalid."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            mistake = error.errors()[0]
            name = PREFIX + str(mistake["loc"][0]).upper() if mistake["loc"] else "settings"
            # The value may hold a password.
            raise SettingsInvalid(describe_mistake(name, mistake, shows_value=False)) from None

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """What a traceback or a log shows of settings: no URL with its password."""
        for name, value in super().__repr_args__():
            yield name, hide_secrets(value) if isinstance(value, str) else value

    @field_validator("broker_url", "worker_broker_url")
    @classmethod
    def _is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_broker_url(url.get_secret_value())
        return url

    @field_validator("prometheus_url")
    @classmethod
    def _is_prometheus(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_prometheus_url(url.get_secret_value())
        return url

    @field_validator("store_url")
    @classmethod
    def _is_bucket(cls, url: str | None) -> str | None:
        if url is not None:
            check_store_url(url)
        return url

    @field_validator("weights_from")
    @classmethod
    def _are_places(cls, text: str) -> str:
        Places(text)
        return text

    @field_validator("store_access_key")
    @classmethod
    def _is_one_word(cls, key: str | None) -> str | None:
        if key is not None and not is_one_word(key):
            raise ValueError("expected one word; it has a blank, a line's end or another letter that no key has")
        return key

    @field_validator("store_secret_key")
    @classmethod
    def _is_one_secret_word(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            cls._is_one_word(key.get_secret_value())
        return key

    @field_validator("ray_address")
    @classmethod
    def _is_address(cls, address: str | None) -> str | None:
        if address is not None:
            check_ray_address(address)
        return address

    @model_validator(mode="after")
    def _beats_within_the_lease(self) -> Self:
        if 3 * self.heartbeat_s > self.lease_s:
            raise ValueError(
                f"{PREFIX}HEARTBEAT_S is {self.heartbeat_s:g}; expected at most a third of "
                f"{PREFIX}LEASE_S = {self.lease_s:g}, or a late heartbeat costs the lease"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the stack's file."""
        del dotenv_settings, file_secret_settings
        given = {**env_settings(), **init_settings()}
        file = Path(given.get("state_dir") or state_folder()) / SETTINGS_FILE
        # What another user wrote would lead us to servers of his; who has all settings in the environment needs none.
        stack = [_StackSource(settings_cls, file, given.get("broker_url"))] if is_own(file) else []
        return init_settings, env_settings, *stack

    @classmethod
    def from_environment(cls) -> Self:
        """Read the addresses in the environment alone: what has one there is no part of the embedded stack."""
        broker_url = os.environ.get(PREFIX + "BROKER_URL")
        return cls(
            broker_url=SecretStr(broker_url) if broker_url else None,
            store_url=os.environ.get(PREFIX + "STORE_URL") or None,
            ray_address=os.environ.get(PREFIX + "RAY_ADDRESS") or None,
        )

    def for_workers(self) -> Self:
        """These settings as the workers of a gang get them."""
        return self.model_copy(
            update={
                "broker_url": self.worker_broker_url or self.broker_url,
                "worker_broker_url": None,
                "prometheus_url": None,
            }
        )

    def require_broker(self) -> str:
        """The broker's URL. Raises NotConfigured when there is none."""
        if self.broker_url is None:
            raise NotConfigured(_missing("broker", "BROKER_URL"))
        return self.broker_url.get_secret_value()

    def require_store(self) -> str:
        """The store's URL. Raises NotConfigured when there is none."""
        if self.store_url is None:
            raise NotConfigured(_missing("object store", "STORE_URL"))
        return self.store_url

    def require_ray(self) -> str:
        """The Ray head's address. Raises NotConfigured when there is none."""
        if self.ray_address is None:
            raise NotConfigured(_missing("Ray cluster", "RAY_ADDRESS"))
        return self.ray_address


class _StackSource(JsonConfigSettingsSource):
    """The file that `ganctl up` leaves, for who may have been given the URL of another broker."""

    def __init__(self, settings_cls: type[BaseSettings], file: Path, broker_url: SecretStr | str | None) -> None:
        self._broker_url = broker_url.get_secret_value() if isinstance(broker_url, SecretStr) else broker_url
        super().__init__(settings_cls, file)

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        """Its content. Raises SettingsInvalid, which tells nothing of that."""
        found = read_settings(file_path)
        if self._broker_url not in (None, found.get("broker_url")):
            found.pop("own_code", None)  # the jobs of another broker may be anybody's
        return found


def _missing(what: str, name: str) -> str:
    return f"no {what} is known; start the embedded stack with `ganctl up`, or set {PREFIX}{name}"


def process_name() -> str:
    """host:pid, by which events and leases name a process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def child_environment(**changes: str) -> dict[str, str]:
    """This process' environment with `changes`, for a process we start."""
    return {**os.environ, **changes}
