"""Audit: what pip-audit has found out about the pinned packages, as one clear word and an exit code.

`python -m deploy.supply.audit REPORT.json`. pip-audit itself says "no known vulnerabilities" also of packages that its
database could not be asked about.
"""

import json
import sys
from pathlib import Path
from typing import Any

# The exit codes beside 0, which says that all were looked up and nothing is known.
VULNERABLE = 1
UNKNOWN = 3
# Names that a line spells out.
NAMED = 10


def verdict(report: str) -> tuple[int, list[str]]:
    """The exit code, and lines that say why."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        dependencies = []
    if not dependencies:
        return UNKNOWN, ["unknown: the database of vulnerabilities cannot be reached; nothing was looked up"]
    lines = [
        f"{each['name']} {each['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no release'}"
        for each in dependencies
        for found in each.get("vulns", [])
    ]
    unknown = [each["name"] for each in dependencies if "vulns" not in each]
    if unknown:
        names = ", ".join(unknown[:NAMED]) + (", ..." if len(unknown) > NAMED else "")
        lines.append(f"unknown: {len(unknown)} of {len(dependencies)} packages could not be looked up: {names}")
    if any(each.get("vulns") for each in dependencies):
        return VULNERABLE, lines
    return (UNKNOWN, lines) if unknown else (0, [f"all {len(dependencies)} packages were looked up: no hole is known"])


def main() -> int:
    """Print the verdict on the report of pip-audit in the file that is named."""
    code, lines = verdict(Path(sys.argv[1]).read_text())
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return code


if __name__ == "__main__":
    sys.exit(main())
