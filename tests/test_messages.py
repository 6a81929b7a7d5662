"""What is refused is refused in words that say what is wrong, with which object, and what to do instead."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Certificates
from support import socket_pair

import pylibevent as ev

LOCALHOST = ("127.0.0.1", 0)


@pytest.mark.parametrize(
    "kind",
    [
        ev.Listener,
        ev.DNSRequest,
        ev.TLSContext,
        ev.TLSBufferEvent,
        ev.TLSSession,
        ev.PairBufferEvent,
        ev.BufferEvent,
        ev.Relay,
        ev.Timer,
    ],
)
def test_those_that_are_made_otherwise_say_how_whatever_they_are_given(base: ev.EventBase, kind: Any) -> None:
    for arguments, keywords in (((), {}), ((base,), {}), ((base, None, object()), {}), ((base,), {"options": 0})):
        with pytest.raises(TypeError, match="isn't made itself"):
            kind(*arguments, **keywords)


# ---------------------------------------------------------------- buffers


def test_a_buffer_is_not_moved_onto_itself(base: ev.EventBase) -> None:
    buffer = ev.Buffer(b"abc")
    calls: list[Callable[[], object]] = [
        lambda: buffer.add_buffer(buffer),
        lambda: buffer.prepend_buffer(buffer),
        lambda: buffer.remove_buffer(buffer, 1),
        lambda: buffer.add_buffer_reference(buffer),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"<Buffer 3 bytes> can't be moved onto itself"):
            call()
    assert buffer.read() == b"abc"
    with ev.SocketBufferEvent(base) as bev, pytest.raises(ValueError, match="can't be moved onto itself"):
        bev.write_buffer(bev.output)
    with ev.SocketBufferEvent(base) as bev, pytest.raises(ValueError, match="can't be moved onto itself"):
        bev.read_buffer(bev.input)


def test_the_input_of_a_bufferevent_is_not_written_to(base: ev.EventBase) -> None:
    with socket_pair() as (one, _other), ev.SocketBufferEvent(base, one) as bev:
        for call in (lambda: bev.input.write(b"x"), lambda: bev.input.add_buffer(ev.Buffer(b"x"))):
            with pytest.raises(BufferError, match=r"of SocketBufferEvent>.*write\(\)"):
                call()


def test_the_output_of_a_bufferevent_is_not_taken_from(base: ev.EventBase) -> None:
    with socket_pair() as (one, _other), ev.SocketBufferEvent(base, one) as bev:
        bev.output.write(b"x")
        for call in (bev.output.read, bev.output.drain):
            with pytest.raises(BufferError, match=r"of SocketBufferEvent>.*abort\(\)"):
                call()


def test_the_buffers_of_a_bufferevent_are_closed_with_it(base: ev.EventBase) -> None:
    with socket_pair() as (one, _other), ev.SocketBufferEvent(base, one) as bev:
        for buffer in (bev.input, bev.output):
            with pytest.raises(TypeError, match=r"of SocketBufferEvent>.* closed with"):
                buffer.close()


def test_a_buffer_frozen_by_its_owner_says_nothing_of_bufferevents() -> None:
    buffer = ev.Buffer(b"x")
    buffer.freeze(start=True)
    with pytest.raises(BufferError, match=r"^that end of <Buffer 1 bytes> can't be changed$"):
        buffer.drain()


def test_what_a_filter_is_lent_is_not_closed(base: ev.EventBase) -> None:
    said: list[str] = []

    def closes(source: ev.Buffer, destination: ev.Buffer, limit: int | None, mode: ev.FlushMode) -> ev.FilterResult:
        for buffer in (source, destination):
            with pytest.raises(TypeError, match="is lent to the filter") as caught:
                buffer.close()
            said.append(str(caught.value))
        destination.add_buffer(source)
        return ev.FilterResult.OK

    with ev.FilterBufferEvent(ev.SocketBufferEvent(base), None, closes) as bev:
        bev.write(b"x")
        bev.abort()
    assert len(said) >= 2


# ---------------------------------------------------------------- listening


def test_an_address_in_use_is_named(base: ev.EventBase) -> None:
    with ev.Listener.bind(base, LOCALHOST, None) as listener:
        with pytest.raises(OSError, match=r"listening on .*127\.0\.0\.1") as caught:
            ev.Listener.bind(base, listener.address, None)
        assert caught.value.errno == errno.EADDRINUSE
        assert str(listener.address[1]) in str(caught.value)


def test_an_address_of_another_machine_is_named(base: ev.EventBase, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"192\.0\.2\.1") as caught:
        ev.Listener.bind(base, ("192.0.2.1", 0), None)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    with pytest.raises(FileNotFoundError, match="there_is_none/sock"):
        ev.Listener.bind(base, str(tmp_path / "there_is_none" / "sock"), None)


def test_a_base_in_use_by_another_thread_is_named(base: ev.EventBase) -> None:
    said: list[str] = []

    def in_thread() -> None:
        with socket.socket() as sock:
            sock.bind(LOCALHOST)
            for call in (
                lambda: ev.Listener.bind(base, LOCALHOST, None),
                lambda: ev.Listener.from_socket(base, sock, None),
                lambda: ev.DNSBase(base),
            ):
                with pytest.raises(RuntimeError) as caught:
                    call()
                said.append(str(caught.value))

    def start() -> None:
        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()

    base.call_soon(start)
    base.dispatch()
    assert len(said) == 3
    for text in said:
        assert text.startswith("<EventBase "), text
        assert "in use by the thread that runs its loop" in text


# ---------------------------------------------------------------- a base


def test_a_config_that_leaves_no_method_says_so() -> None:
    config = ev.EventConfig(avoid=ev.supported_methods())
    with pytest.raises(ev.Error, match=r"no method is left.*epoll|no method is left.*poll"):
        ev.EventBase(config)


# ---------------------------------------------------------------- TLS


@pytest.mark.parametrize("direct", [False, True], ids=["over", "direct"])
def test_before_the_handshake_is_done(base: ev.EventBase, certificates: Certificates, direct: bool) -> None:
    server = ev.TLSContext.server(certificates.cert, certificates.key)
    with socket_pair() as (one, _other), ev.TLSBufferEvent.accept(base, one, server, direct=direct) as bev:
        calls: list[Callable[[], object]] = [
            bev.key_update,
            bev.renegotiate,
            lambda: bev.export_keying_material("EXPERIMENTAL", 16),
            bev.verify_client_post_handshake,
        ]
        for call in calls:
            with pytest.raises(OSError, match=r"the handshake of <TLSBufferEvent .* isn't done") as caught:
                call()
            assert caught.value.errno == errno.ENOTCONN
        bev.abort()


def test_no_private_key_in_the_file(certificates: Certificates, tmp_path: Path) -> None:
    with pytest.raises(ev.TLSError, match=f"no private key in {certificates.cert!r}") as caught:
        ev.TLSContext.server(certificates.cert)
    assert (caught.value.library, caught.value.reason) == ("SSL", "NO_PRIVATE_KEY_ASSIGNED")
    with pytest.raises(ev.TLSError, match=f"no private key in {certificates.ca!r}"):
        ev.TLSContext.server(certificates.cert, certificates.ca)
    with pytest.raises(ev.TLSError, match="no private key in the certificate given"):
        ev.TLSContext.server(Path(certificates.cert).read_bytes())
    with pytest.raises(ev.TLSError, match="no private key in the key given"):
        ev.TLSContext.server(certificates.cert, Path(certificates.ca).read_bytes())
    der = ev.TLSContext.server(certificates.cert, certificates.key).certificate
    assert der is not None
    with pytest.raises(ev.TLSError, match="no private key in the certificate given"):
        ev.TLSContext.server(der)
    both = tmp_path / "both.pem"
    both.write_bytes(Path(certificates.cert).read_bytes() + Path(certificates.key).read_bytes())
    assert ev.TLSContext.server(str(both)).certificate == der


# ---------------------------------------------------------------- host names

NO_HOSTS = ["ex ample", "foo..bar", "foo.bar..", ".", "..", ".foo", "foo\n", "a\x7fb", "*.example.test", "é..é", "x" * 254]
HOSTS = [
    "example.test",
    "example.test.",
    "a_b._tcp.example.test",
    "x",
    "bücher.example",
    "127.0.0.1",
    "::1",
    "EXAMPLE.test",
    "1.2.3",
]


@pytest.mark.parametrize("name", NO_HOSTS, ids=ascii)
def test_a_name_that_no_server_has(base: ev.EventBase, name: str) -> None:
    client = ev.TLSContext.client()
    with ev.SocketBufferEvent(base) as below, pytest.raises(ValueError, match="server_hostname"):
        ev.TLSBufferEvent.wrap(below, client, server_hostname=name)
    with pytest.raises(ValueError, match="server_hostname"):
        ev.TLSBufferEvent.connect(base, ("127.0.0.1", 1), client, server_hostname=name)


@pytest.mark.parametrize("name", HOSTS, ids=ascii)
def test_a_name_that_a_server_may_have(base: ev.EventBase, name: str) -> None:
    with ev.TLSBufferEvent.wrap(ev.SocketBufferEvent(base), ev.TLSContext.client(), server_hostname=name) as bev:
        bev.abort()


# ---------------------------------------------------------------- filters

FILTERS: dict[str, Callable[[], Any]] = {
    "zlib": ev.filters.zlib_filter,
    "gzip": ev.filters.gzip_filter,
    "zstd": ev.filters.zstd_filter,
    "line": ev.filters.line_filter,
    "length_prefix": ev.filters.length_prefix_filter,
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_with_a_state_is_for_one_bufferevent(base: ev.EventBase, name: str) -> None:
    given = FILTERS[name]()
    with ev.FilterBufferEvent(ev.SocketBufferEvent(base), *given) as bev:
        with ev.SocketBufferEvent(base) as below:
            with pytest.raises(ValueError, match=r"input_filter .* is for one bufferevent"):
                ev.FilterBufferEvent(below, *given)
            ev.FilterBufferEvent(below, *FILTERS[name]()).abort()
        bev.abort()
    with ev.SocketBufferEvent(base) as below, pytest.raises(ValueError, match="is for one bufferevent"):
        ev.FilterBufferEvent(below, *given)  # what it has seen doesn't go away


def test_nor_is_it_for_both_directions(base: ev.EventBase) -> None:
    both = ev.filters.zlib_filter()[0]
    with ev.SocketBufferEvent(base) as below, pytest.raises(ValueError, match=r"output_filter .* is for one"):
        ev.FilterBufferEvent(below, both, both)
    with ev.FilterBufferEvent(ev.SocketBufferEvent(base), both) as bev:
        bev.abort()


def test_a_filter_that_was_refused_is_as_good_as_new(base: ev.EventBase) -> None:
    given = ev.filters.zlib_filter()
    closed = ev.SocketBufferEvent(base)
    closed.close()
    with pytest.raises(ev.ClosedError):
        ev.FilterBufferEvent(closed, *given)
    with ev.FilterBufferEvent(ev.SocketBufferEvent(base), *given) as bev:
        bev.abort()
