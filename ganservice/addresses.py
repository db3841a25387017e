"""Addresses of servers, and what is wrong with one that cannot be meant: said before anyone is asked."""

import re
from urllib.parse import parse_qs, urlsplit

# What stands before the host is told in words: in its place it would be hidden, as in any URL that is printed.
BROKER_FORM = "redis://host[:port][/db], with USER:PASSWORD and an @ before the host where it asks for them"
ENCODED = "in a password, write # / ? [ ] @ % as %23 %2F %3F %5B %5D %40 %25"
# Options that a broker's URL may have after a question mark; of rediss:// also those of TLS.
BROKER_OPTIONS = ("client_name", "db", "protocol", "socket_connect_timeout", "socket_timeout")
TLS_OPTIONS = "ssl_ca_certs, ssl_certfile, ssl_keyfile, ssl_cert_reqs"
STORE_FORM = "http(s)://host[:port]/bucket"
PROMETHEUS_FORM = "http(s)://host[:port][/path], with USER:PASSWORD and an @ before the host where it asks for them"
BUCKET_NAME = re.compile(r"[a-zA-Z0-9._-]{1,255}")
HIDDEN = "***"
USER_OF_URL = re.compile(r"(?<=://)[^\s/]*@")
OPTION_OF_URL = re.compile(r"(?<=[?&])([\w.-]{1,64})=[^\s&#]+")
# Words in the name of an option of a URL whose value lets in whoever has it, such as X-Amz-Signature.
SECRET_WORDS = ("signature", "sig", "credential", "token", "password", "passwd", "secret", "key")


def is_url(text: str, schemes: tuple[str, ...]) -> bool:
    """Whether a text is a URL of one of these schemes, with a host and, if any, a port that can be."""
    try:
        url = urlsplit(text)
        return url.scheme in schemes and bool(url.hostname) and url.port != 0
    except ValueError:  # the port is not a number, or larger than any port
        return False


def check_broker_url(text: str) -> None:
    """Raise ValueError unless a text is an address of Redis of which every part is understood."""
    if not is_url(text, ("redis", "rediss")):
        raise ValueError(f"expected {BROKER_FORM}, or rediss:// for TLS; {ENCODED}")
    url = urlsplit(text)
    database = url.path.strip("/")
    if url.fragment or "@" in url.path + url.query:
        raise ValueError(f"expected {BROKER_FORM}; {ENCODED}")
    if database and not (database.isascii() and database.isdecimal()):
        raise ValueError(f"expected {BROKER_FORM}, where db is a number from 0; {ENCODED}")
    for option in parse_qs(url.query, keep_blank_values=True):
        if option not in BROKER_OPTIONS and not (url.scheme == "rediss" and option.startswith("ssl_")):
            raise ValueError(
                f"unknown option {option}; expected {', '.join(BROKER_OPTIONS)}, or for rediss:// {TLS_OPTIONS}"
            )


def check_store_url(text: str) -> None:
    """Raise ValueError unless a text is an address of one bucket and says nothing else."""
    if not is_url(text, ("http", "https")):
        raise ValueError(f"expected {STORE_FORM}")
    url = urlsplit(text)
    if url.username is not None or url.password is not None:
        raise ValueError(
            f"expected {STORE_FORM} without keys: these go into GANSERVICE_STORE_ACCESS_KEY and _SECRET_KEY"
        )
    if url.query or url.fragment or not BUCKET_NAME.fullmatch(url.path.strip("/")):
        raise ValueError(f"expected {STORE_FORM}, where the bucket is one name of letters, digits, dots and hyphens")


def check_prometheus_url(text: str) -> None:
    """Raise ValueError unless a text is the address of a server of HTTP and asks it for nothing."""
    if not is_url(text, ("http", "https")):
        raise ValueError(f"expected {PROMETHEUS_FORM}; {ENCODED}")
    url = urlsplit(text)
    if url.query or url.fragment or "@" in url.path:
        raise ValueError(f"expected {PROMETHEUS_FORM}; {ENCODED}")


def check_ray_address(text: str) -> None:
    """Raise ValueError unless a text is host:port and nothing else."""
    url = f"ray://{text}"
    if not is_url(url, ("ray",)) or urlsplit(url).port is None or any(mark in text for mark in "/@?#"):
        raise ValueError("expected host:port of a Ray head, and nothing else; its token is RAY_AUTH_TOKEN")


def is_one_word(text: str) -> bool:
    """Whether a text is made of letters that a header of HTTP can carry, without a blank or a line's end."""
    return text.isascii() and text.isprintable() and " " not in text


def hide_secrets(text: str) -> str:
    """A text in which no URL tells its user and password, nor the value of an option that is a secret."""
    if "://" not in text:
        return text
    return OPTION_OF_URL.sub(_without_secret, USER_OF_URL.sub(f"{HIDDEN}@", text))


def _without_secret(option: re.Match[str]) -> str:
    name = option[1].lower()
    return f"{option[1]}={HIDDEN}" if any(word in name for word in SECRET_WORDS) else option[0]
