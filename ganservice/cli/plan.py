"""The plan of a training: what `submit --dry-run` tells of it, and what may keep it from being run."""

from importlib.metadata import entry_points
from typing import Any

from ganservice.cadence import plan_training
from ganservice.cli.output import counted, print_document, print_fields, print_line, print_lines, say, span
from ganservice.doubts import doubts
from ganservice.errors import BrokerOutage, NotAtHand, NotConfigured
from ganservice.estimate import Estimate, estimate, find_alike
from ganservice.extras import remedy
from ganservice.job_list import JobList
from ganservice.leadership import Leadership
from ganservice.settings import Settings
from ganservice.spec import JobSpec, TrainSpec


def print_plan(spec: TrainSpec, settings: Settings, output: str, lacks: list[str], *, with_spec: bool) -> None:
    """Print what a training would be and take, and what it lacks; with its spec, in the table's place."""
    sizes = _network_sizes(spec)
    found, need = _from_the_queue(spec, settings)
    warnings, transfer = [*doubts(spec), *lacks, *need], _transfer(spec, settings)
    if output == "json":
        _print_document(spec, sizes, found, warnings, transfer, with_spec=with_spec)
    elif with_spec:
        from ganservice.spec_file import dump_spec

        print_lines(dump_spec(spec).rstrip("\n"))
    else:
        print_fields(_fields(spec, sizes, found))
        for line in transfer:
            print_line(line)
    for warning in warnings:
        say(f"warning: {warning}")


def warnings_of(spec: JobSpec, settings: Settings) -> list[str]:
    """What would keep a job from ever being run by the cluster as its leading dispatcher last saw it, in words."""
    with Leadership(settings) as leadership:
        cluster = leadership.cluster()
    need = cluster.cannot_hold(spec.resources) if cluster else None
    return [f"it would wait for {need}, until somebody adds to that"] if need else []


def _from_the_queue(spec: TrainSpec, settings: Settings) -> tuple[Estimate | None, list[str]]:
    """What trainings like it took, and what would keep it from being run; a word where there is no queue to ask."""
    try:
        with JobList(settings) as jobs:
            return estimate(spec, find_alike(jobs)), warnings_of(spec, settings)
    except (NotConfigured, BrokerOutage) as error:
        say(f"how long it takes is not known: {error}")
        return None, []


def _print_document(
    spec: TrainSpec,
    sizes: dict[str, int],
    found: Estimate | None,
    warnings: list[str],
    transfer: tuple[str, ...],
    *,
    with_spec: bool,
) -> None:
    from ganservice.documents import PlanDocument

    whole: dict[str, Any] = {
        **plan_training(spec),
        "spec": spec.model_dump(mode="json") if with_spec else None,
        "sizes": sizes or None,
        "estimate": found and {key: value for key, value in vars(found).items() if key != "checkpoint_bytes"},
        "transfer": transfer,
        "warnings": warnings,
    }
    print_document(PlanDocument.model_validate(whole))


def _fields(spec: TrainSpec, sizes: dict[str, int], found: Estimate | None) -> dict[str, Any]:
    plan, gang = plan_training(spec), plan_training(spec)["gang"]
    checkpoint_bytes = sizes.get("checkpoint_bytes") or (found.checkpoint_bytes if found else None)
    size = f", {checkpoint_bytes / 1e6:.1f} MB" if checkpoint_bytes else ""
    return {
        "name": spec.name,
        "parameters of G": f"{sizes['parameters_g']:,}" if sizes else None,
        "parameters of D": f"{sizes['parameters_d']:,}" if sizes else None,
        "steps": f"{plan['steps']:,}",
        "images": f"{plan['images']:,}",
        "checkpoints": f"{plan['checkpoints']:,} and one at the end{size and f'{size} each'}"
        if plan["checkpoints"]
        else f"one at the end alone{size}; a worker's death costs all until then, see checkpoints.every_images",
        "sample grids": f"{plan['sample_grids']:,} and one at the end",
        "evaluations": f"{plan['evaluations']:,} and one at the end, at most{_judges(spec)}" if spec.evaluate else None,
        "would be scheduled": f"1 gang of {counted(gang['workers'], 'worker')}, {counted(gang['cpus'], 'CPU')} and "
        f"{counted(gang['gpus'], 'GPU')}, {counted(gang['images_per_worker_and_step'], 'image')} per worker and step, "
        f"priority {spec.priority}",
        **_cost(found),
    }


def _judges(spec: TrainSpec) -> str:
    judges = len(spec.evaluate.judgings) if spec.evaluate else 0
    return f", by each of {judges} judges" if judges > 1 else ""


def _cost(found: Estimate | None) -> dict[str, str]:
    if found is None:
        return {"time": "not known: no training like it has run here"}
    trainings = f"{counted(found.jobs, 'training')} with {found.alike}"
    gpus = f", {found.gpu_hours:,.2f} GPU hours" if found.gpu_hours else ""
    return {
        "time": f"{span(found.seconds)} at {found.images_per_s:,.0f} images/s, the speed of {trainings}",
        "cost": f"{found.cpu_hours:,.2f} CPU hours{gpus}",
    }


def _network_sizes(spec: TrainSpec) -> dict[str, int]:
    """Parameters of both networks and bytes of a checkpoint; nothing, with a word why, where torch is missing."""
    (sizes_of_kind,) = entry_points(group="ganctl.sizes", name=spec.kind)
    try:
        sizes: dict[str, int] = sizes_of_kind.load()(spec)
    except ModuleNotFoundError as error:
        say(f"parameters and the size of a checkpoint take {error.name}, which is not installed: {remedy(error)}")
        return {}
    except NotAtHand as error:
        say(f"parameters and the size of a checkpoint are not known: {error}")
        return {}
    return sizes


def _transfer(spec: TrainSpec, settings: Settings) -> tuple[str, ...]:
    """What the networks would take of those that they start from, in lines; nothing, with a word why, without torch."""
    if spec.start is None or not spec.start.takes_what_fits:
        return ()
    from ganservice.artifacts import ArtifactStore

    (foretell,) = entry_points(group="ganctl.transfers", name=spec.kind)
    checkpoint = ArtifactStore(settings).get_checkpoint(spec.start.checkpoint, spec.start.sha256)
    try:
        lines: tuple[str, ...] = foretell.load()(spec, checkpoint)
    except ModuleNotFoundError as error:
        say(f"which weights fit takes {error.name}, which is not installed: {remedy(error)}")
        return ()
    except NotAtHand as error:
        say(f"which weights fit is not known: {error}")
        return ()
    return lines
