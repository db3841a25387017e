"""Networks in the store: what evaluations see pictures by, and the code of users' own.

networks/NAME.safetensors    a classifier, trained once on the pictures NAME stands for
networks/DIGEST.pth, .onnx   a network from elsewhere, by `ganctl networks put`
statistics/NAME.safetensors  real pictures as a network sees them
code/DIGEST.json             the Python files of a user's own networks, as one text
"""

import contextlib
import hashlib
import re
from pathlib import Path
from typing import Literal

from ganservice.cache import cache_folder, cache_path
from ganservice.code_folder import TEXT_BYTES, CodeFolder, unpack
from ganservice.errors import ArtifactExists, ArtifactMissing, DataInvalid, DataMissing
from ganservice.files import file_sha256
from ganservice.objects import ObjectStore, put_bounded

DerivedKind = Literal["networks", "statistics"]

NETWORK_BYTES = 2**30
DERIVED_BYTES = {"networks": NETWORK_BYTES, "statistics": 16 * 2**30}
NETWORK_KEY = re.compile(r"networks/([0-9a-f]{64})\.(?:pth|onnx)")
# What the file of a network is called: of weights for torch, or of ONNX.
NetworkSuffix = Literal[".pth", ".onnx"]


class Networks:
    """Networks from elsewhere, and what is derived from a data set, once for all."""

    objects: ObjectStore

    def find_derived(self, kind: DerivedKind, name: str) -> bytes | None:
        """Return something derived, or None if nobody has derived it yet. No digest pins it."""
        try:
            return self._derived(kind, name)
        except ArtifactMissing:
            return None

    def keep_derived(self, kind: DerivedKind, name: str, data: bytes) -> bytes:
        """Store something derived; of two at once the first counts. Returns what the store holds."""
        with contextlib.suppress(ArtifactExists):
            put_bounded(self.objects, _derived_key(kind, name), data, DERIVED_BYTES[kind])
            return data
        return self._derived(kind, name)

    def _derived(self, kind: DerivedKind, name: str) -> bytes:
        return self.objects.get(_derived_key(kind, name), DERIVED_BYTES[kind])

    def put_network(self, data: bytes, suffix: NetworkSuffix = ".pth") -> str:
        """Store the file of a network that evaluations may look through. Returns its key."""
        sha256 = hashlib.sha256(data).hexdigest()
        key = f"networks/{sha256}{suffix}"
        put_bounded(self.objects, key, data, NETWORK_BYTES)
        self.objects.check_bytes(key, sha256, len(data))
        return key

    def put_code(self, folder: CodeFolder) -> str:
        """Store the Python files of networks of one's own. Returns their digest."""
        self.objects.put_anew(code_key(folder.digest), folder.text)  # nor is it garbage by the age of an earlier copy
        return folder.digest

    def get_code(self, digest: str) -> CodeFolder:
        """The Python files with a digest. Raises DataMissing, DigestMismatch."""
        key = code_key(digest)
        try:
            return unpack(self.objects.get(key, TEXT_BYTES), digest, key)
        except ArtifactMissing as error:
            raise DataMissing(f"{error}; submit the spec again from where its folder of code is") from error

    def cache_code(self, digest: str, cache_dir: Path) -> Path:
        """The folder in the cache with the Python files of a digest, as they are in the store.

        Raises DataMissing, DigestMismatch.
        """
        return self.get_code(digest).cached(cache_dir)

    def cache_network(self, key: str, sha256: str, cache_dir: Path) -> Path:
        """The path in the cache of the file of a network, downloaded unless it is there; checked each time.

        Raises:
            DataInvalid: the key is not of the network with this sha256.
            ArtifactMissing, DigestMismatch.
        """
        match = NETWORK_KEY.fullmatch(key)
        if match is None or match[1] != sha256:
            raise DataInvalid(
                f"{key!r}: is no key of a network with sha256 {sha256}; expected networks/{sha256}.pth or .onnx"
            )
        cache_folder(cache_dir, "networks")
        path = cache_path(cache_dir, "networks", sha256)
        if not path.exists() or file_sha256(path) != sha256:
            self.objects.download(key, path, sha256, NETWORK_BYTES)
        return path


def code_key(digest: str) -> str:
    """The key of the Python files with a digest."""
    return f"code/{digest}.json"


def _derived_key(kind: DerivedKind, name: str) -> str:
    return f"{kind}/{name}.safetensors"
