"""A tunnel: many connections over one, and the program's own among them.

    python pair_tunnel.py exit --port 7001 [--target HOST:PORT]
    python pair_tunnel.py entry --port 7002 --tunnel HOST:7001 [--say TEXT]

Who connects to the entry's port is carried, as one stream of many, over the entry's single connection to the exit, and there
connected to the target. Both programs have connections of their own, too: without a target the exit answers with what it was
told, and with --say the entry says something through the tunnel and prints the answer. These end in a pair instead of a
socket: one end goes into the tunnel as any connection does, the other is the program's.

The protocol: frames of a stream's number (4 bytes), a kind (1 byte), a length (4 bytes), and so many bytes.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any

import pylibevent as ev

READ, WRITE = ev.EventFlag.READ, ev.EventFlag.WRITE
HEADER = struct.Struct(">IBI")
OPEN, DATA, END, RESET = range(4)
LONGEST = 64 * 1024  # bytes in a frame
HIGH = 4 * LONGEST  # bytes that may wait to be sent before nobody reads what would add to them


class Stream:
    """A connection that is carried: a bufferevent of any kind, and which of its directions have ended."""

    def __init__(self, number: int, bev: ev.BufferEvent) -> None:
        self.number, self.bev = number, bev
        self.sent_end = self.got_end = False

    def finish(self) -> None:
        """Nothing more will be written to it; it may still be read."""
        if isinstance(self.bev, ev.PairBufferEvent):
            self.bev.flush(WRITE, ev.FlushMode.FINISHED)
        elif not self.bev.output and self.bev.fd >= 0:
            sock = socket.socket(fileno=self.bev.fd)
            try:
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it is gone: its ERROR follows
            finally:
                sock.detach()


class Tunnel:
    """Both ends of the protocol: streams over one bufferevent."""

    def __init__(self, bev: ev.BufferEvent, on_open: Callable[[Tunnel, int], None], on_end: Callable[[], None]) -> None:
        self.bev, self.on_open, self.on_end = bev, on_open, on_end
        self.streams: dict[int, Stream] = {}
        self.numbers = itertools.count(1)
        bev.set_callbacks(lambda bev: self.receive(), lambda bev: self.let_read(), self.on_event)
        bev.set_watermark(WRITE, HIGH // 2)
        bev.enable(READ)

    def open(self, bev: ev.BufferEvent) -> None:
        """Carry a connection that begins here."""
        number = next(self.numbers)
        self.send(number, OPEN)
        self.carry(number, bev)

    def carry(self, number: int, bev: ev.BufferEvent) -> None:
        stream = self.streams[number] = Stream(number, bev)
        bev.set_callbacks(
            read=lambda bev: self.take(stream),
            write=lambda bev: self.drained(stream),
            event=lambda bev, what: self.stream_event(stream, what),
        )
        bev.enable(READ)

    # ------------------------------------------------------------ from here to there

    def send(self, number: int, kind: int) -> None:
        self.bev.write(HEADER.pack(number, kind, 0))

    def take(self, stream: Stream) -> None:
        source, output = stream.bev.input, self.bev.output
        while n := min(len(source), LONGEST):
            output.write(HEADER.pack(stream.number, DATA, n))
            source.remove_buffer(output, n)  # moved, not copied
        if len(output) > HIGH:
            stream.bev.disable(READ)

    def let_read(self) -> None:
        """The tunnel has room again."""
        for stream in list(self.streams.values()):
            if not stream.sent_end:
                stream.bev.enable(READ)

    def stream_event(self, stream: Stream, what: ev.What) -> None:
        if what & ev.What.ERROR:
            self.send(stream.number, RESET)
            self.drop(stream)
        elif what & ev.What.EOF and what & ev.What.READING:
            self.take(stream)
            self.send(stream.number, END)
            stream.sent_end = True
            self.maybe_close(stream)

    # ------------------------------------------------------------ from there to here

    def receive(self) -> None:
        source = self.bev.input
        while len(source) >= HEADER.size:
            number, kind, n = HEADER.unpack(source.copyout(HEADER.size))
            if kind > RESET or n > LONGEST or (n and kind != DATA):
                self.fail(f"a frame of kind {kind} and {n} bytes")
                return
            if len(source) < HEADER.size + n:
                return
            source.drain(HEADER.size)
            self.handle(number, kind, n)

    def handle(self, number: int, kind: int, n: int) -> None:
        stream = self.streams.get(number)
        if kind == OPEN and stream is None:
            self.on_open(self, number)
        elif stream is None:
            self.bev.input.drain(n)  # for one that is closed here
        elif kind == DATA and not stream.got_end:
            self.deliver(stream, n)
        elif kind == END:
            stream.got_end = True
            stream.finish()
            self.maybe_close(stream)
        elif kind == RESET:
            self.drop(stream)
        else:
            self.fail(f"a frame of kind {kind} for a stream that can't take it")

    def deliver(self, stream: Stream, n: int) -> None:
        try:
            self.bev.input.remove_buffer(stream.bev.output, n)
        except OSError:  # it is gone: its event follows
            self.bev.input.drain(n)
        if len(stream.bev.output) > HIGH:
            self.bev.disable(READ)  # one slow stream holds up the others: the protocol has no windows

    def drained(self, stream: Stream) -> None:
        self.bev.enable(READ)
        if self.bev.input:
            self.bev.trigger(READ)
        if stream.got_end:
            stream.finish()
            self.maybe_close(stream)

    # ------------------------------------------------------------ ends

    def maybe_close(self, stream: Stream) -> None:
        if stream.sent_end and stream.got_end and not stream.bev.output:
            self.drop(stream)

    def drop(self, stream: Stream) -> None:
        self.streams.pop(stream.number, None)
        stream.bev.close()

    def fail(self, why: str) -> None:
        print(f"the tunnel is broken: {why}", flush=True)
        self.close()

    def on_event(self, bev: ev.BufferEvent, what: ev.What) -> None:
        if what & ev.What.ERROR:
            self.fail(str(bev.error))
        elif what & ev.What.EOF:
            self.close()

    def close(self) -> None:
        for stream in list(self.streams.values()):
            self.drop(stream)
        self.bev.close()
        self.on_end()


def own_answer(base: ev.EventBase) -> ev.BufferEvent:
    """The exit's own connection: what comes in goes back."""
    carried, own = ev.PairBufferEvent.new(base)
    own.set_callbacks(read=lambda own: own.write_buffer(own.input), event=lambda own, what: own.close())
    own.enable(READ)
    return carried


def own_question(base: ev.EventBase, text: str) -> ev.BufferEvent:
    """The entry's own connection: says something, prints what comes back."""
    carried, own = ev.PairBufferEvent.new(base)
    answer = bytearray()

    def at_end(own: ev.BufferEvent, what: ev.What) -> None:
        print(f"answered: {answer.decode(errors='replace')}", flush=True)
        own.close()

    own.set_callbacks(read=lambda own: answer.extend(own.read()), event=at_end)
    own.enable(READ)
    own.write(text.encode())
    own.flush(WRITE, ev.FlushMode.FINISHED)
    return carried


def run_exit(base: ev.EventBase, options: argparse.Namespace) -> ev.Listener:
    def on_open(tunnel: Tunnel, number: int) -> None:
        if options.target is None:
            tunnel.carry(number, own_answer(base))
            return
        bev = ev.SocketBufferEvent(base)
        tunnel.carry(number, bev)
        bev.connect_hostname(*options.target)

    def on_accept(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        Tunnel(ev.SocketBufferEvent(base, sock), on_open, lambda: None)

    return ev.Listener.bind(base, (options.host, options.port), on_accept)


def run_entry(base: ev.EventBase, options: argparse.Namespace) -> ev.Listener:
    bev = ev.SocketBufferEvent(base)
    tunnel = Tunnel(bev, lambda tunnel, number: tunnel.fail("the exit opened a stream"), base.loopexit)
    bev.connect_hostname(*options.tunnel)
    if options.say is not None:
        tunnel.open(own_question(base, options.say))

    def on_accept(listener: ev.Listener, sock: socket.socket, address: Any) -> None:
        tunnel.open(ev.SocketBufferEvent(base, sock))

    return ev.Listener.bind(base, (options.host, options.port), on_accept)


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not 0 < int(port) <= 65535:
        raise ValueError
    return host.strip("[]"), int(port)


def main() -> None:
    parser = argparse.ArgumentParser(description="Carry many connections over one.")
    roles = parser.add_subparsers(dest="role", required=True)
    for name, text in (("exit", "where streams go on to the target"), ("entry", "where connections come in")):
        role = roles.add_parser(name, help=text)
        role.add_argument("--host", default="127.0.0.1", help="the numeric address to listen on (%(default)s)")
        role.add_argument("--port", type=int, default=0, help="the port, 0 for any that is free (%(default)s)")
    roles.choices["exit"].add_argument("--target", type=address, help="HOST:PORT; none: the program answers itself")
    roles.choices["entry"].add_argument("--tunnel", type=address, required=True, help="HOST:PORT of the exit")
    roles.choices["entry"].add_argument("--say", metavar="TEXT", help="say this through the tunnel, and print the answer")
    options = parser.parse_args()
    with ev.EventBase() as base:
        for number in (signal.SIGINT, signal.SIGTERM):
            base.signal(number, lambda event, what: base.loopexit())
        listener = (run_exit if options.role == "exit" else run_entry)(base, options)
        print(f"listening on {listener.address[0]}:{listener.address[1]}", flush=True)
        base.dispatch()


if __name__ == "__main__":
    main()
