"""Slows down guessing of the password: after `FREE` wrong ones, the wait before the next attempt doubles each time.

An attempt counts when it arrives, so many at once gain nothing. A client is an IPv4 address, or the first 64 bits of an
IPv6 address, since one machine has all the others. Headers such as X-Forwarded-For are not believed: whoever guesses
can write them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

FREE = 3  # wrong passwords before the first delay
LONGEST = 300.0  # seconds, of one delay
FORGET = 3600.0  # seconds without an attempt, after which a client starts anew
CLIENTS = 4096  # remembered at once


class LoginBrake:
    """Decides when each client may try a password.

    Args:
        report: Takes a sentence about each wrong password.
        clock: Returns the time in seconds.
    """

    def __init__(self, report: Callable[[str], None] = print, clock: Callable[[], float] = time.monotonic) -> None:
        self.report, self.clock = report, clock
        self.tries: OrderedDict[str, tuple[int, float]] = OrderedDict()  # of each client: how many, and the last one

    def wait(self, client: str) -> float:
        """Count an attempt, unless it comes too soon.

        Args:
            client: What `client_key` returned.

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

    def report_failure(self, client: str) -> None:
        """Report a wrong password.

        Args:
            client: What `client_key` returned.
        """
        count, _ = self.tries.get(client, (1, 0.0))
        self.report(f"a wrong password from {client}, {count} in a row: the next try in {delay(count):.0f} s")

    def forget(self, client: str) -> None:
        """Forget a client's attempts, after the right password.

        Args:
            client: What `client_key` returned.
        """
        self.tries.pop(client, None)


def delay(count: int) -> float:
    """Compute the delay before the next attempt.

    Args:
        count: Wrong passwords so far.

    Returns:
        Seconds, from 0 to `LONGEST`.
    """
    if count < FREE:
        return 0.0
    return min(LONGEST, 2.0 ** min(count - FREE, 32))


def client_key(host: str) -> str:
    """Name a client.

    Args:
        host: The address that a request comes from.

    Returns:
        The address, an IPv6 address's network of 64 bits, or `unknown` for what is no address.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ip_network((address, 64), strict=False))
