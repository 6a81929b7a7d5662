"""The peers' echo servers: python echo_python.py KIND PORT [CERTIFICATE KEY]

KIND is asyncio, asyncio-streams, uvloop or gevent.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import ssl
import sys
from typing import Any

HOST, BACKLOG, MOST = "127.0.0.1", 1024, 256 * 1024


def context(files: list[str]) -> ssl.SSLContext | None:
    if not files:
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*files)
    return made


def send_at_once(sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        send_at_once(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        del self.transport


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    send_at_once(writer.get_extra_info("socket"))
    try:
        while data := await reader.read(MOST):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    writer.close()


async def serve_protocol(port: int, ctx: ssl.SSLContext | None) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, HOST, port, ssl=ctx, backlog=BACKLOG)
    await server.serve_forever()


async def serve_streams(port: int, ctx: ssl.SSLContext | None) -> None:
    server = await asyncio.start_server(echo_stream, HOST, port, ssl=ctx, backlog=BACKLOG)
    await server.serve_forever()


def serve_gevent(port: int, ctx: ssl.SSLContext | None) -> None:
    servers = importlib.import_module("gevent.server")

    def echo(sock: Any, address: object) -> None:
        send_at_once(sock)
        try:
            while data := sock.recv(MOST):
                sock.sendall(data)
        except OSError:
            pass

    servers.StreamServer((HOST, port), echo, backlog=BACKLOG, **({"ssl_context": ctx} if ctx else {})).serve_forever()


def main(kind: str, port: str, *files: str) -> None:
    ctx = context(list(files))
    if kind == "gevent":
        serve_gevent(int(port), ctx)
    elif kind == "asyncio-streams":
        asyncio.run(serve_streams(int(port), ctx))
    elif kind == "uvloop":
        importlib.import_module("uvloop").run(serve_protocol(int(port), ctx))
    else:
        asyncio.run(serve_protocol(int(port), ctx))


if __name__ == "__main__":
    main(*sys.argv[1:])
