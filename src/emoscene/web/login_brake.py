"""A brake on guessing the password: after a few wrong ones, each client waits twice as long for its next try.

An attempt counts when it arrives, so many at once are no way around. A client is an address, or the first 64 bits of
one in IPv6, as one machine has all the others. Headers such as X-Forwarded-For are not believed: whoever guesses can
write them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

FREE = 3  # wrong passwords before the first delay
LONGEST = 300.0  # seconds, of one delay
FORGET = 3600.0  # seconds without a try, after which a client is new
CLIENTS = 4096  # remembered at once


class LoginBrake:
    """Who may try a password now."""

    def __init__(self, report: Callable[[str], None] = print, clock: Callable[[], float] = time.monotonic) -> None:
        self.report, self.clock = report, clock
        self.tries: OrderedDict[str, tuple[int, float]] = OrderedDict()  # of each client: how many, and the last one

    def wait(self, client: str) -> float:
        """Count an attempt, unless it comes too soon.

        Args:
            client: What `client_key` says.

        Returns:
            Seconds until the next attempt of this client; 0 where this one may go on, and is counted.
        """
        now = self.clock()
        count, last = self.tries.get(client, (0, now))
        if now - last > FORGET:
            count = 0
        left = last + delay(count) - now
        if left > 0:
            return left
        self.tries[client] = (count + 1, now)
        self.tries.move_to_end(client)
        while len(self.tries) > CLIENTS:
            self.tries.popitem(last=False)
        return 0.0

    def fail(self, client: str) -> None:
        """Report a wrong password."""
        count, _ = self.tries.get(client, (1, 0.0))
        self.report(f"a wrong password from {client}, {count} in a row: the next try in {delay(count):.0f} s")

    def succeed(self, client: str) -> None:
        """Forget a client's attempts."""
        self.tries.pop(client, None)


def delay(count: int) -> float:
    """Return the seconds to wait after so many wrong passwords."""
    return 0.0 if count < FREE else min(LONGEST, 2.0 ** min(count - FREE, 32))


def client_key(host: str) -> str:
    """Return the word for a client at this address: itself, or its network in IPv6."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    if not isinstance(address, IPv6Address):
        return str(address)
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else str(ip_network((address, 64), strict=False))
