"""`python -m tests.benchmarks [PART ...] [--seconds S] [--tiny]` prints a table of ratios."""

import argparse
import importlib
import os
import sys
import traceback

from tests.benchmarks import table
from tests.benchmarks.sides import Budget, start_processes

# In the order of the table.
PARTS = (
    "training",
    "jobs",
    "first_step",
    "overhead",
    "evaluation",
    "scrape",
    "queue_growth",
    "training_growth",
    "data",
)
# Too slow to run unasked, or of use on a GPU only.
BY_NAME = ("quality", "device")


def main() -> int:
    """Print the table; 1 if a part of ours failed, whose other rows are there all the same."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; and, by name only, {', '.join(BY_NAME)}"
    )
    parser.add_argument("--seconds", type=float, default=180.0, help="what each part may take, but for one round")
    parser.add_argument("--tiny", action="store_true", help="one round of the smallest sizes: whether all works")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.parts) - {*PARTS, *BY_NAME}):
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join((*PARTS, *BY_NAME))}")
    start_processes(from_one=arguments.tiny)
    print(table.head(), flush=True)
    return max([_print(part, Budget(arguments.seconds, arguments.tiny)) for part in arguments.parts or PARTS])


def _print(part: str, budget: Budget) -> int:
    try:
        for row in importlib.import_module(f"{__package__}.{part}").rows(budget):
            print(table.line(part, row), flush=True)
    except Exception:  # noqa: BLE001 # the other parts are measured all the same
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    # Ray reads these when it is imported; see tests/conftest.py.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    sys.exit(main())
