"""A page asks Prometheus: its variables find their values, its panels their answers, as Grafana would ask for them."""

import json
import re
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.grafana.frames import Answers
from ganservice.metrics_server import basic_auth
from ganservice.proxies import ProxyHandler

POINTS = 240  # of a range
Values = dict[str, str | list[str]]  # of variables, by their names; several of one that may have several


@dataclass
class Prometheus:
    """What a server has to say about a span of time that ends at `end_s`, Unix time."""

    base: str
    end_s: float
    span_s: float
    scrape_s: float = 15.0
    password: Path | None = None
    _opener: Any = field(init=False)

    def __post_init__(self) -> None:
        self._opener = urllib.request.build_opener(ProxyHandler())
        if self.password:
            self._opener.addheaders.append(("Authorization", basic_auth(self.password.read_text().strip())))

    def ask(self, panel: dict[str, Any], values: Values) -> Answers:
        """The answers to all queries of a panel, each asked for a moment or for the whole span, as it says."""
        return {
            target["refId"]: self.result(target["expr"], values, target.get("instant")) for target in panel["targets"]
        }

    def result(self, expression: str, values: Values, is_instant: bool | None = True) -> list[dict[str, Any]]:
        """What one query gives."""
        query = {"query": self.interpolate(expression, values)}
        if is_instant:
            return self._get("query", {**query, "time": self.end_s})
        span = {"start": self.end_s - self.span_s, "end": self.end_s, "step": self.step_s}
        return self._get("query_range", {**query, **span})

    @property
    def step_s(self) -> float:
        """The time between two points of a range."""
        return max(self.scrape_s, round(self.span_s / POINTS))

    def interpolate(self, text: str, values: Values) -> str:
        """A text in which every variable has its value. Raises KeyError where one has none."""
        rate_s = max(self.step_s + self.scrape_s, 4 * self.scrape_s)
        known: Values = {"__range": f"{self.span_s:.0f}s", "__rate_interval": f"{rate_s:.0f}s", **values}

        def value(name: re.Match[str]) -> str:
            found = known[name[1]]
            return found if isinstance(found, str) else f"({'|'.join(found)})"

        return re.sub(r"\$\{?(\w+)\}?", value, text)

    def values(self, page: dict[str, Any], chosen: Values) -> Values:
        """The values of all variables of a page, in its order; of those that were not chosen the default."""
        values: Values = {}
        for variable in page["templating"]["list"]:
            name = variable["name"]
            if name in chosen:
                values[name] = chosen[name]
            elif variable["type"] == "custom":
                values[name] = variable["current"]["value"]
            elif variable.get("allValue"):
                values[name] = variable["allValue"]
            else:
                found = self.options(variable, values)
                values[name] = found if variable["multi"] else (found or [""])[0]
        return values

    def options(self, variable: dict[str, Any], values: Values) -> list[str]:
        """What a variable offers, in its order."""
        query = variable["query"]["query"]
        if found := re.fullmatch(r"label_values\((.*), (\w+)\)", query):
            series, label = found.groups()
            results = self.result(f"group by ({label}) (last_over_time({series}[$__range]))", values)
            texts = [result["metric"].get(label, "") for result in results]
        else:
            found = re.fullmatch(r"query_result\((.*)\)", query)
            if found is None:
                raise ValueError(f"variables of the form {query} are not known")
            texts = [_text(result["metric"]) for result in self.result(found[1], values)]
        if pattern := variable["regex"].strip("/g"):
            texts = [text for each in texts for text in re.findall(pattern, each)]
        offered = list(dict.fromkeys(filter(None, texts)))
        return sorted(offered) if variable["sort"] else offered

    def _get(self, path: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        url = f"{self.base}/api/v1/{path}"
        with self._opener.open(url, urllib.parse.urlencode(arguments).encode()) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result


def _text(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"
