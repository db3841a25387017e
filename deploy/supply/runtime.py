"""The runtime in `workers/explorer/runtime/`: ONNX Runtime Web, as its publisher packs it, by which a browser runs
generators. It lies here because no package of Python brings it, and a page must not fetch it from elsewhere.

`python -m deploy.supply.runtime` writes it anew, after a change of `VERSION` and of the digests below.
"""

import gzip
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from workers.gan.data.npm import pack

FOLDER = Path("workers/explorer/runtime")
VERSION = "1.30.0"
# Each file by its sha256: of npm's package what runs, of PyPI's, which is built of the same source, what it may be
# handed on under.
RUNNING = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
TERMS = {
    "LICENSE": "2f07c72751aed99790b8a4869cf2311df85a860b22ded05fa22803587a48922c",
    "ThirdPartyNotices.txt": "143764b952fdb1a7c69ce653bfba74a7744d6a8a573bfb73e235fba356c83de3",
}
# A quarter of its bytes are left so in a wheel, and on the way through an SSH tunnel.
PACKED = "ort-wasm-simd-threaded.wasm"


def main() -> None:
    """Write the runtime. Ends with 1 where a file has another digest than it should."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        found = {**dict(_of_npm(Path(folder))), **dict(_of_pypi(Path(folder)))}
    for name, sha256 in (RUNNING | TERMS).items():
        if hashlib.sha256(found[name]).hexdigest() != sha256:
            sys.exit(f"{name} of {VERSION}: has another sha256 than {sha256}; look at what changed, then enter it")
    for name, content in found.items():
        if name == PACKED:
            (FOLDER / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (FOLDER / name).write_bytes(content)


def stored() -> dict[str, str]:
    """The sha256 of each file that lies there, by its name, both as it is unpacked."""
    contents = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    contents[PACKED] = gzip.decompress(contents.pop(f"{PACKED}.gz"))
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def _of_npm(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in pack(f"onnxruntime-web@{VERSION}", [f"onnxruntime-web-{VERSION}.tgz"], folder):
        with tarfile.open(path) as tar:
            for name in RUNNING:
                member = tar.extractfile(f"package/dist/{name}")
                if member:
                    yield name, member.read()


def _of_pypi(folder: Path) -> Iterator[tuple[str, bytes]]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    subprocess.run([*command, f"onnxruntime=={VERSION}"], check=True)
    for path in folder.glob("onnxruntime-*.whl"):
        with zipfile.ZipFile(path) as wheel:
            for name in TERMS:
                yield name, wheel.read(f"onnxruntime/{name}")


if __name__ == "__main__":
    main()
