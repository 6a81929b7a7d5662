"""TLS in a forked child: it can't disturb the parent's connections, makes no secret twice, and begins anew after reinit()."""

from __future__ import annotations

from typing import Any

import pytest
from support import check_child

BEGIN = """
import gc, os, signal, socket, sys
import pylibevent as ev
from support import run_until
from tls_ends import End, close_all, meet, settle, shake_hands

cert, key, ca, direct = *sys.argv[1:4], sys.argv[4] == "direct"
server, client = ev.TLSContext.server(cert, key), ev.TLSContext.client(ca)


def child():
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # nobody else would end one that hangs
    return pid


def wait(pid, status=0):
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status


def connect(base, **options):
    ends = meet(base, server, client, direct=direct, **options)
    shake_hands(base, *ends)
    return ends
"""

both_forms = pytest.mark.parametrize("form", ["over", "direct"])


def run(certificates: Any, form: str, code: str) -> None:
    check_child(BEGIN + code, certificates.cert, certificates.key, certificates.ca, form)


@both_forms
def test_the_parents_connections_are_its_own(certificates: Any, form: str) -> None:
    """Nothing that the child does to them reaches the wire: a second record with the same number would give the key away."""
    code = """
base = ev.EventBase()
ends, early = connect(base), meet(base, server, client, direct=direct)
ends[0].bev.write(b"before")
pid = child()
if pid == 0:
    for bev in (ends[0].bev, early[0].bev):
        for attempt in (
            lambda: bev.write(b"from the child"), bev.close, bev.abort, bev.shutdown_write, bev.key_update, bev.renegotiate,
            lambda: bev.unwrap(print), bev.verify_client_post_handshake, lambda: bev.session, bev.enable, lambda: bev.read(),
            lambda: base.dispatch(), lambda: bev.start_tls(server, True),
            lambda: ev.TLSBufferEvent.connect(base, ("127.0.0.1", 1), client),
        ):
            try:
                attempt()
            except ev.ForkedError:
                pass
            except ev.Error as error:
                sys.exit(f"{error!r}")
            except OSError:
                pass
    del ends, early, bev, attempt, base
    gc.collect()
    os._exit(0)
wait(pid)
ends[0].bev.write(b" and after")
run_until(base, lambda: ends[1].got == b"before and after")
ends[1].bev.write(b"answer")
run_until(base, lambda: ends[0].got == b"answer")
shake_hands(base, *early)
close_all(base, *ends, *early)
base.close()
"""
    run(certificates, form, code)


@both_forms
def test_contexts_serve_on_in_a_child(certificates: Any, form: str) -> None:
    """Their tickets and stores too; and what is random differs from child to child."""
    code = """
from pylibevent import TicketKeys
server.ticket_keys = TicketKeys()
base = ev.EventBase()
session = []
client.on_new_session = lambda bev, new: session.append(new)
first = connect(base)
run_until(base, lambda: session)
close_all(base, *first)
reading, writing = os.pipe()
children = []
for n in range(3):
    pid = child()
    if pid == 0:
        base.reinit()
        one, other = socket.socketpair()
        ends = [
            End(ev.TLSBufferEvent.accept(base, one, server, direct=direct)),
            End(ev.TLSBufferEvent.wrap(
                ev.SocketBufferEvent(base, other), client, server_hostname="server.test", session=session[0], direct=direct
            )),
        ]
        shake_hands(base, *ends)
        assert ends[0].bev.session_reused and ends[1].bev.session_reused
        fresh = connect(base)
        assert not fresh[0].bev.session_reused
        secret = fresh[0].bev.export_keying_material("EXPORTER-test", 32)
        os.write(writing, secret + TicketKeys.make_key()[:32])
        close_all(base, *ends, *fresh)
        base.close()
        os._exit(0)
    children.append(pid)
for pid in children:
    wait(pid)
said = os.read(reading, 1000)
secrets = {said[i:i + 32] for i in range(0, len(said), 32)}
assert len(secrets) == 6, said
base.close()
os.close(reading)
os.close(writing)
"""
    run(certificates, form, code)


@both_forms
def test_the_child_takes_a_connection_over(certificates: Any, form: str) -> None:
    """As servers do that fork for each client: the parent drops it without a word."""
    code = """
base = ev.EventBase()
one, other = socket.socketpair()
pid = child()
if pid == 0:
    base.reinit()
    other.close()
    end = End(ev.TLSBufferEvent.accept(base, one, server, direct=direct))
    run_until(base, lambda: end.got == b"question")
    end.bev.write(b"answer")
    end.bev.close()
    base.dispatch()
    base.close()
    os._exit(0)
one.close()
below = ev.SocketBufferEvent(base, other)
end = End(ev.TLSBufferEvent.wrap(below, client, server_hostname="server.test", direct=direct), write=b"question")
run_until(base, lambda: end.ended)
assert end.got == b"answer" and end.events == [ev.What.CONNECTED, ev.What.READING | ev.What.EOF]
wait(pid)
close_all(base, end)
base.close()
"""
    run(certificates, form, code)
