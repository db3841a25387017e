"""What is asked and said of jobs: of the one that a page shows, or of each of many."""

from dataclasses import dataclass

from deploy.grafana.words import BLUE, GREEN, GREY, PLAIN, RED, YELLOW, Case, either
from ganservice.evaluation import QUALITY_NUMBER, name_pattern
from ganservice.job import Health, State
from ganservice.reservation import ReservationKind
from ganservice.spec import HealthWatch

FINAL = "|".join(state for state in State if state.is_final)
FRECHET = f'measure=~"{name_pattern(QUALITY_NUMBER)}"'
KERNEL = f'measure=~"{name_pattern("kernel_distance")}"'
SHARES = f'measure=~"{name_pattern("precision", "recall", "density", "coverage")}"'
PROTOCOL = 'protocol="$protocol"'
HEALTH_COLOURS = {Health.DIVERGED: RED, Health.COLLAPSED: RED, Health.SUSPECT: YELLOW, Health.OK: GREEN}
RESERVATION_COLOURS = {
    ReservationKind.DIVERGING: RED,
    ReservationKind.COLLAPSED: RED,
    ReservationKind.FAR_FROM_BEST: YELLOW,
    ReservationKind.SUSPECT: YELLOW,
}
# Of the recording rule ganservice:job_pace.
LATE, STILL = 1, 2
# As far as quality may be from its best before it is told as well.
MUCH_WORSE = HealthWatch().max_quality_ratio
WORSE = 1.05


@dataclass(frozen=True)
class Jobs:
    """The jobs that a panel asks for."""

    selector: str  # of labels
    by: str  # the aggregation that leaves nothing but the job
    on: str  # the matching of one job's series
    span: str = ""  # a job that has ended, and is told of no more, is looked for in this time

    def now(self, metric: str, *labels: str) -> str:
        """A metric of the jobs, as it is."""
        return f"max{self.by}({self.series(metric, *labels)})"

    def told(self, metric: str, *labels: str) -> str:
        """The same, and of jobs that ended and are told of no more as it was at last."""
        if not self.span:
            return self.now(metric, *labels)
        last = f"max{self.by}(last_over_time({self.series(metric, *labels)}[{self.span}]))"
        state = self.series("job_state", f'state=~"{FINAL}"')
        ended = f"max{self.by}(last_over_time({state}[{self.span}])) == 1"
        gone = f"({last} and {self.on} ({ended}) unless {self.on} {self.now('job_state')})"
        return either(self.on, self.now(metric, *labels), gone)

    def holds(self, metric: str, *labels: str) -> str:
        """Whether a metric of states has a certain one now; of many jobs it is cheap, for nothing is aggregated."""
        return f"{self.series(metric, *labels)} == 1"

    def held(self, metric: str, *labels: str) -> str:
        """The same, and of jobs that are told of no more at last."""
        return f"({self.told(metric, *labels)}) == 1" if self.span else self.holds(metric, *labels)

    def exists(self, metric: str) -> str:
        """Whether there is a metric of the jobs, or was at last."""
        return self.told(metric) if self.span else self.series(metric)

    def state(self, *states: State) -> str:
        """Whether the jobs are in one of some states."""
        label = f'state=~"{"|".join(states)}"'
        return (
            self.held("job_state", label) if all(state.is_final for state in states) else self.holds("job_state", label)
        )

    def pace(self, least: int) -> str:
        """Whether the jobs that run come forward too slowly, by the recording rule."""
        return f"ganservice:job_pace{{{self.selector}}} >= {least}"

    def both(self, one: str, *others: str) -> str:
        """Whether several things hold of a job."""
        return f" and {self.on} ".join([one, *(f"({other})" for other in others)])

    def series(self, metric: str, *labels: str) -> str:
        """A metric of the jobs with all its labels."""
        return f"ganservice_{metric}{{{', '.join(filter(None, (self.selector, *labels)))}}}"


THE_JOB = Jobs('job_id="$job"', "", "on()", "$__range")
THE_JOB_THEN = Jobs('job_id="$job"', "", "on()")  # as it was at each moment
EACH_JOB = Jobs("", " by (job_id) ", "on(job_id)")


def stands_still(jobs: Jobs) -> Case:
    """Nothing of a job that runs comes further, and it waits for nobody."""
    still = jobs.both(jobs.state(State.RUNNING), jobs.pace(STILL))
    return Case("stands still", RED, f"{still} unless {jobs.on} ({jobs.holds('job_waits')})")


def without_gpus(jobs: Jobs) -> Case:
    """A job asked for GPUs, and runs without."""
    asked = f"{jobs.series('job_gpus')} > 0"
    return Case("CPUs, though it asked for GPUs", RED, jobs.both(jobs.holds("job_device", 'device="cpu"'), asked))


def evaluation(jobs: Jobs) -> Case:
    """What stands where only a training has something to show."""
    return Case("an evaluation", GREY, jobs.held("job_info", 'kind="evaluate"'))


def moving(jobs: Jobs, metric: str) -> str:
    """A metric of a job that comes further."""
    return f"{jobs.now(metric)} unless {jobs.on} ({stands_still(jobs).when})"


def absent(jobs: Jobs, running: str = "not told yet", *, of_training: bool = False) -> list[Case]:
    """What stands in the place of what only a running job has."""
    return [
        *([evaluation(jobs)] if of_training else []),
        Case("queued", BLUE, jobs.state(State.QUEUED)),
        Case(running, GREY, jobs.state(State.RUNNING)),
        # Of many jobs only live ones are listed.
        *([Case("ended", GREY, jobs.state(State.SUCCEEDED, State.FAILED, State.CANCELLED))] if jobs.span else []),
    ]


def state_cases(jobs: Jobs) -> list[Case]:
    """How a job stands, all in one: what is wrong with it comes first, and a table is sorted by that."""
    queued, running = jobs.state(State.QUEUED), jobs.state(State.RUNNING)

    def sick(health: Health) -> Case:
        health_is = jobs.holds("job_health", f'health="{health}"')
        return Case(f"running, but {health}", HEALTH_COLOURS[health], jobs.both(running, health_is))

    return [
        sick(Health.DIVERGED),
        sick(Health.COLLAPSED),
        Case("running, but stands still", RED, stands_still(jobs).when),
        Case("running, but without GPUs", RED, without_gpus(jobs).when),
        Case("queued: fits no cluster", RED, jobs.both(queued, jobs.holds("job_unplaceable"))),
        Case("queued: no dispatcher leads", RED, f"{queued} and on() ganservice_leader_up == 0"),
        Case("running, waits", YELLOW, jobs.holds("job_waits")),
        sick(Health.SUSPECT),
        Case("running, but late", YELLOW, jobs.both(running, jobs.pace(LATE))),
        Case("queued: the queue is paused", YELLOW, f"{queued} and on() ganservice_queue_paused == 1"),
        Case("running", GREEN, running),
        Case("queued: waits for its next attempt", BLUE, jobs.both(queued, f"{jobs.series('job_attempts')} > 0")),
        Case("queued: waits for room", BLUE, queued),
    ]


def end_cases(jobs: Jobs) -> list[Case]:
    """How a job ended."""
    return [
        *(
            Case(f"succeeded, but {kind}", colour, jobs.held("job_reservation", f'reservation="{kind}"'))
            for kind, colour in RESERVATION_COLOURS.items()
        ),
        Case("succeeded", GREEN, jobs.state(State.SUCCEEDED)),
        Case("failed", RED, jobs.state(State.FAILED)),
        Case("cancelled", GREY, jobs.state(State.CANCELLED)),
    ]


def seen_health_cases(jobs: Jobs) -> list[Case]:
    """What the health watch last saw, as far as there was anything to see."""
    sick = [
        Case(health, colour, jobs.held("job_health", f'health="{health}"'))
        for health, colour in HEALTH_COLOURS.items()
        if health is not Health.OK
    ]
    running, succeeded = jobs.state(State.RUNNING), jobs.state(State.SUCCEEDED)
    moves = f"{running} unless {jobs.on} ({stands_still(jobs).when})"
    seen = jobs.both(jobs.held("job_health", f'health="{Health.OK}"'), jobs.exists("job_loss"))
    return [
        *sick,
        Case("ok", GREEN, jobs.both(seen, either(jobs.on, moves, succeeded))),
        # Of what stands still, waits for another attempt, or ended without success nobody knows.
        Case("ok when last seen", GREY, seen),
    ]


def health_cases(jobs: Jobs) -> list[Case]:
    """The same, and why nothing was seen."""
    return [
        evaluation(jobs),
        *seen_health_cases(jobs),
        Case("queued", BLUE, jobs.state(State.QUEUED)),
        Case("no report yet", GREY, jobs.state(State.RUNNING)),
        Case("never reported", GREY, jobs.state(State.SUCCEEDED, State.FAILED, State.CANCELLED)),
    ]


def running_pace_cases(jobs: Jobs) -> list[Case]:
    """Whether the running job reports as usual, by its own pace."""
    running = jobs.state(State.RUNNING)
    age = jobs.series("job_report_age_seconds")
    first = f"{age} unless {jobs.on} {jobs.series('job_report_interval_seconds')}"
    return [
        # For a server, or for what another evaluation makes.
        Case("waits: ganctl show says for what", YELLOW, jobs.holds("job_waits")),
        stands_still(jobs),
        Case("late", YELLOW, jobs.both(running, jobs.pace(LATE))),
        Case("begins", GREY, first),
        Case("as usual", GREEN, age),
    ]


def pace_cases(jobs: Jobs) -> list[Case]:
    """The same, and why there is none."""
    return [*running_pace_cases(jobs), *absent(jobs)]


def reservation_cases(jobs: Jobs) -> list[Case]:
    """What is to be said against a training's success."""
    return [
        evaluation(jobs),
        *(
            Case(kind, colour, jobs.held("job_reservation", f'reservation="{kind}"'))
            for kind, colour in RESERVATION_COLOURS.items()
        ),
        Case("none", GREEN, jobs.held("job_reservation", 'reservation="none"')),
        Case("queued", BLUE, jobs.state(State.QUEUED)),
        Case("not ended yet", GREY, jobs.state(State.RUNNING)),
        Case("failed", RED, jobs.state(State.FAILED)),
        Case("cancelled", GREY, jobs.state(State.CANCELLED)),
    ]


def quality_cases(jobs: Jobs) -> list[Case]:
    """How the newest evaluation stands beside the best one, of one protocol."""
    newest, best = jobs.told("job_quality", FRECHET, PROTOCOL), jobs.told("job_best_quality", PROTOCOL)
    return [
        Case("far from its best", RED, f"({newest}) > {jobs.on} {MUCH_WORSE:g} * ({best})"),
        Case("was better", YELLOW, f"({newest}) > {jobs.on} {WORSE:g} * ({best})"),
        Case("at its best", GREEN, newest),
        evaluation(jobs),
        Case("not evaluated", GREY, jobs.exists("job_state")),
    ]


def device_cases(jobs: Jobs) -> list[Case]:
    """Where the running job computes."""
    cpus = jobs.holds("job_device", 'device="cpu"')
    return [
        without_gpus(jobs),
        Case("GPUs", GREEN, jobs.holds("job_device", 'device="cuda"')),
        Case("CPUs", PLAIN, cpus),
        *absent(jobs),
    ]


def heartbeat_cases(jobs: Jobs) -> list[Case]:
    """Whether the running attempt is heard of, beside the length of its lease; of one job."""
    age, lease = jobs.now("job_heartbeat_age_seconds"), "max(ganservice_lease_seconds)"
    return [
        Case("silent for a whole lease", RED, f"{age} > {lease}"),
        Case("late", YELLOW, f"{age} > 0.5 * {lease}"),
        Case("beats", GREEN, age),
        *absent(jobs),
    ]
