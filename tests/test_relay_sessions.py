"""Relays of TLS, and sessions: those that come while bytes are relayed are kept, and one that TLS broke is forgotten."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
from sessions import GREETING, VERSIONS, End, make_contexts
from support import run_until
from test_bufferevent_relay import Ends

import pylibevent as ev


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_is_relayed(base: ev.EventBase, certificates: Any, version: ssl.TLSVersion, broken: bool) -> None:
    server_ctx, client_ctx = make_contexts(certificates, version)
    servers: list[End] = []
    raw: list[socket.socket] = []
    ends = Ends()

    def on_accept(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        raw.append(sock.dup())
        servers.append(End(ev.TLSBufferEvent.accept(base, sock, server_ctx), GREETING))

    near, far = socket.socketpair()
    with ev.Listener.bind(base, ("127.0.0.1", 0), on_accept) as listener, far:
        client = ev.TLSBufferEvent.connect(base, listener.address, client_ctx, "server.test")
        relay = client.relay(ev.SocketBufferEvent(base, near), on_close=ends)
        far.setblocking(False)
        run_until(base, lambda: relay.sent == len(GREETING))
        if broken:
            raw[0].send(b"no record of TLS, whatever it is" * 10)
        else:
            servers[0].bev.close()
            far.shutdown(socket.SHUT_WR)
        run_until(base, lambda: ends.all)
        assert far.recv(100) == GREETING
        sessions = client_ctx.client_sessions
        assert sessions is not None
        assert len(sessions) == (0 if broken else 2 if version == ssl.TLSVersion.TLSv1_3 else 1)
        assert isinstance(ends.only.reason, ev.TLSError if broken else type(None))
        servers[0].bev.close()
        raw[0].close()
    base.dispatch()
