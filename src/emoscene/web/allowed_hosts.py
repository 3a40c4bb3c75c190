"""Which names a request may use for this page, and from which pages it may come.

A browser runs scripts of every page that is open in it, and each of them can send requests to this machine. Two checks
keep them out. The header `Host` must be a name of this page: with DNS rebinding a stranger's name leads to this
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
        """Tell whether this is a name of the page; host: as the header `Host` has it."""
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
        asked = headers.get("host", [])
        if len(asked) != 1:
            return 400, "a request must have one header Host"
        used = [*asked, *(first(value) for value in headers.get("x-forwarded-host", []))]
        for host in used:
            if not self.allow(host):
                name = host_name(host)
                remedy = f"start it with --allow-host {name}" if name else "open it at its own address"
                return 403, f"that is not a name of this page: {remedy}"
        if any(first(value) not in PORTS for value in headers.get("x-forwarded-proto", [])):
            return 400, "X-Forwarded-Proto must be http or https"
        strange = "the request comes from another page: open this page at its own address"
        if not all(self._is_own(origin, used) for origin in headers.get("origin", [])):
            return 403, strange
        opening = method in {"GET", "HEAD"} and path == "/"
        if not opening and not set(headers.get("sec-fetch-site", [])) <= SELF:
            return 403, strange
        return None

    def _is_own(self, origin: str, used: Iterable[str]) -> bool:
        """Tell whether an origin is this page, or one that the user added."""
        scheme, _, place = origin.lower().partition("://")
        if scheme not in PORTS or not host_name(place):
            return False
        return host_name(place) in self.extra or with_port(place, scheme) in {with_port(one, scheme) for one in used}


def host_name(host: str) -> str:
    """Return the name in `name:port`, in lower case; nothing where that is no name."""
    match = NAME.fullmatch(host.strip())
    return match[1].lower().strip("[]").removesuffix(".") if match else ""


def with_port(host: str, scheme: str) -> str:
    """Return `name:port`, with the scheme's own port where none is said."""
    match = NAME.fullmatch(host.strip())
    return f"{host_name(host)}:{match[2] or PORTS[scheme]}" if match else ""


def is_address(name: str) -> bool:
    """Tell whether this is a literal address rather than a name."""
    with suppress(ValueError):
        return bool(ip_address(name))
    return False


def is_loopback(address: str) -> bool:
    """Tell whether only this machine reaches an address."""
    return ip_address(address.partition("%")[0]).is_loopback


def first(value: str) -> str:
    """Return the first of the values that proxies joined with commas."""
    return value.partition(",")[0].strip()
