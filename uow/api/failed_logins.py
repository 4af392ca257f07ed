"""Wrong tokens, per address: a client that goes on showing them is told to wait.

What keeps a token from being guessed is its length; this keeps one who tries from filling the log
and the wire. So a right token is let in at once, also from an address at which somebody else has
shown a hundred wrong ones: nobody can lock out those who share the address.
"""

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

logger = logging.getLogger(__name__)

FREE_FAILURES = 10
"""Wrong tokens in a row that cost nothing: somebody looks for the right one."""

LONGEST_WAIT = 60
"""Seconds; the first wait is 1 s, each further one twice as long."""

FORGOTTEN_AFTER = 300.0
"""Seconds without a wrong token after which an address begins anew."""

MOST_ADDRESSES = 10_000
"""That are remembered; those that have failed least lately are forgotten first."""


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_at: float = 0.0
    refused_until: float = 0.0


class FailedLogins:
    """Counts wrong tokens, and says who has to wait.

    Args:
        clock: Seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: OrderedDict[str, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._of)

    def failed(self, address: str) -> int:
        """Count a wrong token; returns the whole seconds that the client has to wait, or 0.

        What comes during a wait neither counts nor makes it longer.
        """
        now, key = self._clock(), _key(address)
        found = self._remembered(key, now)
        if now >= found.refused_until:
            found.count += 1
            found.last_at = now
            found.refused_until = now + _wait_after(found.count)
            if found.count == FREE_FAILURES:
                logger.warning("wrong tokens from %s: %d in a row; slowed", key, found.count)
        return math.ceil(found.refused_until - now)

    def succeeded(self, address: str) -> None:
        """Begin anew with this address."""
        if self._of:
            self._of.pop(_key(address), None)

    def _remembered(self, key: str, now: float) -> _Failures:
        found = self._of.pop(key, None)
        if found is None or now - found.last_at > FORGOTTEN_AFTER:
            found = _Failures()
        self._of[key] = found
        if len(self._of) > MOST_ADDRESSES:
            self._of.popitem(last=False)
        return found


def _wait_after(count: int) -> int:
    beyond = count - FREE_FAILURES
    return 0 if beyond < 0 else min(2 ** min(beyond, 10), LONGEST_WAIT)


def _key(address: str) -> str:
    """Of IPv6 the network of 64 bits, which one client has for itself."""
    try:
        found: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return "an unknown address"
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None and not found.is_loopback:
        return str(IPv6Network((int(found) >> 64 << 64, 64)))
    return str(found)
