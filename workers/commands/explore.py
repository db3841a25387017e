"""ganctl explore: a page in which a browser runs a generator."""

import os
import socket
import time
import webbrowser
from typing import TYPE_CHECKING

import click

from ganservice.cli.output import print_line, say
from ganservice.cli.reference import find_job
from ganservice.errors import RequestError
from workers.commands.options import source_argument

if TYPE_CHECKING:
    from workers.explorer.server import PageServer

# Ctrl-C may come just before a wait, which it then does not end: no wait is longer than this.
LOOK_S = 0.5


@click.command()
@source_argument
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Port on loopback; 0 is any that is free.")
@click.option("--no-browser", is_flag=True, help="Open no browser; print the page's address.")
def explore(source: str, port: int, no_browser: bool) -> None:
    """Open a page that shows what a generator makes of latents: along the directions of most effect, on walks from one
    picture to another, by class, seed and truncation.

    The browser runs the generator, and asks nobody but this command for anything. Ctrl-C ends both.
    """
    from workers.bundle import open_bundle
    from workers.explorer.resources import resources_of
    from workers.explorer.server import PageServer

    resources = resources_of(open_bundle(source, find_job))
    try:
        server = PageServer(port, resources)
    except OSError as error:
        raise RequestError(f"--port {port}: cannot be listened on ({error.strerror}); choose another, or 0") from error
    with server:
        server.start()
        try:
            print_line(server.address)
            _lead_there(server, opens=not no_browser)
            while True:
                time.sleep(LOOK_S)
        except KeyboardInterrupt:
            say("the page has ended")
        server.shutdown()


def _lead_there(server: "PageServer", *, opens: bool) -> None:
    """Open a browser where there is one; over SSH, where it would be far from the user, tell the way instead."""
    port = server.server_port
    if "SSH_CONNECTION" in os.environ:
        say(f"from your own machine: ssh -N -L {port}:127.0.0.1:{port} {socket.gethostname()}, then open the address")
    elif opens and not (_has_display() and webbrowser.open(server.address_for_once())):
        say("no browser was found here; open the address in one")
    say("Ctrl-C ends it")


def _has_display() -> bool:
    """Whether a browser would have a window: one of text would take the terminal, and run nothing."""
    return any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))
