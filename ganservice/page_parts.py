"""What pages are made of: the frame, charts, tables."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from string import Template

from ganservice.charts import Line, Scale, line_chart
from ganservice.markup import Markup, element, markup


def whole_page(title: str, *articles: Markup) -> str:
    """A page of articles, each of which is a column."""
    page = Template(resources.files("ganservice").joinpath("report_page.html").read_text())
    return page.substitute(
        title=markup(title),
        columns=len(articles),
        body=markup(*articles),
        written_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def chart(title: str, lines: Sequence[Line], x_label: str, scale: Scale, joins: Sequence[float] = ()) -> Markup | None:
    """A chart with its title and, of several lines, a key to them; None without a point."""
    svg = line_chart(lines, x_label, scale, joins)
    if not svg:
        return None
    keys = [element("span", line.name, class_=f"key-{number}") for number, line in enumerate(lines)]
    legend = element("p", *keys, class_="keys") if len(lines) > 1 else None
    return element("div", element("h3", title), legend, svg, class_="chart")


def table(*rows: Markup, is_wide: bool = False) -> Markup:
    """A table of rows; a wide one moves by itself."""
    table = element("table", *rows)
    return element("div", table, class_="wide") if is_wide else table


def row(head: object, *cells: object) -> Markup:
    """A row of a table with its head."""
    return element("tr", element("th", head), *(element("td", cell) for cell in cells))


def heads(*heads: object) -> Markup:
    """The first row of a table."""
    return element("tr", *(element("th", head) for head in heads))
