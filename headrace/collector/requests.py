"""A request as the endpoints see it, and what an endpoint is: a request in, an answer out.

Owns who counts as the peer: `X-Forwarded-For` is believed only from trusted proxies, read from
the right, because everything left of the last trusted hop is the client's own word.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.types import Receive, Scope

from headrace.collector.answers import Answer

_NOBODY_KNOWN: Final = "unknown"
_IPV6_SITE_BITS: Final = 64

ANSWER_HEADERS: Final = "headrace.answer_headers"
"""Where in the scope they lie, for a server that has to answer in the application's stead."""

Network = IPv4Network | IPv6Network


Body = bytes | bytearray
"""A body: collected from many pieces it stays what it was collected in, for a copy of 10 MiB
would be the largest thing a request needs."""


class Incoming:
    """One HTTP request. `answer_headers` go out with whatever answer it gets."""

    __slots__ = ("answer_headers", "headers", "id", "method", "path", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.id = b""
        self.answer_headers: list[tuple[bytes, bytes]] = []
        scope[ANSWER_HEADERS] = self.answer_headers

    def text(self, name: bytes) -> str:
        """A header's value without surrounding blanks, empty if absent; any byte is fine."""
        return self.headers.get(name, b"").decode("latin-1").strip()


Handler = Callable[[Incoming], Awaitable[Answer]]
"""Answers a request; raises `Refusal` instead, or `ClientGone`."""

Middleware = Callable[[Handler], Handler]
"""Puts something around a handler."""


class ClientGone(Exception):
    """The client hung up before its request was whole: nobody is left to answer."""


def networks(texts: Sequence[str]) -> list[Network]:
    """Addresses and networks (`10.0.0.0/8`) of trusted proxies; raises ValueError naming one."""
    return [ip_network(text, strict=False) for text in texts]


def peer_of(scope: Scope, trusted: Sequence[Network]) -> str:
    """Who sent the request, as the key under which failures are counted."""
    client = scope.get("client")
    hops = [client[0] if client else ""]
    if trusted:
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                hops[-1:-1] = [hop.strip() for hop in value.decode("latin-1").split(",")]
    site = _NOBODY_KNOWN
    for hop in reversed(hops):
        address = _address(hop)
        if address is None:
            break
        site = _site(address)
        if not any(address in network for network in trusted):
            break
    return site


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _site(address: IPv4Address | IPv6Address) -> str:
    """One IPv6 customer has a /64 to send from; it counts as one peer."""
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_SITE_BITS), strict=False))
    return str(address)
