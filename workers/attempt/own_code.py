"""The Python files of a user's own networks, brought to this machine and imported, where its operator allows that."""

from ganservice.artifacts import ArtifactStore
from ganservice.errors import NetworkInvalid
from ganservice.recipe import Recipe
from ganservice.settings import Settings
from workers.gan.networks.own import import_code


def bring_code(settings: Settings, store: ArtifactStore, recipe: Recipe) -> None:
    """Have the networks of a recipe found in this process; nothing where it has none of its user's own.

    Raises:
        NetworkInvalid: they may not be run here, or cannot be imported.
        DataMissing, DigestMismatch: the store does not have the files.
    """
    code = recipe.code
    if code is None:
        return
    if not settings.own_code:
        raise NetworkInvalid(
            "recipe.code: users' own networks are not run here; whoever operates the service allows them by "
            "GANSERVICE_OWN_CODE=true for its dispatchers"
        )
    if code.digest is None:
        raise NetworkInvalid("recipe.code.digest: is missing; expected the spec as it was submitted")
    import_code(store.cache_code(code.digest, settings.cache_dir), code.digest)
