"""The file of a network that no package brings: from the store, or from a place that the operator lists.

A spec names it, and so whoever may submit: nothing else of this machine or its network is looked at for them.
"""

from pathlib import Path

from ganservice.artifacts import ArtifactStore
from ganservice.errors import ArtifactMissing, DataInvalid, DataMissing
from ganservice.judging import NetworkWeights
from ganservice.places import Places
from ganservice.settings import Settings
from workers.gan.data.mirrors import cached_file

STORED = "networks/"


def weights_file(settings: Settings, store: ArtifactStore, weights: NetworkWeights) -> Path:
    """The path of the file on this machine. Of one in a folder the bytes are not looked at here.

    Raises:
        DataInvalid: it is not where such files may be, or is another file.
        DataMissing: the store or a host does not have it.
    """
    source = weights.source
    if source.startswith(STORED):
        try:
            return store.cache_network(source, weights.sha256, settings.cache_dir)
        except ArtifactMissing as error:
            raise DataMissing(f"{error}; `ganctl networks put FILE` brings it there") from error
    places = Places(settings.weights_from)
    if places.allow_url(source):
        return cached_file(source, weights.sha256, settings.cache_dir, places.allow_url)
    if "://" not in source and places.allow_file(Path(source)):
        return Path(source).resolve()
    raise DataInvalid(
        f"{source}: is no file in a place that GANSERVICE_WEIGHTS_FROM lists; "
        "`ganctl networks put FILE` brings one into the store"
    )
