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
    """Put the weights of Inception-v3, or a network of ONNX (FILE.onnx), into the store, and print the key by which
    evaluations name it."""
    store = ArtifactStore(Settings())
    try:
        with path.open("rb") as file:
            data = file.read(NETWORK_BYTES + 1)
    except OSError as error:
        raise RequestError(
            f"{path}: cannot be read ({error.strerror}); expected a file of weights or of ONNX"
        ) from error
    if len(data) > NETWORK_BYTES:
        raise RequestError(f"{path}: has more than {NETWORK_BYTES:,} bytes; expected one network")
    is_onnx = path.suffix == ".onnx"
    key = store.put_network(data, ".onnx" if is_onnx else ".pth")
    if output == "json":
        print_document(NetworkDocument(key=key))
    else:
        print_line(key)
    say(f"next: ganctl evaluate JOB --network {'onnx' if is_onnx else 'inception_v3'} --weights {key}")
