"""The address guard: which addresses and ports a crawl may dial, decided without I/O (FAULTS U6, U7, U11)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from storage.model import Place

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Beside `is_global`, which on Python 3.11 says True to half of these (LIBRARIES 1.1). IANA special-purpose registries.
_DENIED: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "::/3",
        "4000::/2",
        "8000::/1",  # all but 2000::/3, the only block given out as global unicast
    )
)
# A literal seed opens loopback and private use (RFC 1918, RFC 4193); link-local holds the clouds' metadata services
# and stays shut unless --allow-private names it.
_SEEDABLE: tuple[Network, ...] = tuple(
    ip_network(text) for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052
_ISATAP = 0x0000_5EFE  # begins such an interface identifier, but for its universal/local bit (RFC 5214 §6.1)
_LOOPBACK = ("127.0.0.0/8", "::1/128")

BLOCKED_PORTS = frozenset(
    {
        # Fetch standard, "bad ports": a request there speaks to something that is no web server.
        0,
        1,
        7,
        9,
        11,
        13,
        15,
        17,
        19,
        20,
        21,
        22,
        23,
        25,
        37,
        42,
        43,
        53,
        69,
        77,
        79,
        87,
        95,
        101,
        102,
        103,
        104,
        109,
        110,
        111,
        113,
        115,
        117,
        119,
        123,
        135,
        137,
        139,
        143,
        161,
        179,
        389,
        427,
        465,
        512,
        513,
        514,
        515,
        526,
        530,
        531,
        532,
        540,
        548,
        554,
        556,
        563,
        587,
        601,
        636,
        989,
        990,
        993,
        995,
        1719,
        1720,
        1723,
        2049,
        3659,
        4045,
        4190,
        5060,
        5061,
        6000,
        6566,
        6665,
        6666,
        6667,
        6668,
        6669,
        6679,
        6697,
        10080,
        # Data stores that take lines of text as commands (U11).
        1433,
        1521,
        3306,
        5432,
        6379,
        11211,
        27017,
    }
)


@lru_cache(maxsize=65_536)  # 0.1 µs instead of 6 for each fetch
def literal(host: str) -> Address | None:
    """The address a URL's host spells out (IPv6 with or without brackets, zone dropped), or None for a name."""
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _inner(ip: Address) -> tuple[Address, ...]:
    """The IPv4 addresses an IPv6 address carries: mapped, NAT64, 6to4, Teredo (server and client), ISATAP; else itself.

    IPv4-compatible (::/96), IPv4-translated (::ffff:0:0:0/96) and the local NAT64 (64:ff9b:1::/48, whose layout is the
    site's own) need no unwrapping: they lie outside of 2000::/3, and are refused whatever they carry.
    """
    if isinstance(ip, IPv4Address):
        return (ip,)
    if ip.ipv4_mapped is not None:
        return (ip.ipv4_mapped,)
    if ip in _NAT64:
        return (IPv4Address(int(ip) & 0xFFFFFFFF),)
    if ip.sixtofour is not None:
        return (ip.sixtofour,)
    if int(ip) >> 32 & 0xFDFF_FFFF == _ISATAP:
        return (ip, IPv4Address(int(ip) & 0xFFFFFFFF))
    return ip.teredo or (ip,)


def _denied(ip: Address) -> bool:
    return not ip.is_global or ip.is_multicast or any(ip in net for net in _DENIED)


@lru_cache(maxsize=65_536)
def is_public(ip: str) -> bool:
    """Whether an address (text) belongs to the public internet, IPv4 inside IPv6 unwrapped. False for other text."""
    address = literal(ip)
    return address is not None and not any(_denied(inner) for inner in _inner(address))


def group(ip: str) -> str:
    """The politeness group of an address: an IPv4 address itself, the /64 of an IPv6 one (N7); other text unchanged."""
    address = literal(ip)
    if address is None:
        return ip
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return str(ip_network((int(address) >> 64 << 64, 64)))
        address = address.ipv4_mapped
    return str(address)


def endpoint(place: Place) -> tuple[str, int]:
    """The bare host (no brackets) and the port a place is fetched from."""
    scheme, _, rest = place.origin.partition("://")
    port = rest[rest.rfind("]") + 1 :].partition(":")[2]
    return place.host.strip("[]"), int(port) if port else (443 if scheme == "https" else 80)


def _within(ip: Address, nets: Iterable[Network]) -> bool:
    return any(address in net for net in nets for address in {ip, *_inner(ip)})


def _opened_by(host: str) -> tuple[Network, ...]:
    """The addresses a seed with this host text opens on its port (CONTRACT §1): its own literal, or loopback."""
    if host == "localhost":
        return tuple(ip_network(text) for text in _LOOPBACK)
    address = literal(host)
    return (ip_network(address),) if address is not None and _within(address, _SEEDABLE) else ()


class Guard:
    """Says of every host, port and address whether it may be dialled.

    ``allow``: CIDR texts of addresses that are not public but may be fetched; ValueError when one is no CIDR.
    ``seeds``: a literal loopback or private seed (or ``localhost``) admits exactly its host text, port and address; any
    seed admits its own port.
    """

    __slots__ = ("_allow", "_open", "_seeds")

    def __init__(self, allow: Sequence[str] = (), seeds: Iterable[Place] = ()) -> None:
        self._allow: tuple[Network, ...] = tuple(ip_network(text, strict=False) for text in allow)
        self._seeds = {(host, port): _opened_by(host) for host, port in map(endpoint, seeds)}
        self._open = lru_cache(maxsize=4096)(self._opened)

    def check_port(self, host: str, port: int) -> str | None:
        """None when the port may be dialled, else the readable refusal."""
        if port not in BLOCKED_PORTS or (host, port) in self._seeds:
            return None
        return f"port {port} is not a web server's"

    def check(self, host: str, port: int, ips: Iterable[str]) -> str | None:
        """None when all is well, else the readable refusal. One bad address in the set refuses all of it (U6).

        Also the check of a single dial: there ``ips`` is the address about to be connected to. ``host``: no brackets.
        """
        refusal = self.check_port(host, port)
        if refusal is not None:
            return refusal
        for ip in ips:
            if not is_public(ip) and not self._open(host, port, ip):
                return f"{host} is not public ({ip})" if ip != host else f"{ip} is not a public address"
        return None

    def _opened(self, host: str, port: int, ip: str) -> bool:
        address = literal(ip)
        if address is None:
            return False
        opened = self._seeds.get((host, port), ())
        return any(address in net for net in opened) or _within(address, self._allow)
