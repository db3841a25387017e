"""How the workers of a gang find each other."""

import psutil
import pytest

from workers.attempt.process_group import interface_of


def test_an_interface_is_known_by_its_address() -> None:
    [loopback] = [
        name for name, addresses in psutil.net_if_addrs().items() if any(a.address == "127.0.0.1" for a in addresses)
    ]
    assert interface_of("127.0.0.1") == loopback


@pytest.mark.parametrize("address", ["192.0.2.1", ""])
def test_no_interface_has_an_address_of_another_machine(address: str) -> None:
    assert interface_of(address) is None  # RFC 5737 keeps 192.0.2.0/24 for documentation
