"""A cluster in memory, for a dispatcher without Ray."""

from collections.abc import Callable, Collection

from ganservice.job import Capacity, Lease
from ganservice.settings import Settings
from workers.dispatch.cluster import RayCluster
from workers.dispatch.demand import Bundle
from workers.dispatch.gang import Gang, Phase
from workers.dispatch.name import GangName
from workers.dispatch.room import Machine


class InMemoryGang(Gang):
    """A gang that gets no further than a test moves its phase."""

    is_ended = False
    is_whole = True  # none of its workers is gone

    def __init__(self, settings: Settings, lease: Lease, avoided: frozenset[str] = frozenset()) -> None:
        super().__init__(settings, lease, avoided)
        self.placed_on = ("node-0",) * lease.spec.resources.workers
        self.on_poll: Callable[[InMemoryGang], None] = lambda _: None

    def poll(self) -> Phase:
        self.on_poll(self)
        return self.phase

    @property
    def nodes(self) -> tuple[str, ...]:
        return () if self.phase is Phase.PLACING else self.placed_on

    def vacate(self) -> None:
        self.holds_room = False

    def end(self) -> None:
        self.is_ended = True


class InMemoryCluster(RayCluster):
    """A cluster that starts gangs by name only. What others hold of it Ray counts as taken, as it does placed gangs."""

    def __init__(self, cpus: int, gpus: int = 0) -> None:
        self.size = Capacity(cpus=cpus, gpus=gpus)
        self.held_by_others = 0
        self.others: list[Machine] = []
        self.started: list[InMemoryGang] = []
        self.requested: list[list[Bundle]] = []
        self.adopted: list[GangName] = []
        self.strays: list[GangName] = []
        self.warm: dict[str, int] = {}  # by node, how many workers were last asked for
        self.on_start: Callable[[], None] = lambda: None

    def machines(self) -> list[Machine]:
        available = Capacity(cpus=self.size.cpus - self.held_by_others, gpus=self.size.gpus)
        return [Machine("node-0", "one", "10.0.0.1", self.size, available), *self.others]

    def request(self, bundles: list[Bundle]) -> None:
        self.requested.append(bundles)

    def start(self, settings: Settings, lease: Lease, avoided: frozenset[str] = frozenset()) -> Gang:
        self.on_start()
        self.started.append(InMemoryGang(settings, lease, avoided))
        return self.started[-1]

    def adopt(self, settings: Settings, lease: Lease, *, has_begun: bool) -> Gang:
        del settings
        gang = self.gang(lease.job_id)
        if not gang.is_whole or (has_begun and gang.phase is Phase.PLACING):
            raise ValueError(f"a worker of {gang.name} is gone")
        self.adopted.append(gang.name)
        return gang

    def gangs(self) -> set[GangName]:
        return {gang.name for gang in self.alive()}

    def end_stray(self, name: GangName) -> None:
        self.strays.append(name)
        for gang in self.alive():
            if gang.name == name:
                gang.end()

    def forget_warm(self) -> None:
        """There are none that another dispatcher could have started."""

    def keep_warm(self, nodes: Collection[str], count: int, *, may_start: bool) -> None:
        if may_start or not count:
            self.warm = dict.fromkeys(nodes, count)

    def alive(self) -> list[InMemoryGang]:
        return [gang for gang in self.started if not gang.is_ended]

    def gang(self, job_id: str) -> InMemoryGang:
        """The newest gang of a job."""
        return [gang for gang in self.started if gang.name.job_id == job_id][-1]
