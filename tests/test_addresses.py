"""The address guard: what may be dialled (FAULTS U6, U11; CONTRACT §1)."""

from __future__ import annotations

import pytest

from crawler.fetch.addresses import Guard, endpoint, group, is_public
from crawler.url import split

PRIVATE = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.254 127.0.0.1 127.1.2.3 169.254.169.254 172.16.0.1
172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1
239.255.255.250 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
::ffff:7f00:1 ::ffff:0:7f00:1 64:ff9b::127.0.0.1 64:ff9b::10.1.2.3 64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1 2001::1
2001:0:7f00:1::1 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:a00:1::1 2002:c0a8:101::1
2002:a9fe:a9fe:: 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1
fe80::1%eth0 febf::1 fec0::1 feff::1 ff02::1 ff05::2 ff0e::1
2606:4700::5efe:7f00:1 2606:4700::200:5efe:a00:1 ::ffff:0:127.0.0.1 64:ff9b:1:7f00:0:100::
[::1] localhost 127.1 2130706433 0x7f000001
""".split()  # noqa: SIM905
PUBLIC = """
1.1.1.1 8.8.8.8 93.184.216.34 2606:4700:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1 2606:4700::5efe:808:808
""".split()  # noqa: SIM905


@pytest.mark.parametrize("ip", PRIVATE)
def test_u6_spellings_of_what_is_not_public(ip: str) -> None:
    """No spelling of a private, local, embedded or reserved address passes for public."""
    assert not is_public(ip)


@pytest.mark.parametrize("ip", PUBLIC)
def test_public_addresses_pass(ip: str) -> None:
    """Addresses of the public internet pass, also inside the wrappings of IPv4 in IPv6."""
    assert is_public(ip)


@pytest.mark.parametrize(
    ("seed", "host", "port", "ip", "fine"),
    [
        ("http://127.0.0.1:8000/", "127.0.0.1", 8000, "127.0.0.1", True),
        ("http://127.0.0.1:8000/", "127.0.0.1", 8001, "127.0.0.1", False),
        ("http://127.0.0.1:8000/", "127.0.0.2", 8000, "127.0.0.2", False),
        ("http://127.0.0.1:8000/", "localhost", 8000, "127.0.0.1", False),
        ("http://127.0.0.1:8000/", "evil.example", 8000, "127.0.0.1", False),
        ("http://localhost:8000/", "localhost", 8000, "127.0.0.1", True),
        ("http://localhost:8000/", "localhost", 8000, "::1", True),
        ("http://localhost:8000/", "localhost", 8000, "10.0.0.1", False),
        ("http://localhost:8000/", "127.0.0.1", 8000, "127.0.0.1", False),
        ("http://[::1]:8000/", "::1", 8000, "::1", True),
        ("http://192.168.1.5/", "192.168.1.5", 80, "192.168.1.5", True),
        ("https://192.168.1.5/", "192.168.1.5", 80, "192.168.1.5", False),
        ("http://169.254.169.254/", "169.254.169.254", 80, "169.254.169.254", False),
        ("http://example.org/", "example.org", 80, "10.0.0.1", False),
    ],
)
def test_u6_a_private_seed_admits_exactly_itself(seed: str, host: str, port: int, ip: str, fine: bool) -> None:
    """A literal loopback or private seed, or localhost, opens its host text, port and address, nothing else."""
    assert (Guard((), [split(seed)]).check(host, port, (ip,)) is None) is fine


def test_u6_one_bad_address_refuses_the_whole_answer() -> None:
    """A name with a public and a private address is refused, and the refusal names the address."""
    refusal = Guard().check("evil.example", 80, ("8.8.8.8", "10.0.0.1"))
    assert refusal is not None
    assert "10.0.0.1" in refusal


def test_allow_private_opens_a_network() -> None:
    """--allow-private opens its CIDR for every name, also when IPv6 wraps it; other text raises ValueError."""
    guard = Guard(("10.0.0.0/8",))
    assert guard.check("intra.example", 80, ("10.1.2.3", "::ffff:10.1.2.3")) is None
    assert guard.check("intra.example", 80, ("192.168.0.1",)) is not None
    with pytest.raises(ValueError):
        Guard(("ten",))


@pytest.mark.parametrize("port", [0, 22, 25, 6379, 6667, 10080])
def test_u11_bad_ports_are_refused_unless_the_seed_has_them(port: int) -> None:
    """Ports of other protocols are refused, except exactly the host and port of a seed."""
    assert Guard().check("example.org", port, ("8.8.8.8",)) is not None
    guard = Guard((), [split(f"http://example.org:{port}/")])
    assert guard.check("example.org", port, ("8.8.8.8",)) is None
    assert guard.check("example.com", port, ("8.8.8.8",)) is not None


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("93.184.216.34", "93.184.216.34"),
        ("::ffff:93.184.216.34", "93.184.216.34"),
        ("2606:4700:4700::1111", "2606:4700:4700::/64"),
        ("2606:4700:4700:0:ffff::1", "2606:4700:4700::/64"),
    ],
)
def test_n7_politeness_groups(ip: str, expected: str) -> None:
    """An IPv4 address is its own politeness group, an IPv6 address belongs to its /64."""
    assert group(ip) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://a.b/", ("a.b", 80)), ("https://a.b/", ("a.b", 443)), ("http://[::1]:81/", ("::1", 81)),
     ("https://[::1]/x", ("::1", 443)), ("http://a.b:82/:9", ("a.b", 82))],
)
def test_endpoint_of_a_place(url: str, expected: tuple[str, int]) -> None:
    """A place's host comes without brackets, its port from the origin or the scheme."""
    assert endpoint(split(url)) == expected
