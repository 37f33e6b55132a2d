"""A request as the endpoints see it, and what an endpoint is: a request in, an answer out.

Owns who counts as the peer: `X-Forwarded-For` is believed only from trusted proxies, read from
the right, because everything left of the last trusted hop is the client's own word.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import msgspec

from headrace.collector.answers import Answer

_NOBODY_KNOWN: Final = "unknown"
_IPV6_SITE_BITS: Final = 64
_FORWARDED: Final = b"x-forwarded-for"

Network = IPv4Network | IPv6Network


Body = bytes | bytearray
"""A body: collected from many pieces it stays what it was collected in, for a copy of 10 MiB
would be the largest thing a request needs."""


class Head(msgspec.Struct, frozen=True):
    """Request line and headers, read."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]


class Incoming:
    """One HTTP request. `answer_headers` are lines that go out with whatever answer it gets."""

    __slots__ = ("answer_headers", "headers", "id", "method", "path", "peer", "query")

    def __init__(
        self, method: str, path: str, query: bytes, headers: dict[bytes, bytes], peer: str
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.peer = peer
        """The address that the connection comes from; empty if there is none."""
        self.id = b""
        self.answer_headers = b""

    def take_whole(self) -> bytes | None:
        """The body, if all of it is there already and in one piece: nobody needs to wait then."""
        return None

    async def next_piece(self) -> tuple[bytes, bool]:
        """What follows of the body, and whether it is the last; raises `ClientGone`."""
        raise NotImplementedError

    def text(self, name: bytes) -> str:
        """A header's value without surrounding blanks, empty if absent; any byte is fine."""
        return self.headers.get(name, b"").decode("latin-1").strip()


def by_name(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers with names in lower case as a request has them: of several of one name the last,
    but of those that proxies add the whole list."""
    named = dict(headers)
    if len(named) < len(headers) and _FORWARDED in named:
        named[_FORWARDED] = b",".join(value for name, value in headers if name == _FORWARDED)
    return named


Handler = Callable[[Incoming], Awaitable[Answer]]
"""Answers a request; raises `Refusal` instead, or `ClientGone`, when called or when awaited.

One that only passes a request on returns what the next one returns: a coroutine less to make."""

Middleware = Callable[[Handler], Handler]
"""Puts something around a handler."""


class ClientGone(Exception):
    """The client hung up before its request was whole: nobody is left to answer."""


def networks(texts: Sequence[str]) -> list[Network]:
    """Addresses and networks (`10.0.0.0/8`) of trusted proxies; raises ValueError naming one."""
    return [ip_network(text, strict=False) for text in texts]


def peer_of(request: Incoming, trusted: Sequence[Network]) -> str:
    """Who sent the request, as the key under which failures are counted."""
    hops = [request.peer]
    if trusted and (forwarded := request.text(_FORWARDED)):
        hops[:0] = [hop.strip() for hop in forwarded.split(",")]
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
