"""Where processes listen, and whether they answer somebody who has no key."""

import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

import psutil

HOST = "127.0.0.1"
REFUSALS = {400, 401, 403}


def ports_of(processes: Iterable[psutil.Process]) -> dict[int, str]:
    """TCP ports at which processes listen, each with the process' name. None listens for other machines."""
    found: dict[int, str] = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            listeners = [each for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
            assert all(each.laddr.ip.removeprefix("::ffff:") == HOST for each in listeners), (process, listeners)
            found |= {each.laddr.port: process.name() for each in listeners}
    return found


def sockets_of(processes: Iterable[psutil.Process]) -> list[Path]:
    """Unix sockets of processes that have a place in the file system."""
    found: list[Path] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            paths = [str(each.laddr) for each in process.net_connections("unix")]
            found += [Path(path) for path in paths if path.startswith("/")]
    return found


def is_private(path: Path) -> bool:
    """Whether only its owner, and root, may use what lies there: for its own mode, or for a folder's above it."""
    return any(each.stat().st_mode & 0o077 == 0 for each in (path, *path.parents))


def answers_strangers(port: int) -> bool:
    """Whether a request without a key, in plain HTTP or by TLS without a certificate, is taken for anything."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for connection in (
        HTTPConnection(HOST, port, timeout=10),
        HTTPSConnection(HOST, port, timeout=10, context=context),
    ):
        with suppress(HTTPException, OSError):
            connection.request("GET", "/")
            if connection.getresponse().status not in REFUSALS:
                return True
        connection.close()
    return False


def asks_for_certificate(port: int) -> bool:
    """Whether who connects by TLS without a certificate is refused for that very reason."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((HOST, port), timeout=10) as plain, context.wrap_socket(plain) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            connection.recv(1)
    except ssl.SSLError as error:
        return "CERTIFICATE_REQUIRED" in str(error)
    except OSError:
        return False
    return False
