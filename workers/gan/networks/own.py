"""Networks of a user's own: his Python files, imported, and the functions in them called."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganservice.errors import NetworkInvalid
from ganservice.mistakes import brief
from ganservice.recipe import OwnNetwork
from workers.gan.networks.context import NetworkContext

# What takes any number of arguments needs none.
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
# The folders that are imported in this process by their digests, and all that ever were.
_imported: dict[str, Path] = {}
_folders: set[Path] = set()


def import_code(folder: Path, digest: str) -> None:
    """Have networks of kind `own` found in a folder, which is run, as a package of its name, with this process' rights.

    Of two folders of one name the later takes the place of the one before, whose networks go on as they are.

    Raises:
        NetworkInvalid: it is called as an installed package, or raises an error while it is imported.
    """
    if digest in _imported:
        return
    name = folder.name
    _forget(name)
    _folders.add(folder)
    with told(f"recipe.code: {name} cannot be imported"):
        if name in sys.modules or _is_installed(name):
            raise NetworkInvalid(f"recipe.code: {name} is called as an installed package is; rename the folder")
        module = importlib.util.module_from_spec(_spec_of(folder))
        sys.modules[name] = module
        try:
            if module.__spec__ is not None and module.__spec__.loader is not None:
                module.__spec__.loader.exec_module(module)
        except BaseException:
            _drop(name)
            raise
    _imported[digest] = folder


def build_generator(network: OwnNetwork, context: NetworkContext) -> nn.Module:
    """What the user's function makes; see `NetworkContext` for what it is given."""
    return _build(network, context, {"latent_size": context.latent_size})


def build_discriminator(network: OwnNetwork, context: NetworkContext) -> nn.Module:
    """What the user's function makes; see `NetworkContext` for what it is given."""
    return _build(network, context, {})


def _build(network: OwnNetwork, context: NetworkContext, more: dict[str, Any]) -> nn.Module:
    if context.code is None or context.code.digest not in _imported:
        raise NetworkInvalid(f"{network.function}: the folder recipe.code was not imported in this process")
    folder = _imported[context.code.digest]
    given = {"shape": context.shape, "classes": context.classes, "draws": context.draws} | more
    with told(network.function):
        function = _function(folder, network.function)
        arguments = _arguments(network, function, given)
        built = function(**arguments)
    if not isinstance(built, nn.Module):
        raise NetworkInvalid(f"{network.function}: returned {type(built).__name__}, expected a torch.nn.Module")
    for name, weight in built.named_parameters():
        if isinstance(weight, nn.UninitializedParameter):
            raise NetworkInvalid(f"{network.function}: its weight {name} has no shape yet; give its layer one")
    return built


def _function(folder: Path, dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    found = importlib.import_module(f"{folder.name}.{module}" if module else folder.name)
    function = getattr(found, name, None)
    if not callable(function):
        place = folder.name + ("." + module if module else "")
        there = [
            key for key, each in vars(found).items() if inspect.isfunction(each) and _is_of(each.__module__, folder)
        ]
        raise NetworkInvalid(brief(f"{dotted}: there is no such function in {place}, which has {_listed(there)}", 300))
    # Whoever writes a spec chooses the arguments too, and what the files import for themselves may be a shell.
    home = str(getattr(function, "__module__", None))
    if not _is_of(home, folder):
        raise NetworkInvalid(f"{dotted}: is of {home}, expected a function that the files of {folder.name} define")
    return function


def _arguments(network: OwnNetwork, function: Any, given: dict[str, Any]) -> dict[str, Any]:
    """All options, and of what is given besides what the function takes."""
    parameters = inspect.signature(function).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in network.options:
        if name not in parameters and not takes_any:
            raise NetworkInvalid(
                f"options.{name}: {network.function} has no such argument; it takes {_listed(parameters)}"
            )
    arguments = {name: value for name, value in given.items() if name in parameters} | network.options
    for name, parameter in parameters.items():
        is_needed = parameter.default is parameter.empty and parameter.kind not in VARIADIC
        if is_needed and name not in arguments:
            raise NetworkInvalid(
                f"{network.function}: nothing is given for its argument {name}; give it in options, or take of "
                f"{_listed(given)}"
            )
    return arguments


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _spec_of(folder: Path) -> ModuleSpec:
    first = folder / "__init__.py"
    if first.exists():
        spec = importlib.util.spec_from_file_location(folder.name, first, submodule_search_locations=[str(folder)])
    else:
        spec = ModuleSpec(folder.name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
    if spec is None:
        raise NetworkInvalid(f"{folder.name}: cannot be imported")
    return spec


def _is_installed(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    places = [spec.origin or "", *(spec.submodule_search_locations or [])] if spec else []
    return any("-packages" in place for place in places)


def _forget(name: str) -> None:
    """Have a folder that was imported under a name before no longer stand for it."""
    known = [digest for digest, path in _imported.items() if path.name == name]
    for digest in known:
        del _imported[digest]
    if known:
        _drop(name)


def _drop(name: str) -> None:
    for module in [module for module in sys.modules if _is_of(module, Path(name))]:
        del sys.modules[module]


def _is_of(module: str, folder: Path) -> bool:
    return module == folder.name or module.startswith(f"{folder.name}.")


@contextmanager
def told(what: str) -> Iterator[None]:
    """Have what the block raises, in which code of a user's own runs, told in one line, with the line of his."""
    try:
        yield
    except (NetworkInvalid, torch.OutOfMemoryError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise NetworkInvalid(f"{what}: {_where(error)}{type(error).__name__}: {brief(str(error))}") from error


def _where(error: BaseException) -> str:
    """The last line of the user's own that an error came through; nothing where it came through none."""
    if isinstance(error, SyntaxError):
        return ""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [(path, line, folder) for path, line in frames for folder in _folders if path.is_relative_to(folder)]
    if not own:
        return ""
    path, line, folder = own[-1]
    return f"{path.relative_to(folder.parent)}, line {line}: "
