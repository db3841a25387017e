"""Proxies: which one a request goes through by HTTP_PROXY, HTTPS_PROXY and NO_PROXY. Loopback is reached straight.

Clients of HTTP send even requests for 127.0.0.1 to the proxy unless NO_PROXY names it, in just that spelling.
"""

import re
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib import request
from urllib.parse import SplitResult, urlsplit

ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d+)?")


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine by name or address: localhost, 127.0.0.0/8, ::1."""
    host = (_split(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def proxies_of(url: str) -> dict[str, str]:
    """The environment's proxies, by scheme, for a client that asks only `url`; none if it is to be asked straight."""
    return {} if is_loopback(url) or request.proxy_bypass(_split(url).netloc) else request.getproxies()


def by_way_of(url: str) -> str:
    """What an error about `url` says of the proxy in between, and of the variable that names it; nothing if none is."""
    scheme = _split(url).scheme
    proxy = proxies_of(url).get(scheme)
    if proxy is None:
        return ""
    # Without its user and password; of what is no address, any part might be one of them.
    address = proxy.rstrip("/").rpartition("/")[2].rpartition("@")[2]
    told = f"{address} " if ADDRESS.fullmatch(address) else ""
    return f" (by way of the proxy {told}of {scheme.upper()}_PROXY)"


class ProxyHandler(request.ProxyHandler):
    """urllib's, which leaves loopback alone whatever NO_PROXY says; a redirect is looked at anew."""

    def proxy_open(self, req: request.Request, proxy: str, type: str) -> Any:  # noqa: A002 # the name is urllib's
        """Send a request to the proxy, or leave it to the next handler."""
        return None if is_loopback(req.full_url) else super().proxy_open(req, proxy, type)


def _split(url: str) -> SplitResult:
    """The parts of a URL; of one that is none, nothing: whoever asks it will say so."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
