"""One context in many threads, each with a base of its own, under load; and limits, which don't go across bases."""

from __future__ import annotations

import random
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import GIVE_UP, run_until
from tls_ends import End, close_all, meet

import pylibevent as ev

both_forms = pytest.mark.parametrize("direct", [False, True], ids=["over", "direct"])

THREADS, ROUNDS, AT_ONCE = 4, 8, 5
SIZE = 50_000


class Shared:
    """All that threads share, and what they counted."""

    def __init__(self, certificates: Any, how: str, folder: Path) -> None:
        self.files = certificates.cert, certificates.key
        self.server, self.client = ev.TLSContext.server(*self.files), ev.TLSContext.client(certificates.ca)
        self.named = ev.TLSContext.server(*self.files)
        self.server.sni = {"localhost": self.named}
        self.lock = threading.Lock()
        self.counts = dict.fromkeys(("sni", "verify", "new", "new at a server", "resumed"), 0)
        self.stores: list[Any] = []
        self.server.sni_callback = lambda bev, name, ctx: self.count("sni")
        self.client.verify_callback = self.on_verify
        self.client.on_new_session = lambda bev, session: self.count("new")
        self.client.set_alpn_protocols(["h2", "http/1.1"])
        for ctx in (self.server, self.named):
            ctx.on_new_session = lambda bev, session: self.count("new at a server")
            ctx.set_alpn_protocols(["http/1.1"])
            self.share(ctx, how, folder)

    def share(self, ctx: ev.TLSContext, how: str, folder: Path) -> None:
        if how == "keys":
            ctx.ticket_keys = self.server.ticket_keys or ev.TicketKeys()
            return
        store = self.server.session_store
        if store is None:
            path = folder / "sessions.db"
            store = ev.MemorySessionStore() if how == "memory" else ev.SQLiteSessionStore(path, timeout=GIVE_UP)
            self.stores.append(store)
        ctx.session_store = store

    def on_verify(self, bev: ev.TLSBufferEvent, step: ev.VerifyStep) -> bool:
        self.count("verify")
        return step.ok

    def count(self, what: str, n: int = 1) -> None:
        with self.lock:
            self.counts[what] += n


class Visitor:
    """A client that waits for its bytes, and its server."""

    def __init__(self, base: ev.EventBase, shared: Shared, address: Any, name: str, direct: bool) -> None:
        self.shared, self.data = shared, random.randbytes(SIZE)
        self.end = End(ev.TLSBufferEvent.connect(base, address, shared.client, name, direct=direct), write=self.data)

    @property
    def done(self) -> bool:
        return self.end.ended or len(self.end.got) == SIZE

    def check(self, name: str) -> None:
        assert self.end.got == self.data, self.end.error
        assert self.end.bev.selected_alpn_protocol() == "http/1.1"
        self.shared.count("resumed", self.end.bev.session_reused)


def work(shared: Shared, number: int, direct: bool) -> None:
    servers: list[ev.TLSBufferEvent] = []

    def on_accept(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        bev = ev.TLSBufferEvent.accept(listener.base, sock, shared.server, direct=direct)
        bev.set_callbacks(lambda bev: bev.write_buffer(bev.input), event=on_event)
        bev.enable()
        servers.append(bev)

    def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
        if not what & ev.What.CONNECTED:
            bev.close()

    with ev.EventBase() as base, ev.Listener.bind(base, ("127.0.0.1", 0), on_accept) as listener:
        for turn in range(ROUNDS):
            name = ("localhost", "server.test")[(turn + number) % 2]
            visitors = [Visitor(base, shared, listener.address, name, direct) for _ in range(AT_ONCE)]
            run_until(base, lambda visitors=visitors: all(visitor.done for visitor in visitors), 3 * GIVE_UP)
            for visitor in visitors:
                visitor.check(name)
                visitor.end.bev.close()
        run_until(base, lambda: all(bev.closed for bev in servers))


def in_threads(*calls: Callable[[], object]) -> None:
    failed: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed


@both_forms
@pytest.mark.parametrize("how", ["keys", "memory", "sqlite"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_contexts_under_load(
    certificates: Any, tmp_path: Path, direct: bool, how: str, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture
) -> None:
    """Names, callbacks, stores or keys, client sessions, and another thread that changes what can be changed."""
    shared = Shared(certificates, how, tmp_path)
    shared.client.minimum_version = shared.client.maximum_version = version
    ended = threading.Event()
    left = [THREADS]

    def visit(number: int) -> None:
        try:
            work(shared, number, direct)
        finally:
            with shared.lock:
                left[0] -= 1
            if not left[0]:
                ended.set()

    def change() -> None:
        while not ended.wait(0.001):
            shared.server.load_cert_chain(*shared.files)
            shared.server.sni = {"localhost": shared.named}
            shared.server.set_alpn_protocols(["http/1.1"])
            if shared.server.ticket_keys is not None:
                shared.server.ticket_keys.rotate(shared.server.ticket_keys.keys[0])
            shared.server.session_stats()
            shared.server.flush_sessions()

    in_threads(*(lambda number=number: visit(number) for number in range(THREADS)), change)
    total = THREADS * ROUNDS * AT_ONCE
    assert shared.counts["sni"] == total // 2, "those for localhost were led on, by the mapping"
    assert shared.counts["new"] > 0
    full = total - shared.counts["resumed"]
    assert shared.counts["verify"] >= full
    if not caplog.records:  # on a busy machine a store may have been slow
        assert shared.counts["resumed"] > total // 4, shared.counts
    for store in shared.stores:
        if hasattr(store, "close"):
            store.close()


@both_forms
def test_no_group_goes_across_bases(base: ev.EventBase, certificates: Any, direct: bool) -> None:
    """In C that ends the process. Neither of a bufferevent nor of what it stands on, and nothing is changed by trying."""
    server, client = ev.TLSContext.server(certificates.cert, certificates.key), ev.TLSContext.client(certificates.ca)
    with ev.EventBase() as second, ev.RateLimitGroup(second, ev.RateLimit(1000, 1000)) as group:
        ends = meet(base, server, client, direct=direct)
        for end in ends:
            for bev in (end.bev, end.bev.underlying):
                if bev is not None:
                    with pytest.raises(ValueError, match="bev must be of the group's base"):
                        group.add(bev)
        assert len(group) == 0
        ends[0].bev.write(b"x" * 100_000)
        run_until(base, lambda: len(ends[1].got) == 100_000)
        close_all(base, *ends)
