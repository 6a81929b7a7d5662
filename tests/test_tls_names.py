"""What a client asks for: a server's name, which leads to a context, and a protocol."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import tls_authority as make
from support import run_until
from tls_authority import CLIENT, Issued
from tls_ends import End, both_fail, close_all, meet, shake_hands

import pylibevent as ev

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def root() -> Issued:
    return make.authority()


def server_for(root: Issued, *names: str, **options: Any) -> ev.TLSContext:
    issued = root.issue(*names)
    return ev.TLSContext.server(issued.chain, issued.key, **options)


def client_of(root: Issued, version: ssl.TLSVersion | None = None, **options: Any) -> ev.TLSContext:
    ctx = ev.TLSContext.client(cadata=root.certificate, **options)
    if version is not None:
        ctx.minimum_version = ctx.maximum_version = version
    return ctx


# ---------------------------------------------------------------- server names


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize(
    ("asked", "certificate"),
    [
        ("a.test", "a.test"),
        ("A.Test", "a.test"),
        ("a.test.", "a.test"),
        ("x.b.test", "*.b.test"),
        ("special.b.test", "special.b.test"),
        ("bücher.test", "xn--bcher-kva.test"),
        ("default.test", "default.test"),
    ],
)
def test_a_context_for_each_name(
    base: ev.EventBase, root: Issued, asked: str, certificate: str, version: ssl.TLSVersion
) -> None:
    server = server_for(root, "default.test")
    names = {
        name: server_for(root, *certificate_names)
        for name, certificate_names in {
            "a.test": ("a.test",),
            "*.B.test": ("*.b.test",),
            "special.b.test": ("special.b.test",),
            "bücher.test": ("xn--bcher-kva.test",),
        }.items()
    }
    server.sni = names
    assert dict(server.sni)["*.b.test"] is names["*.B.test"]
    ends = meet(base, server, client_of(root, version), asked)
    shake_hands(base, *ends)
    chosen = {context.certificate: context for context in [server, *names.values()]}[ends[1].bev.peer_certificate]
    assert ends[0].bev.context is chosen
    assert ends[0].bev.server_hostname == asked.encode("idna").decode().removesuffix(".").lower() or asked.isascii()
    close_all(base, *ends)


@pytest.mark.parametrize("version", [V12, V13])
def test_all_of_the_context_counts(base: ev.EventBase, root: Issued, version: ssl.TLSVersion) -> None:
    """How clients are verified, versions and protocols are those of the context that the name leads to."""
    server, strict = server_for(root, "a.test"), server_for(root, "b.test", client_ca=root.certificate)
    strict.maximum_version = V12
    strict.set_alpn_protocols(["b"])
    server.set_alpn_protocols(["a"])
    server.sni = {"b.test": strict}
    plain = client_of(root, version)
    plain.set_alpn_protocols(["a", "b"])
    ends = meet(base, server, plain, "a.test")
    shake_hands(base, *ends)
    assert ends[0].bev.alpn_protocol == ends[1].bev.alpn_protocol == "a"
    close_all(base, *ends)
    ends = meet(base, server, plain, "b.test")
    both_fail(base, *ends)
    wanted = "PEER_DID_NOT_RETURN_A_CERTIFICATE" if version == V12 else "UNSUPPORTED_PROTOCOL"
    assert ends[0].error.reason == wanted
    close_all(base, *ends)
    if version == V12:
        own = root.issue("client", uses=[CLIENT])
        known = client_of(root, version, certfile=own.certificate, keyfile=own.key)
        known.set_alpn_protocols(["a", "b"])
        ends = meet(base, server, known, "b.test")
        shake_hands(base, *ends)
        assert ends[0].bev.peer_certificate
        assert ends[0].bev.selected_alpn_protocol() == "b"
        close_all(base, *ends)


def test_strictness_is_taken_off_too(base: ev.EventBase, root: Issued) -> None:
    """From a context that requires certificates and lists of the revoked to one that asks for nothing."""
    strict, plain = server_for(root, "a.test", client_ca=root.certificate), server_for(root, "b.test")
    strict.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    strict.sni = {"b.test": plain}
    ends = meet(base, strict, client_of(root), "b.test")
    shake_hands(base, *ends)
    close_all(base, *ends)


def test_names_that_are_not_there(base: ev.EventBase, root: Issued) -> None:
    server = server_for(root, "a.test")
    server.sni = {"b.test": server_for(root, "b.test")}
    server.sni_strict = True
    assert server.sni_strict is True
    ends = meet(base, server, client_of(root), "a.test")
    both_fail(base, *ends)
    assert ends[1].error.alert is ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    close_all(base, *ends)
    server.sni_strict = False
    ends = meet(base, server, client_of(root), "a.test")
    shake_hands(base, *ends)
    close_all(base, *ends)
    nameless = client_of(root)
    nameless.check_hostname = False
    server.sni_strict = True
    ends = meet(base, server, nameless, None)  # it asks for none
    shake_hands(base, *ends)
    assert ends[0].bev.server_hostname is None
    close_all(base, *ends)


def test_contexts_may_lead_to_each_other(base: ev.EventBase, root: Issued) -> None:
    one, other = server_for(root, "a.test"), server_for(root, "b.test")
    one.sni = {"b.test": other, "a.test": one}
    other.sni = {"a.test": one}
    for first in (one, other):
        for name in ("a.test", "b.test"):
            ends = meet(base, first, client_of(root), name)
            shake_hands(base, *ends)
            close_all(base, *ends)


def test_a_context_that_is_taken_out_serves_those_it_has(base: ev.EventBase, root: Issued) -> None:
    server = server_for(root, "a.test")
    server.sni = {"b.test": server_for(root, "b.test")}
    ends = meet(base, server, client_of(root), "b.test")
    shake_hands(base, *ends)
    server.sni = {}
    ends[1].bev.write(b"still here")
    run_until(base, lambda: ends[0].got == b"still here")
    close_all(base, *ends)


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ({"": 0}, ValueError),
        ({"*": 0}, ValueError),
        ({"a.*.test": 0}, ValueError),
        ({"a b": 0}, ValueError),
        ({"a..b": 0}, ValueError),
        ({".test": 0}, ValueError),
        ({"x" * 254: 0}, ValueError),
        ({"a\0b": 0}, ValueError),
        ({b"a": 0}, TypeError),
        ([], TypeError),
    ],
)
def test_mappings_that_are_none(root: Issued, names: Any, error: type[Exception]) -> None:
    server = server_for(root, "a.test")
    if isinstance(names, dict):
        names = dict.fromkeys(names, server)
    with pytest.raises(error):
        server.sni = names
    assert dict(server.sni) == {}


def test_only_servers_follow_names(root: Issued) -> None:
    client, server = client_of(root), server_for(root, "a.test")
    for attempt in (
        lambda: setattr(client, "sni", {}),
        lambda: setattr(client, "sni_strict", True),
        lambda: setattr(client, "sni_callback", None),
    ):
        with pytest.raises(ValueError, match="for servers"):
            attempt()
    with pytest.raises(ValueError, match=r"TLSContext\.server"):
        server.sni = {"a.test": client}
    with pytest.raises(TypeError, match="TLSContext"):
        server.sni = {"a.test": None}  # type: ignore[dict-item]


@pytest.mark.parametrize("version", [V12, V13])
def test_a_callback_chooses(base: ev.EventBase, root: Issued, version: ssl.TLSVersion) -> None:
    server, other = server_for(root, "a.test"), server_for(root, "b.test")
    asked: list[Any] = []

    def choose(bev: ev.TLSBufferEvent, name: str | None, ctx: ev.TLSContext) -> ev.TLSContext | None:
        asked.append((bev.server_side, name, ctx))
        return other if name == "b.test" else None

    server.set_servername_callback(choose)
    assert server.sni_callback is choose
    for name in ("a.test", "b.test"):
        ends = meet(base, server, client_of(root, version), name)
        shake_hands(base, *ends)
        assert ends[0].bev.context is (other if name == "b.test" else server)
        close_all(base, *ends)
    assert asked == [(True, "a.test", server), (True, "b.test", server)]


def test_a_callback_that_makes_the_context(base: ev.EventBase, root: Issued) -> None:
    """Nobody but the connection keeps it."""
    server = server_for(root, "a.test")
    server.sni_callback = lambda bev, name, ctx: server_for(root, name or "nobody")
    ends = meet(base, server, client_of(root), "made.test")
    shake_hands(base, *ends)
    assert ends[0].bev.context is not server
    ends[1].bev.write(b"still here")
    run_until(base, lambda: ends[0].got == b"still here")
    close_all(base, *ends)


def test_a_callback_refuses(base: ev.EventBase, root: Issued) -> None:
    server = server_for(root, "a.test")
    server.sni_callback = lambda bev, name, ctx: ssl.AlertDescription.ALERT_DESCRIPTION_ACCESS_DENIED
    ends = meet(base, server, client_of(root), "a.test")
    both_fail(base, *ends)
    assert ends[1].error.alert is ssl.AlertDescription.ALERT_DESCRIPTION_ACCESS_DENIED
    assert ends[0].error.alert_sent is ssl.AlertDescription.ALERT_DESCRIPTION_ACCESS_DENIED
    close_all(base, *ends)


@pytest.mark.parametrize("answer", [lambda: 1 / 0, lambda: "a.test", lambda: True, lambda: 256, lambda: -1])
def test_a_callback_without_an_answer_refuses(base: ev.EventBase, root: Issued, answer: Callable[[], Any]) -> None:
    server = server_for(root, "a.test")
    server.sni_callback = lambda bev, name, ctx: answer()
    ends = meet(base, server, client_of(root), "a.test")
    with pytest.raises((ZeroDivisionError, TypeError, ValueError)):
        both_fail(base, *ends)
    both_fail(base, *ends)
    assert ends[1].error.alert is ssl.AlertDescription.ALERT_DESCRIPTION_INTERNAL_ERROR
    close_all(base, *ends)


def test_what_callbacks_raise_may_go_to_on_exception(base: ev.EventBase, root: Issued) -> None:
    server = server_for(root, "a.test")
    server.sni_callback = lambda bev, name, ctx: 1 // 0
    caught: list[BaseException] = []
    base.on_exception = caught.append
    ends = meet(base, server, client_of(root), "a.test")
    both_fail(base, *ends)
    assert [type(error) for error in caught] == [ZeroDivisionError]
    close_all(base, *ends)


NAMES = [b"", b"\0", b"a\0b.test", b"a b", b"\xff", b"x" * 300, b"."]


@pytest.mark.parametrize("name", NAMES)
def test_names_on_the_wire_that_are_none(base: ev.EventBase, root: Issued, name: bytes) -> None:
    """No client of any library sends them: the message is made by hand."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ctx = ssl.create_default_context()
    tls = ctx.wrap_bio(incoming, outgoing, server_hostname="placeholder.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    record = outgoing.read()
    server = server_for(root, "a.test")
    asked: list[Any] = []
    server.sni_callback = lambda bev, name, ctx: asked.append(name)
    one, other = socket.socketpair()
    with other:
        end = End(ev.TLSBufferEvent.accept(base, one, server))
        other.sendall(with_name(record, b"placeholder.test", name))
        run_until(base, lambda: end.ended)
        assert asked == []
        assert end.error.alert_sent is ssl.AlertDescription.ALERT_DESCRIPTION_DECODE_ERROR
        close_all(base, end)


def with_name(record: bytes, old: bytes, new: bytes) -> bytes:
    """A ClientHello in which the server's name is another one, with all the lengths around it."""
    at = record.index(old)
    longer = len(new) - len(old)

    def grown(start: int, size: int) -> bytes:
        return (int.from_bytes(record[start : start + size], "big") + longer).to_bytes(size, "big")

    extensions = 9 + 2 + 32
    extensions += 1 + record[extensions]
    extensions += 2 + int.from_bytes(record[extensions : extensions + 2], "big")
    extensions += 1 + record[extensions]
    out = bytearray(record)
    for start, size in ((3, 2), (6, 3), (extensions, 2), (at - 7, 2), (at - 5, 2), (at - 2, 2)):
        out[start : start + size] = grown(start, size)
    out[at : at + len(old)] = new
    return bytes(out)


# ---------------------------------------------------------------- protocols


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize(
    ("offered", "known", "agreed"),
    [
        (["h2", "http/1.1"], ["http/1.1", "h2"], "http/1.1"),
        (["h2"], ["http/1.1", "h2"], "h2"),
        ([], ["h2"], None),
        (["h2"], [], None),
        ([b"\xff\x00"], [b"\xff\x00"], "\\xff\0"),
        (["x" * 255], ["x" * 254, "x" * 255], "x" * 255),
    ],
)
def test_a_protocol_is_agreed_on(
    base: ev.EventBase, root: Issued, offered: Any, known: Any, agreed: str | None, version: ssl.TLSVersion
) -> None:
    server, client = server_for(root, "a.test"), client_of(root, version)
    server.set_alpn_protocols(known)
    client.set_alpn_protocols(offered)
    ends = meet(base, server, client, "a.test")
    assert ends[0].bev.alpn_protocol is None
    shake_hands(base, *ends)
    assert [end.bev.alpn_protocol for end in ends] == [agreed, agreed]
    close_all(base, *ends)


@pytest.mark.parametrize("version", [V12, V13])
def test_no_protocol_in_common(base: ev.EventBase, root: Issued, version: ssl.TLSVersion) -> None:
    server, client = server_for(root, "a.test"), client_of(root, version)
    server.set_alpn_protocols(["h2"])
    client.set_alpn_protocols(["http/1.1"])
    ends = meet(base, server, client, "a.test")
    both_fail(base, *ends)
    assert ends[0].error.reason == "NO_APPLICATION_PROTOCOL"
    assert ends[1].error.alert is not None or "no application protocol" in str(ends[1].error)
    close_all(base, *ends)


@pytest.mark.parametrize(
    ("protocols", "error"),
    [("h2", TypeError), ([1], TypeError), ([""], ValueError), (["x" * 256], ValueError), (["x" * 255] * 257, ValueError)],
)
def test_protocols_that_are_none(root: Issued, protocols: Any, error: type[Exception]) -> None:
    for ctx in (client_of(root), server_for(root, "a.test")):
        ctx.set_alpn_protocols(["h2"])
        with pytest.raises(error):
            ctx.set_alpn_protocols(protocols)
        assert ctx.alpn_protocols == ("h2",)
