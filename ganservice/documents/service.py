"""Documents of the service: its parts, its nodes, its users."""

from pydantic import Field

from ganservice.documents.base import Document, Section


class DiagnosisSection(Section):
    """How one part of the service is."""

    part: str = Field(description="Its name.")
    state: str = Field(description="`works`, or what is wrong, in words.")
    address: str = Field(description="Where it is.")
    advice: str = Field(description="What to do.")
    is_well: bool = Field(description="Whether it works, as far as could be tried.")


class AlertSection(Section):
    """An alert that fires."""

    name: str = Field(description="Its name, by which docs/operating.md explains it.")
    severity: str = Field(description="`critical` or `warning`.")
    job_id: str | None = Field(description="The job that it is about; null of one about the service.")
    job_name: str | None = Field(description="That job's name.")
    user: str | None = Field(description="That job's user.")
    since: float | None = Field(description="Since when, Unix time in s.")
    summary: str = Field(description="What is the matter.")
    description: str = Field(description="What to do.")
    runbook_url: str = Field(description="Where the handbook says more.")
    dashboard: str = Field(description="The path of Grafana's page about it.")


class DoctorDocument(Document):
    """`doctor`: how every part is, and what fires."""

    parts: tuple[DiagnosisSection, ...] = Field(description="The parts.")
    alerts: tuple[AlertSection, ...] = Field(description="The alerts that fire.")


class AmountSection(Section):
    """CPUs and GPUs."""

    cpus: float = Field(description="CPUs.")
    gpus: float = Field(description="GPUs.")


class CordonSection(Section):
    """Why nothing new is placed on a node."""

    by: str = Field(description="Who wished so.")
    at: float = Field(description="Since when, Unix time in s.")
    reason: str = Field(description="Why.")
    drain: bool = Field(description="Whether what is there shall leave, too.")


class NodeSection(Section):
    """A node, as the leading dispatcher saw it last."""

    id: str = Field(description="Its id.")
    state: str = Field(description="`ready`, `cordoned`, `draining`, `drained` or `gone`.")
    host: str | None = Field(description="Its host; null of one that is gone.")
    address: str | None = Field(description="Its address.")
    total: AmountSection | None = Field(description="What it has.")
    free: AmountSection | None = Field(description="What of it is free.")
    jobs: tuple[str, ...] = Field(description="The jobs that have a worker on it.")
    cordon: CordonSection | None = Field(description="Why nothing new is placed on it.")


class NodesDocument(Document):
    """`nodes`: the nodes of the cluster, and those that are cordoned and gone."""

    nodes: tuple[NodeSection, ...] = Field(description="The nodes.")


class MaintenanceDocument(Document):
    """`cordon`, `uncordon`, `drain`, `pause`, `resume`: how the node, or the queue, is now."""

    node: str | None = Field(description="The node's id; null of the queue.")
    state: str = Field(description="As `nodes` has it; of the queue `paused` or `running`.")


class UsedSection(Section):
    """How much of something a user has, and may have."""

    used: int = Field(description="What he has.")
    limit: int | None = Field(description="What he may have; null without a limit.")


class QuotaSection(Section):
    """What one user has, and of how much."""

    user: str = Field(description="His name; `*` is everybody who has no limits of his own.")
    jobs_queued: UsedSection = Field(description="Jobs that wait in the queue.")
    jobs_running: UsedSection = Field(description="Jobs that run.")
    cpus: UsedSection = Field(description="CPUs that they hold.")
    gpus: UsedSection = Field(description="GPUs that they hold.")


class QuotaDocument(Document):
    """`quota show`: what each user has. `quota set` prints the same of the one whose limits it set."""

    users: tuple[QuotaSection, ...] = Field(description="The users.")


class UserSection(Section):
    """A user who is entered, and his own limits; null leaves one to those of everybody."""

    name: str = Field(description="His name; `*` stands for everybody else.")
    jobs_queued: int | None = Field(description="Jobs that may wait in the queue.")
    jobs_running: int | None = Field(description="Jobs that may run.")
    cpus: int | None = Field(description="CPUs that they may hold.")
    gpus: int | None = Field(description="GPUs that they may hold.")


class UsersDocument(Document):
    """`users list`: who is entered."""

    users: tuple[UserSection, ...] = Field(description="The users.")


class UserDocument(Document):
    """`users add`, `users remove`: one user, and by what he gets in."""

    name: str = Field(description="His name.")
    entered: bool = Field(description="Whether he is entered now.")
    kept: bool = Field(description="Whether Redis knows so after a restart, too.")
    acl: str | None = Field(description="The line of redis.conf that makes him.")
    url: str | None = Field(description="His GANSERVICE_BROKER_URL, with his password.")
