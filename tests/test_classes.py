"""What holds for every class: it can't be copied, pickled or made by half, its repr helps, and no argument breaks it."""

from __future__ import annotations

import abc
import copy
import inspect
import pickle
import socket
import textwrap
from collections.abc import Iterator
from typing import Any

import kinds
import pytest
from support import check_child, run_child

import pylibevent as ev
from pylibevent._handle import Handle


def subclasses(kind: type) -> Iterator[type]:
    if "_whole" not in vars(kind):  # what an object is before it has its handle
        yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


HANDLES = sorted(
    (kind for kind in set(subclasses(Handle)) if kind.__module__.startswith("pylibevent")), key=lambda kind: kind.__name__
)
PUBLIC = [kind for kind in HANDLES if kind.__name__ in ev.__all__]


@pytest.fixture
def objects(base: ev.EventBase, certificates: Any) -> Iterator[dict[str, Any]]:
    """One of each class, open."""
    one, other = socket.socketpair()
    relayed, peer = socket.socketpair()
    echo = ev.SocketBufferEvent(base, relayed)
    dns = ev.DNSBase(base, system=False)
    made = {
        "EventBase": base,
        "Event": base.event(-1, ev.EventFlag(0), print),
        "Buffer": ev.Buffer(b"abc"),
        "SocketBufferEvent": ev.SocketBufferEvent(base, one),
        "Listener": ev.Listener.bind(base, ("127.0.0.1", 0), print),
        "DNSBase": dns,
        "DNSRequest": dns.getaddrinfo("127.0.0.1", 80, print),
        "TLSContext": ev.TLSContext.server(certificates.cert, certificates.key),
        "RateLimitGroup": ev.RateLimitGroup(base, ev.RateLimit(1, 1)),
        "Relay": echo.relay(echo),
        "TLSSession": kinds.session(),
        "TicketKeys": ev.TicketKeys(),
    }
    made["PairBufferEvent"], partner = ev.PairBufferEvent.new(base)
    made["FilterBufferEvent"] = ev.FilterBufferEvent(ev.SocketBufferEvent(base), options=ev.Option.CLOSE_ON_FREE)
    made["TLSBufferEvent"] = ev.TLSBufferEvent.accept(base, other, made["TLSContext"])
    with open(certificates.cert, "rb") as file:
        made["FileSegment"] = ev.FileSegment(file)
    yield made
    echo.abort()
    peer.close()
    partner.abort()
    for name in ("TLSBufferEvent", "FilterBufferEvent", "SocketBufferEvent", "PairBufferEvent"):
        made[name].abort()
    for name in ("Listener", "DNSBase", "Event", "Buffer", "FileSegment", "RateLimitGroup"):
        made[name].close()


def test_each_class_is_looked_at(objects: dict[str, Any]) -> None:
    concrete = {kind.__name__ for kind in PUBLIC} - {"BufferEvent"}
    assert concrete <= set(objects)


def test_none_can_be_copied_or_pickled(objects: dict[str, Any]) -> None:
    for name, thing in objects.items():
        for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match=f"cannot copy or pickle {name!r}"):
                attempt(thing)


def test_reprs_say_what_and_how_it_is(objects: dict[str, Any]) -> None:
    for name, thing in objects.items():
        text = repr(thing)
        assert text.startswith(f"<{name} ")
        assert text.endswith(">")
        assert "0x" not in text
    assert f"fd {objects['SocketBufferEvent'].fd}" in repr(objects["SocketBufferEvent"])
    assert "0 in, 0 out" in repr(objects["SocketBufferEvent"])
    assert "3 bytes" in repr(objects["Buffer"])
    assert str(objects["Listener"].address[1]) in repr(objects["Listener"])
    assert "epoll" in repr(objects["EventBase"])


def test_reprs_of_closed_ones_say_so(objects: dict[str, Any], base: ev.EventBase) -> None:
    objects["TLSBufferEvent"].abort()
    objects["FilterBufferEvent"].abort()
    assert "closed" in repr(objects["FilterBufferEvent"])
    for name in ("SocketBufferEvent", "PairBufferEvent", "Listener", "DNSBase", "Event", "Buffer", "FileSegment"):
        objects[name].close()
        assert "closed" in repr(objects[name]), name
    assert "closed" in repr(objects["TLSBufferEvent"])
    base.close()
    assert repr(base) == "<EventBase closed>"


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_half_made_objects_say_so(kind: type) -> None:
    """One whose __init__ wasn't called refuses whatever is asked of it, and dies in silence."""
    code = f"""
    import inspect
    import pylibevent as ev
    from pylibevent import *

    class Half(ev.{kind.__name__}):
        def __init__(self):
            pass

    for half in [Half()] if {kind.__name__!r} != "BufferEvent" else []:
        for name, member in inspect.getmembers(ev.{kind.__name__}):
            if name.startswith("_") and name not in ("__len__", "__bool__", "__bytes__", "__repr__", "__enter__"):
                continue
            if isinstance(inspect.getattr_static(ev.{kind.__name__}, name), (classmethod, staticmethod)):
                continue
            try:
                value = getattr(half, name)
                if callable(value):
                    value(*[None] * sum(
                        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
                        for p in inspect.signature(value).parameters.values()
                    ))
            except (ev.Error, TypeError, ValueError) as error:
                pass
    """
    check_child(textwrap.dedent(code))


@pytest.mark.parametrize(
    "kind",
    [ev.Listener, ev.DNSRequest, ev.TLSContext, ev.TLSBufferEvent, ev.TLSSession, ev.PairBufferEvent, ev.BufferEvent],
)
def test_those_that_are_made_otherwise_say_how(kind: Any) -> None:
    with pytest.raises(TypeError, match="isn't made itself"):
        kind()


def test_init_again_is_refused(base: ev.EventBase) -> None:
    buffer = ev.Buffer(b"kept")
    with pytest.raises(RuntimeError, match="initialised already"):
        buffer.__init__(b"other")  # type: ignore[misc]
    assert buffer.read() == b"kept"
    with pytest.raises(RuntimeError, match="initialised already"):
        base.__init__()  # type: ignore[misc]
    base.timer(0, lambda event, what: None)
    base.dispatch()


NASTY = """
NASTY = [
    None, True, -1, 0, 1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64, -2**63, 1e308, -0.5, float("nan"), float("inf"), 0.001,
    "", "a", "\\0", "\\ud800", "x" * 1000, b"", b"\\0", bytearray(b"abc"), memoryview(b"abc")[::2], (), [], {}, object(), print,
    ("127.0.0.1", 1), ("", 0, 0, 0), ev.EventFlag.READ, ev.EventFlag(255), ev.What(0xFF), ev.LoopFlag.ONCE, ev.Option(15),
    ev.EOLStyle.NUL, ev.Buffer(b"abc"), ev.Buffer, ev.RateLimit(1, 1, tick=0.001), ev.RateLimit(None, 2**31 - 1, tick=2e6),
]
"""

WALK = """
import faulthandler, inspect, itertools, os, random, signal, socket, sys, warnings
import pylibevent as ev
import kinds

warnings.simplefilter("ignore")
name, state, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
chance = random.Random(seed)
ALLOWED = (TypeError, ValueError, OSError, BufferError, RuntimeError, MemoryError, ExceptionGroup, ev.Error)
SKIP = {"loop", "dispatch", "__init__", "__new__", "fork"}
os.chdir("/")
"""
WALK += (
    NASTY
    + """
null, report = os.open(os.devnull, os.O_RDWR), os.dup(2)
os.dup2(null, 100)
os.dup2(report, 101)
faulthandler.enable(101)
faulthandler.dump_traceback_later(100, exit=True, file=101)


def make():
    for fd in range(20):  # what the numbers among the arguments mean, and may be closed
        os.dup2(100, fd)
    base = ev.EventBase()
    server, client = kinds.contexts()
    one, other = kinds.bev_pair(base)
    relayed = kinds.bev_pair(base)
    dns = ev.DNSBase(base, system=False)
    made = {
        "EventBase": base,
        "Event": base.event(-1, ev.EventFlag(0), lambda event, what: None),
        "Buffer": ev.Buffer(b"abc" * 5000),
        "SocketBufferEvent": one,
        "Listener": ev.Listener.bind(base, ("127.0.0.1", 0), lambda listener, sock, address: sock.close()),
        "DNSBase": dns,
        "DNSRequest": dns.getaddrinfo("127.0.0.1", 80, lambda request: None),
        "TLSContext": server,
        "RateLimitGroup": ev.RateLimitGroup(base, ev.RateLimit(100, 100)),
        "TLSSession": kinds.session(),
        "TicketKeys": ev.TicketKeys(),
        "TLSBufferEvent": ev.TLSBufferEvent.wrap(other, server, server_side=True),
        "PairBufferEvent": ev.PairBufferEvent.new(base)[0],
        "FilterBufferEvent": ev.FilterBufferEvent(ev.PairBufferEvent.new(base)[0], kinds.passes, kinds.passes),
        "FileSegment": ev.FileSegment(os.open(kinds.__file__, os.O_RDONLY)),
        "Relay": relayed[0].relay(relayed[1]),
    }
    if state == "closed":
        for thing in made.values():
            if hasattr(thing, "close"):
                try:
                    thing.close()
                except RuntimeError:
                    pass
    return made


def call(what, function, arguments):
    try:
        result = function(*arguments)
        if hasattr(result, "__enter__") and not isinstance(result, (ev.EventBase,)):
            with result:
                pass
    except ALLOWED:
        pass
    except Exception as error:
        os.write(101, f"{what}{tuple(map(repr, arguments))}: {type(error).__name__}: {error}".encode())
        os._exit(1)


kind = getattr(ev, name)
members = [
    (member, inspect.getattr_static(kind, member))
    for member in dir(kind)
    if member not in SKIP and (not member.startswith("_") or member in ("__len__", "__bool__", "__bytes__", "__repr__"))
]
for turn in range(6):
    made = make()
    thing, base = made[name], made["EventBase"]
    chance.shuffle(members)
    for member, static in members:
        if isinstance(static, property):
            call(f"{name}.{member}", lambda: getattr(thing, member), ())
            if static.fset is not None:
                for value in NASTY:
                    call(f"{name}.{member} = ", lambda value: setattr(thing, member, value), (value,))
        else:
            function = getattr(thing, member)
            if not callable(function):
                continue
            try:
                parameters = inspect.signature(function).parameters.values()
            except ValueError:
                continue
            most = len([p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)])
            for value in NASTY:
                arguments = [chance.choice([*NASTY, base]) for _ in range(most)]
                if most:
                    arguments[chance.randrange(most)] = value
                call(f"{name}.{member}", function, arguments)
                if not most:
                    break
        try:
            base.loop(ev.LoopFlag.NONBLOCK)
        except BaseException:
            pass
"""
)


@pytest.mark.parametrize("state", ["open", "closed"])
@pytest.mark.parametrize("kind", [kind for kind in PUBLIC if kind is not ev.BufferEvent], ids=lambda kind: kind.__name__)
def test_no_argument_breaks_it(kind: type, state: str, rng: Any) -> None:
    """Every public member gets what nobody would give it; all that may come is a Python exception that says so."""
    done = run_child(WALK, kind.__name__, state, str(rng.getrandbits(32)), timeout=120)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-3000:]}"


def test_every_public_name_has_a_docstring() -> None:
    bare = []
    for name in ev.__all__:
        value = getattr(ev, name)
        if inspect.isclass(value):
            bare += [f"{name}.{m}" for m, v in vars(value).items() if not m.startswith("_") and callable(v) and not v.__doc__]
        if (inspect.isclass(value) or inspect.isfunction(value)) and not value.__doc__:
            bare.append(name)
    assert not bare


def test_subclasses_may_be_of_any_sort(base: ev.EventBase) -> None:
    """With attributes, a metaclass, abstract, told of subclasses, or asked for what isn't there."""
    told: list[type] = []

    class Told(ev.SocketBufferEvent):
        def __init_subclass__(cls, **keywords: object) -> None:
            told.append(cls)

        def __getattr__(self, name: str) -> str:
            if name.startswith("_"):
                raise AttributeError(name)
            return f"no {name}"

    class Abstract(Told, abc.ABC):
        @abc.abstractmethod
        def answer(self) -> int: ...

    class Concrete(Abstract):
        __slots__ = ("later",)

        def __init__(self, base: ev.EventBase) -> None:
            self.before: Any = self.unknown
            super().__init__(base)
            self.later = type(self)

        def answer(self) -> int:
            return 42

    with pytest.raises(TypeError, match="abstract"):
        Abstract(base)  # type: ignore[abstract]
    with Concrete(base) as bev:
        assert (bev.answer(), bev.before, bev.later, bev.nothing) == (42, "no unknown", Concrete, "no nothing")
        assert type(bev) is Concrete
        assert isinstance(bev, Abstract)
        assert repr(bev).startswith("<Concrete ")
        with pytest.raises(RuntimeError, match="initialised already"):
            bev.__init__(base)  # type: ignore[misc]
    assert told == [Abstract, Concrete]


def test_an_object_without_a_handle_is_of_its_class() -> None:
    half = ev.Buffer.__new__(ev.Buffer)
    assert isinstance(half, ev.Buffer)
    assert repr(half) == "<Buffer without a handle>"
    with pytest.raises(ev.Error, match="this Buffer is not initialised"):
        len(half)
    half.__init__(b"abc")  # type: ignore[misc]
    assert type(half) is ev.Buffer
    assert bytes(half) == b"abc"
    assert not hasattr(type(half), "__getattr__")
