"""Where a webhook may point to: only to the public internet, whatever a name in its address resolves to.

Else a tenant could have this service call what only it can reach: a metadata service, a database, another tenant
(OWASP: server-side request forgery).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

Network = IPv4Network | IPv6Network

MOST_CHARACTERS: Final = 2000
_NEVER: Final[tuple[Network, ...]] = (
    # Special (RFC 6890 and its registry), though `ipaddress` of some Python versions takes them for public.
    IPv4Network("100.64.0.0/10"),
    IPv4Network("192.0.0.0/24"),
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("3fff::/20"),
    IPv6Network("5f00::/16"),
    # These carry or relay to IPv4 addresses: 6to4 and its relay, NAT64. Teredo is in 2001::/23.
    IPv4Network("192.88.99.0/24"),
    IPv6Network("2002::/16"),
    IPv6Network("64:ff9b::/96"),
    IPv6Network("64:ff9b:1::/48"),
)


class TargetRefused(ValueError):
    """The address, or what its name resolves to, may not be called."""


def parse_networks(text: str) -> tuple[Network, ...]:
    """The setting `webhook_private_networks`: "127.0.0.1/32, 10.1.0.0/16". Raises `ValueError`."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def is_callable_address(address: str, allowed: Sequence[Network] = ()) -> bool:
    """Whether a resolved address may be called: a public unicast address, or one within `allowed`."""
    ip = ip_address(address.partition("%")[0])
    return is_within(ip, allowed) or _is_public(ip)


def is_within(ip: IPv4Address | IPv6Address | str, allowed: Sequence[Network]) -> bool:
    """Whether the address is in one of the networks."""
    ip = ip_address(ip.partition("%")[0]) if isinstance(ip, str) else ip
    return any(ip.version == network.version and ip in network for network in allowed)


def check_url(url: str, allowed: Sequence[Network] = ()) -> None:
    """Refuse what can be refused before any name is resolved. Raises `TargetRefused` with the reason.

    Plain http is only for networks that the operator allows.
    """
    if len(url) > MOST_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise TargetRefused(f"must be at most {MOST_CHARACTERS} printable ASCII characters, names in punycode")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise TargetRefused("is not a URL") from None
    if parts.scheme != "https" and not (parts.scheme == "http" and allowed):
        raise TargetRefused("must begin with https://")
    if not host or port == 0:
        raise TargetRefused("must name a host, and a port from 1 to 65535 if any")
    if "@" in parts.netloc or parts.fragment:
        raise TargetRefused("must have no user, password or fragment: messages are authenticated by their signature")
    try:
        literal = ip_address(host)
    except ValueError:
        return
    if not is_callable_address(str(literal), allowed):
        raise TargetRefused(f"must not point to {literal}: only public addresses are called")


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return _is_public(ip.ipv4_mapped)
        if ip.is_site_local:
            return False
    special = ip.is_multicast or ip.is_reserved or ip.is_loopback or ip.is_link_local or ip.is_unspecified
    return ip.is_global and not special and not is_within(ip, _NEVER)
