"""What the optional dependencies of this project bring."""

import re
from importlib.metadata import packages_distributions, requires


def modules_of_extras() -> dict[str, set[str]]:
    """What each package that only an extra brings is imported as, by the package's name."""
    packages = {re.split(r"[^\w-]", line)[0].lower() for line in requires("ganservice") or [] if "extra ==" in line} - {
        "ganservice"
    }
    modules: dict[str, set[str]] = {}
    for module, brought_by in packages_distributions().items():
        for package in packages & {name.lower().replace("_", "-") for name in brought_by}:
            modules.setdefault(package, set()).add(module)
    return modules
