"""The page of a sweep: its settings side by side, with their curves and their samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from ganservice.charts import Line, Scale
from ganservice.job import Progress
from ganservice.markup import Markup, element, markup
from ganservice.page_parts import chart, heads, row, table, whole_page
from ganservice.report_pictures import picture
from ganservice.sweep import short, words
from ganservice.sweep_plan import Child
from ganservice.sweep_table import Level, Row, columns, effects_of, rows_of
from ganservice.sweeps import Sweep

# Lines of a chart that the eye tells apart, and settings of which samples are shown.
MOST_LINES, MOST_GRIDS = 8, 12


@dataclass(frozen=True)
class SweepStory:
    """All that the page needs to know of a sweep."""

    sweep: Sweep
    children: Sequence[Child]
    histories: Mapping[str, Sequence[Progress]]  # by job
    grids: Mapping[str, bytes]  # the newest of a job, PNG


def shown_jobs(sweep: Sweep, children: Sequence[Child]) -> list[str]:
    """The jobs whose histories and grids the page shows: the first of each of the best settings."""
    return [row.children[0].job_id for row in rows_of(sweep.spec, children)[:MOST_GRIDS]]


def sweep_page(story: SweepStory) -> str:
    """Write the page."""
    rows = rows_of(story.sweep.spec, story.children)
    sections = [
        ("Settings, the best first", _settings(story, rows)),
        ("Effects", _effects(story)),
        ("Curves", _curves(story, rows[:MOST_LINES])),
        ("Samples of the best settings, of the same latents", _samples(story, rows[:MOST_GRIDS])),
    ]
    written = (element("section", element("h2", title), content) for title, content in sections if content)
    return whole_page(story.sweep.id, element("article", _head(story, rows), *written, aria_label=story.sweep.id))


def _head(story: SweepStory, rows: Sequence[Row]) -> Markup:
    sweep = story.sweep
    tiles = {
        "settings": str(len(sweep.spec.settings())),
        "jobs": str(len(story.children)),
        "images": f"{sum(child.trained_images for child in story.children):,}",
        "best setting": words(rows[0].setting) if rows and rows[0].qualities else "",
        "its quality": _quality(rows[0]) if rows else "",
    }
    return element(
        "header",
        element("h1", sweep.id),
        element("p", element("span", sweep.state, class_="badge")),
        element(
            "dl",
            *(element("div", element("dt", name), element("dd", value)) for name, value in tiles.items() if value),
            class_="tiles",
        ),
    )


def _quality(setting: Row) -> str:
    if setting.mean is None:
        return ""
    return f"{setting.mean:.4g}" + ("" if setting.spread is None else f" \u00b1 {setting.spread:.2g}")


def _settings(story: SweepStory, rows: Sequence[Row]) -> Markup | None:
    if not rows:
        return None
    spec = story.sweep.spec
    first = heads("", *columns(spec), story.sweep.measure, "seeds", "let train to", "images")
    lines = [
        row(
            str(place),
            *map(str, each.setting.values()),
            _quality(each),
            f"{len(each.qualities)}/{spec.seeds}",
            f"{each.until_images:,}",
            f"{each.trained_images:,}",
        )
        for place, each in enumerate(rows, start=1)
    ]
    note = "Means over seeds of the best that was found of each, \u00b1 their standard deviation; lower is better."
    return markup(table(first, *lines, is_wide=True), element("p", note, class_="note"))


def _effects(story: SweepStory) -> Markup | None:
    effects = effects_of(story.sweep.spec, story.children)
    if not effects:
        return None
    lines = [
        row(short(effect.key), "; ".join(map(_level, effect.levels)), f"{effect.difference:.3g}") for effect in effects
    ]
    images = story.sweep.spec.rungs[0]
    note = f"Means over all settings with a value, at {images:,} images, to which all were let train."
    return markup(table(heads("factor", "means", "difference"), *lines), element("p", note, class_="note"))


def _level(level: Level) -> str:
    return f"{level.text}: {level.mean:.4g}"


def _curves(story: SweepStory, rows: Sequence[Row]) -> Markup | None:
    charts = [chart(_title(story), [_judged(each) for each in rows], "images seen", Scale())]
    for title, field in (("Loss of G", "loss_g"), ("Loss of D", "loss_d")):
        lines = [Line(words(each.setting), _reports(story, each, field)) for each in rows]
        charts.append(chart(f"{title}, of the first seed", lines, "images seen", Scale()))
    found = [each for each in charts if each]
    return element("div", *found, class_="charts") if found else None


def _title(story: SweepStory) -> str:
    return f"{story.sweep.measure}, means over seeds; lower is better"


def _judged(setting: Row) -> Line:
    """The mean over seeds of what was found at each number of images."""
    by_images: dict[int, list[float]] = {}
    for child in setting.children:
        for finding in child.findings:
            by_images.setdefault(finding.images, []).append(finding.quality)
    return Line(words(setting.setting), [(images, mean(found)) for images, found in sorted(by_images.items())])


def _reports(story: SweepStory, setting: Row, field: str) -> list[tuple[float, float]]:
    history = story.histories.get(setting.children[0].job_id, ())
    return [(each.images, getattr(each, field)) for each in history]


def _samples(story: SweepStory, rows: Sequence[Row]) -> Markup | None:
    figures = [
        picture(story.grids[job_id], f"{words(each.setting)}: {_quality(each) or 'not judged'}")
        for each in rows
        if (job_id := each.children[0].job_id) in story.grids
    ]
    return element("div", *figures, class_="pictures") if figures else None
