"""A TLS server in a process of its own, for tests: tells each client whether it was resumed. Ends with its stdin.

usage: session_server.py CERT KEY (over | direct) (sqlite PATH | redis URL KEY | tickets HEX... | store-tickets PATH)
"""

from __future__ import annotations

import socket
import sys

import pylibevent as ev
from pylibevent.tls import resumption


def share(server: ev.TLSContext, how: str, *arguments: str) -> None:
    if how == "sqlite":
        server.session_store = ev.SQLiteSessionStore(arguments[0], timeout=1)
    elif how == "redis":
        server.session_store = ev.RedisSessionStore(arguments[0], keys=bytes.fromhex(arguments[1]), timeout=1)
    elif how == "tickets":
        server.ticket_keys = ev.TicketKeys(map(bytes.fromhex, arguments))
    elif how == "store-tickets":
        server.ticket_keys = ev.TicketKeys(store=ev.SQLiteSessionStore(arguments[0], timeout=1))


def main(cert: str, key: str, form: str, *how: str) -> None:
    resumption.SLOW = 20.0  # on a busy machine any answer may be slow
    server = ev.TLSContext.server(cert, key)
    share(server, *how)
    with ev.EventBase() as base:

        def on_event(bev: ev.BufferEvent, what: ev.What) -> None:
            if what & ev.What.CONNECTED:
                bev.write(b"resumed\n" if bev.session_reused else b"full\n")  # type: ignore[attr-defined]
            bev.close()

        def on_accept(listener: ev.Listener, sock: socket.socket, address: object) -> None:
            bev = ev.TLSBufferEvent.accept(base, sock, server, direct=form == "direct")
            bev.set_callbacks(event=on_event)
            bev.enable()

        with ev.Listener.bind(base, ("127.0.0.1", 0), on_accept) as listener:
            print(listener.address[1], flush=True)
            base.event(sys.stdin, ev.EventFlag.READ, lambda event, what: base.loopexit()).add()
            base.dispatch()


if __name__ == "__main__":
    main(*sys.argv[1:])
