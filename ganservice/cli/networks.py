"""networks: files of networks that no package brings, put into the store for evaluations to look through."""

from pathlib import Path

import click

from ganservice.artifacts import ArtifactStore
from ganservice.cli.output import output_option, print_document, print_line, say
from ganservice.documents import NetworkDocument
from ganservice.errors import RequestError
from ganservice.networks import NETWORK_BYTES
from ganservice.settings import Settings


@click.group("networks")
def networks_command() -> None:
    """Networks from elsewhere, by which evaluations see pictures."""


@networks_command.command("put")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@output_option
def put_network(path: Path, output: str) -> None:
    """Put the weights of Inception-v3 into the store, and print the key by which evaluations name them."""
    store = ArtifactStore(Settings())
    try:
        with path.open("rb") as file:
            data = file.read(NETWORK_BYTES + 1)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror}); expected a file of weights") from error
    if len(data) > NETWORK_BYTES:
        raise RequestError(f"{path}: has more than {NETWORK_BYTES:,} bytes; expected the weights of one network")
    key = store.put_network(data)
    if output == "json":
        print_document(NetworkDocument(key=key))
    else:
        print_line(key)
    say(f"next: ganctl evaluate JOB --network inception_v3 --weights {key}")
