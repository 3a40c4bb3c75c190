"""Checks by which name a request asks for this page, and from which page it comes.

A browser runs the scripts of every page that is open in it, and each of them can send requests to this machine. Two
checks keep them out. The header `Host` must be a name of this page: with DNS rebinding a stranger's name leads to this
address, but the browser still sends that name (Jackson et al. 2007, Protecting Browsers from DNS Rebinding Attacks).
`Origin` and `Sec-Fetch-Site` must say that the request comes from this page itself (W3C, Fetch Metadata Request
Headers). A program sends neither, so it passes.

A literal address needs no name server, so no rebinding leads to it: where the page is bound to every address of the
machine, any address is a name of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SELF = {"same-origin", "none"}  # values of Sec-Fetch-Site for a request of this page, or of the user
NAME = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?", re.IGNORECASE)
PORTS = {"http": "80", "https": "443"}
Refusal = tuple[int, str]


@dataclass(frozen=True)
class AllowedHosts:
    """The names of one page.

    Attributes:
        names: Host names and addresses in lower case, without a port.
        extra: Those of them that the user added; a page at one of them may send requests.
        every_address: Whether any literal address is a name, as the page is bound to all of them.
    """

    names: frozenset[str] = LOOPBACK
    extra: frozenset[str] = frozenset()
    every_address: bool = False

    @classmethod
    def of(cls, host: str, address: str, extra: Iterable[str] = ()) -> AllowedHosts:
        """Collect the names of a page.

        Args:
            host: What `--host` says.
            address: The address that the socket has.
            extra: What `--allow-host` says.

        Returns:
            The names by which the page may be asked.
        """
        added = frozenset(name.lower().strip("[]") for name in extra)
        names = LOOPBACK | added | {host.lower().strip("[]"), address.lower()}
        return cls(names, added, ip_address(address).is_unspecified)

    def allow(self, host: str) -> bool:
        """Tell whether this is a name of the page.

        Args:
            host: A value of the header `Host`.

        Returns:
            Whether it is one, whatever its port.
        """
        name = host_name(host)
        return bool(name) and (name in self.names or (self.every_address and is_address(name)))

    def refuse(self, method: str, path: str, headers: Mapping[str, list[str]]) -> Refusal | None:
        """Check where a request leads to and where it comes from.

        Args:
            method: Of the request.
            path: Of the request.
            headers: Every value of every header, by its name in lower case.

        Returns:
            Status and sentence of the refusal, or None where the request may pass.
        """
        hosts = list(headers.get("host", []))
        if len(hosts) != 1:
            return 400, "a request must have one header Host"
        hosts += map(first_value, headers.get("x-forwarded-host", []))
        for host in hosts:
            if not self.allow(host):
                name = host_name(host)
                remedy = "open it at its own address"
                if name:
                    remedy = f"start it with --allow-host {name}"
                return 403, f"that is not a name of this page: {remedy}"
        if not set(map(first_value, headers.get("x-forwarded-proto", []))) <= PORTS.keys():
            return 400, "X-Forwarded-Proto must be http or https"

        foreign = 403, "the request comes from another page: open this page at its own address"
        for origin in headers.get("origin", []):
            if not self._is_own(origin, hosts):
                return foreign
        opens_page = method in {"GET", "HEAD"} and path == "/"
        if not opens_page and not set(headers.get("sec-fetch-site", [])) <= SELF:
            return foreign
        return None

    def _is_own(self, origin: str, hosts: Iterable[str]) -> bool:
        """Whether an origin is this page, or one that the user added."""
        scheme, _, place = origin.lower().partition("://")
        if scheme not in PORTS or not host_name(place):
            return False
        if host_name(place) in self.extra:
            return True
        return any(with_port(place, scheme) == with_port(host, scheme) for host in hosts)


def host_name(host: str) -> str:
    """Read the name in `name:port`.

    Args:
        host: A value of the header `Host`.

    Returns:
        The name in lower case, without brackets; empty where that is no name.
    """
    match = NAME.fullmatch(host.strip())
    if not match:
        return ""
    return match[1].lower().strip("[]").removesuffix(".")


def with_port(host: str, scheme: str) -> str:
    """Write `name:port`, with the scheme's own port where there is none.

    Args:
        host: A name, with or without a port.
        scheme: `http` or `https`.

    Returns:
        The name with a port; empty where that is no name.
    """
    match = NAME.fullmatch(host.strip())
    if not match:
        return ""
    return f"{host_name(host)}:{match[2] or PORTS[scheme]}"


def is_address(name: str) -> bool:
    """Tell whether this is a literal address.

    Args:
        name: A host name or an address.

    Returns:
        False for a host name.
    """
    with suppress(ValueError):
        return bool(ip_address(name))
    return False


def is_loopback(address: str) -> bool:
    """Tell whether an address is reached from this machine alone.

    Args:
        address: A literal address, with or without a zone.

    Returns:
        True for 127.0.0.0/8 and ::1.

    Raises:
        ValueError: For what is no address.
    """
    return ip_address(address.partition("%")[0]).is_loopback


def first_value(value: str) -> str:
    """Read the first of the values that proxies joined with commas.

    Args:
        value: Of a header.

    Returns:
        Its first part.
    """
    return value.partition(",")[0].strip()
