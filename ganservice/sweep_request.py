"""Sweep requests: from what a user asks, by options or as a program, to a sweep whose every job can be."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ganservice.artifacts import ArtifactStore
from ganservice.continuation import resolved
from ganservice.errors import RequestError, SpecInvalid
from ganservice.mistakes import brief, describe_mistake, one_line, shown
from ganservice.queue import JobQueue
from ganservice.spec import TrainSpec
from ganservice.sweep import SweepSpec

MULTIPLES = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
BUDGET = "expected images, such as 500k-images or 2M-images, or GPU time, such as 1.5-GPU-hours"


def make_sweep(
    base: TrainSpec,
    *,
    grid: Mapping[str, Sequence[Any]] | None = None,
    choice: Mapping[str, Sequence[Any]] | None = None,
    uniform: Mapping[str, Sequence[Any]] | None = None,
    log_uniform: Mapping[str, Sequence[Any]] | None = None,
    budget: str | None = None,
    **keys: Any,
) -> SweepSpec:
    """A sweep of a training over the values of a grid, or over so many draws (`trials`) of choices and ranges.

    `keys` are those of `SweepSpec`.

    Raises:
        SpecInvalid: it cannot be one, or one of its jobs cannot be.
    """
    drawn = {**(choice or {}), **(uniform or {}), **(log_uniform or {})}
    if grid and drawn:
        raise SpecInvalid("the sweep: found a grid and draws, expected one of them; a choice draws of several values")
    if not grid and not drawn:
        raise SpecInvalid("the sweep: found no factor, expected one in a grid, a choice or a range, such as d_steps")
    if drawn and keys.get("trials") is None:
        raise SpecInvalid("the sweep: trials is missing, the number of settings that are drawn")
    if grid and keys.get("trials") is not None:
        raise SpecInvalid("the sweep: found trials, which a grid has none of: it tries every combination")
    factors = [
        *(
            {"kind": "listed", "key": key, "values": _several(key, values)}
            for key, values in (grid or choice or {}).items()
        ),
        *(_range(key, bounds, "linear") for key, bounds in (uniform or {}).items()),
        *(_range(key, bounds, "log") for key, bounds in (log_uniform or {}).items()),
    ]
    asked = {"base": base, "factors": factors} | {key: value for key, value in keys.items() if value is not None}
    if budget is not None:
        asked["budget"] = read_budget(budget)
    try:
        sweep = SweepSpec.model_validate(asked)
    except ValidationError as error:
        mistake = error.errors(include_url=False)[0]
        place = [str(part) for part in mistake["loc"]]
        if place[:1] == ["factors"] and len(place) > 1:
            place = [brief(str(factors[int(place[1])]["key"]), 100)]
        raise SpecInvalid(one_line(f"the sweep: {describe_mistake('.'.join(place), mistake)}")) from error
    sweep.check()
    return sweep


def read_budget(text: str) -> dict[str, Any]:
    """A budget as users write it. Raises SpecInvalid."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)(?:([kMG]?)-images|-GPU-hours)", text)
    if match is None or float(match[1]) == 0:
        raise SpecInvalid(f"the budget: found {shown(text)}, {BUDGET}")
    if match[2] is None:
        return {"gpu_hours": float(match[1])}
    return {"images": max(1, round(float(match[1]) * MULTIPLES[match[2]]))}


def resolved_sweep(
    sweep: SweepSpec,
    queue: JobQueue,
    store: ArtifactStore,
    origin: str | None = None,
    *,
    weights_only: bool = False,
    keep: bool = True,
    tell: Callable[[str], None],
) -> SweepSpec:
    """The sweep with the very data set that it means, which fits each of its jobs, and the checkpoint from which all of
    them go on.

    Raises:
        DataMissing, JobNotFound, ArtifactMissing, RequestError: as `continuation.resolved`.
    """
    if weights_only and not origin:
        raise RequestError("weights_only: expected together with origin")
    base = resolved(sweep.base, queue, store, origin, weights_only, keep=keep, tell=tell)
    found = SweepSpec.model_validate(dict(sweep) | {"base": base})
    if data := base.recipe.pictures:
        manifest = store.find_data_set(data.dataset, data.digest, tell)
        for setting in found.settings():
            manifest.fit(found.job(setting, 0))
    found.check()
    return found


def _several(key: str, values: Any) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise SpecInvalid(f"the sweep: {brief(key, 100)}: found {shown(values)}, expected several values")
    return list(values)


def _range(key: str, bounds: Any, scale: str) -> dict[str, Any]:
    low_and_high = _several(key, bounds)
    if len(low_and_high) != 2:
        raise SpecInvalid(f"the sweep: {brief(key, 100)}: found {shown(low_and_high)}, expected the least and the most")
    return {"kind": "range", "key": key, "low": low_and_high[0], "high": low_and_high[1], "scale": scale}
