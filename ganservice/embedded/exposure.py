"""Exposure: what of a service others can read or reach, as far as addresses, certificates and open ports tell."""

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import psutil

# A certificate that ends sooner is told.
EXPIRES_SOON_S = 21 * 86_400.0
CONNECT_S = 5.0
TLS_PORTS = {"rediss": 6379, "https": 443}


def exposure_of_broker(url: str) -> list[str]:
    """What the broker's address lets others do, each with what to do about it."""
    parts, found = urlsplit(url), []
    if parts.scheme != "rediss" and _is_public(parts.hostname):
        found.append("passwords and jobs travel to it in plain text over a public address: use rediss://")
    if not parts.password and not _is_loopback(parts.hostname):
        found.append("it lets in whoever reaches it, for its address has no password: set requirepass")
    return [*found, *_certificate(parts.scheme, parts.hostname, parts.port, parse_qs(parts.query))]


def exposure_of_store(url: str) -> list[str]:
    """What the store's address lets others do, each with what to do about it."""
    parts, found = urlsplit(url), []
    if parts.scheme != "https" and _is_public(parts.hostname):
        found.append("objects travel to and from it in plain text over a public address: use https://")
    return [*found, *_certificate(parts.scheme, parts.hostname, parts.port, {})]


def public_ports(process: psutil.Process) -> list[str]:
    """The addresses on which a process, or one that it started, can be reached from other machines."""
    found = set()
    for each in _family(process):
        try:
            connections = each.net_connections(kind="tcp")
        except psutil.Error:  # it has just ended, or hides what it does
            continue
        for connection in connections:
            if connection.status == psutil.CONN_LISTEN and not _is_local(connection.laddr.ip):
                found.add(f"{connection.laddr.ip}:{connection.laddr.port}")
    return sorted(found)


def exposure_of_process(process: psutil.Process) -> list[str]:
    """What to do about a part of the embedded stack that other machines reach."""
    ports = public_ports(process)
    if not ports:
        return []
    return [
        f"other machines reach it at {', '.join(ports)}: let a firewall close that, or restart it on loopback alone"
    ]


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _certificate(scheme: str, host: str | None, port: int | None, options: dict[str, list[str]]) -> Iterator[str]:
    """Yield a word about a certificate that ends soon; of one that is not trusted nobody gets as far as here."""
    if scheme not in TLS_PORTS or host is None or options.get("ssl_cert_reqs") == ["none"]:
        return
    try:
        context = ssl.create_default_context(cafile=next(iter(options.get("ssl_ca_certs", [])), None))
        if own := options.get("ssl_certfile"):
            context.load_cert_chain(own[0], *options.get("ssl_keyfile", [])[:1])
        with (
            socket.create_connection((host, port or TLS_PORTS[scheme]), timeout=CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            certificate = connection.getpeercert() or {}
    except (OSError, ssl.SSLError) as error:
        yield f"its certificate was not looked at ({' '.join(str(error).split())})"
        return
    ends = str(certificate.get("notAfter", ""))
    left_s = ssl.cert_time_to_seconds(ends) - time.time() if ends else EXPIRES_SOON_S
    if left_s < EXPIRES_SOON_S:
        yield f"its certificate expires in {left_s / 86_400:.0f} days ({ends}): renew it"


def _is_public(host: str | None) -> bool:
    return any(address.is_global for address in _addresses(host))


def _is_loopback(host: str | None) -> bool:
    addresses = _addresses(host)
    return bool(addresses) and all(address.is_loopback for address in addresses)


def _is_local(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _addresses(host: str | None) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The addresses of a host; none of one that nobody knows."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
