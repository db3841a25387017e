"""Sbom: adds to a bill of materials what no package of Python brings, which is what browsers run.

`python -m deploy.supply.sbom BILL.json`, after cyclonedx-py has written the bill.
"""

import json
import sys
from pathlib import Path
from typing import Any

from deploy.supply.runtime import RUNNING, VERSION

PURL = f"pkg:npm/onnxruntime-web@{VERSION}"


def with_runtime(bill: dict[str, Any]) -> dict[str, Any]:
    """A bill in CycloneDX, with ONNX Runtime Web and its files among the components."""
    files = [
        {"type": "file", "name": name, "hashes": [{"alg": "SHA-256", "content": sha256}]}
        for name, sha256 in RUNNING.items()
    ]
    runtime = {
        "type": "library",
        "bom-ref": PURL,
        "name": "onnxruntime-web",
        "version": VERSION,
        "purl": PURL,
        "licenses": [{"license": {"id": "MIT"}}],
        "components": files,
    }
    others = [component for component in bill.get("components", []) if component.get("bom-ref") != PURL]
    return bill | {"components": [*others, runtime]}


def main() -> None:
    """Write the bill anew."""
    path = Path(sys.argv[1])
    path.write_text(json.dumps(with_runtime(json.loads(path.read_text())), indent=2) + "\n")


if __name__ == "__main__":
    main()
