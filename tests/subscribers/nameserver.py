"""A DNS server on loopback, UDP and TCP: real packets, and everything that can go wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from dnslib import AAAA, CNAME, MX, NS, QTYPE, RCODE, RR, SOA, A, DNSRecord
from dnslib.server import BaseResolver, DNSHandler, DNSServer

TTL_S = 7200
NEGATIVE_TTL_S = 1800


class Zones(BaseResolver):  # type: ignore[misc]  # has no types
    """What the server knows: `mx()`, `address()`, …; names it does not know do not exist."""

    def __init__(self) -> None:
        self.records: dict[str, list[RR]] = {}
        self.broken: set[str] = set()
        """Answered with SERVFAIL."""
        self.silent: set[str] = set()
        """Not answered at all."""
        self.asked: Counter[str] = Counter()
        """“MX gmail.com” -> how often."""
        self.by_tcp: list[str] = []
        self.address_of_server = ("127.0.0.1", 0)
        self._add("com", QTYPE.NS, NS("a.gtld.example"))

    def _add(self, name: str, kind: int, data: Any) -> None:
        self.records.setdefault(name, []).append(RR(name, kind, ttl=TTL_S, rdata=data))

    def mx(self, name: str, *servers: str) -> None:
        for place, server in enumerate(servers):
            self._add(name, QTYPE.MX, MX(server, 10 * place))

    def address(self, name: str, address: str = "192.0.2.1") -> None:
        if ":" in address:
            self._add(name, QTYPE.AAAA, AAAA(address))
        else:
            self._add(name, QTYPE.A, A(address))

    def alias(self, name: str, target: str) -> None:
        self._add(name, QTYPE.CNAME, CNAME(target))

    def good(self, name: str) -> None:
        """A domain that takes mail."""
        self.mx(name, f"mx.{name}")
        self.address(f"mx.{name}")

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:
        name = str(request.q.qname).rstrip(".").lower()
        kind = request.q.qtype
        self.asked[f"{QTYPE[kind]} {name}"] += 1
        if handler.protocol == "tcp":
            self.by_tcp.append(name)
        reply = request.reply()
        if name in self.broken:
            reply.header.rcode = RCODE.SERVFAIL
            return reply
        self._answer(reply, name, kind)
        if handler.protocol == "udp" and len(reply.pack()) > 512:
            reply = request.reply()
            reply.header.tc = 1
        return reply

    def _answer(self, reply: DNSRecord, name: str, kind: int) -> None:
        seen: set[str] = set()
        while name not in seen:
            seen.add(name)
            known = self.records.get(name, [])
            alias = next((each for each in known if each.rtype == QTYPE.CNAME), None)
            reply.add_answer(*[each for each in known if each.rtype == kind or each is alias])
            if alias is None:
                break
            name = str(alias.rdata.label).rstrip(".")
        if not reply.rr or reply.rr[-1].rtype == QTYPE.CNAME:
            times = (1, 3600, 600, 86_400, NEGATIVE_TTL_S)
            reply.add_auth(RR(name, QTYPE.SOA, ttl=TTL_S, rdata=SOA("ns.x", "root.x", times)))
            is_there = any(each == name or each.endswith(f".{name}") for each in self.records)
            if not is_there:
                reply.header.rcode = RCODE.NXDOMAIN


class _Handler(DNSHandler):  # type: ignore[misc]  # has no types
    """Says nothing to questions about silent names."""

    def get_reply(self, data: bytes) -> bytes:
        name = str(DNSRecord.parse(data).q.qname).rstrip(".").lower()
        if name in self.server.resolver.silent:
            raise ConnectionAbortedError
        reply: bytes = super().get_reply(data)
        return reply

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionAbortedError:
            return


class _Quiet:
    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_kwargs: None


@contextmanager
def nameserver() -> Iterator[Zones]:
    """Run a server on a free port, the same for UDP and TCP."""
    zones = Zones()
    udp = DNSServer(zones, "127.0.0.1", 0, handler=_Handler, logger=_Quiet())
    port = udp.server.server_address[1]
    tcp = DNSServer(zones, "127.0.0.1", port, tcp=True, handler=_Handler, logger=_Quiet())
    zones.address_of_server = ("127.0.0.1", port)
    threads = [Thread(target=each.server.serve_forever, args=(0.02,)) for each in (udp, tcp)]
    for thread in threads:
        thread.start()
    try:
        yield zones
    finally:
        for each, thread in zip((udp, tcp), threads, strict=True):
            each.server.shutdown()
            each.server.server_close()
            thread.join()
