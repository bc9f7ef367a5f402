"""A user and a password at the door, and how long somebody who guesses has to wait."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import logging
import threading
import time
from collections import OrderedDict, deque
from contextvars import ContextVar

logger = logging.getLogger(__name__)

# Who is at the door in this request; set by `guard.Guard`.
CALLER: ContextVar[str] = ContextVar("caller", default="")

_TRIES = 5  # wrong passwords in a row that are forgiven to an address
_FIRST_WAIT, _LONGEST_WAIT = 5.0, 60.0  # seconds; every further wrong one doubles the wait
_MANY, _WITHIN, _SLOW = 30, 60.0, 1.0  # so many wrong ones in so many seconds, and everybody waits a second
_REMEMBERED = 10_000  # addresses


class Gate:
    """Lets one user in. Whoever guesses waits, longer every time, and nobody else with them.

    After five wrong passwords in a row an address waits: 5 seconds, then 10, up to a minute. Other addresses are let in
    meanwhile. Guesses from many addresses at once slow everybody down by a second, and lock nobody out.

    Args:
        user, password: what to be given.
    """

    def __init__(self, user: str, password: str):
        self._pair = (user, password)
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # address -> (wrong in a row, shut until)
        self._lately: deque[float] = deque(maxlen=_MANY)  # when the last wrong passwords were given, by anybody
        self._lock = threading.Lock()

    def __call__(self, user: str, password: str) -> bool:
        caller = CALLER.get()
        with self._lock:
            count, until = self._wrong.get(caller, (0, 0.0))
            now = time.monotonic()
            if now < until:
                return False
            given = (user.encode(), password.encode())
            same = [hmac.compare_digest(a, b.encode()) for a, b in zip(given, self._pair, strict=True)]
            right = same == [True, True]  # both compared, whichever is wrong
            self._wrong.pop(caller, None)
            if not right:
                self._lately.append(now)
                wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(count + 1 - _TRIES, 10)) if count + 1 >= _TRIES else 0
                self._wrong[caller] = (count + 1, now + wait)
                if wait:
                    logger.warning("%d wrong passwords in a row from %s; it waits %.0f s", count + 1, caller, wait)
            while len(self._wrong) > _REMEMBERED:
                self._wrong.popitem(last=False)
            return right

    def wait(self, caller: str) -> float:
        """Seconds until an address may try again."""
        with self._lock:
            return max(0.0, self._wrong.get(caller, (0, 0.0))[1] - time.monotonic())

    def slowness(self) -> float:
        """Seconds that every try takes now: more than none while very many wrong passwords are given."""
        with self._lock:
            busy = len(self._lately) == _MANY and time.monotonic() - self._lately[0] < _WITHIN
            return _SLOW if busy else 0.0


def caller_of(address: str) -> str:
    """What an address counts as: itself, or its /64 network, of which one user of IPv6 has all.

    Args:
        address: of a client, as the server sees it.
    """
    with contextlib.suppress(ValueError):
        parsed = ipaddress.ip_address(address)
        if isinstance(parsed, ipaddress.IPv6Address) and not parsed.is_loopback:
            mapped = parsed.ipv4_mapped
            return str(mapped or ipaddress.ip_network(f"{address.partition('%')[0]}/64", strict=False))
    return address
