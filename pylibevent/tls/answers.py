"""The questions that OpenSSL asks in the middle of its work (csrc/ask.c), and how they come to Python.

1. C finds the connection by its number, ``connections``; the context that it is under now is ``contexts[...]``.
2. The function here calls what the user has set, and turns what that returns into C's answer.
3. Whatever is raised, or can't be an answer, is kept by the base, whose loop raises it after the pass; C gets the answer that
   refuses. Nothing is ever raised through C.
4. While the question is open, the connection can't be used, and nothing closed: that raises RuntimeError.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .. import failures
from .._libevent import ffi, lib

if TYPE_CHECKING:
    from .bufferevent import TLSBufferEvent
    from .context import TLSContext

contexts: weakref.WeakValueDictionary[int, TLSContext] = weakref.WeakValueDictionary()
connections: dict[int, weakref.ref[TLSBufferEvent]] = {}
"""Each is taken out when it is collected."""

_Function = TypeVar("_Function", bound=Callable[..., int])

_INTERNAL_ERROR = 80
"""The alert for what went wrong on this side."""


class VerifyStep(NamedTuple):
    """One certificate of a peer's chain, and what OpenSSL makes of it."""

    certificate: bytes
    """As DER."""
    depth: int
    """0: the peer's own."""
    code: int
    """``X509_V_ERR_...``; 0: nothing is wrong."""
    message: str
    """The same as text."""
    ok: bool
    """Whether it would be accepted."""


def connection_of(number: int) -> TLSBufferEvent | None:
    """The connection of this number, if there still is one."""
    reference = connections.get(number)
    return None if reference is None else reference()


def current_context(connection: TLSBufferEvent) -> TLSContext:
    """The context that the connection is under now: the server name may have led to another."""
    return contexts.get(lib.pev_ssl_context_id(connection._h)) or connection._ctx


def _called_by_c(refusal: int) -> Callable[[_Function], _Function]:
    """The function that C knows by this name; should even the taking of an exception fail, C gets the refusal."""
    decorator: Callable[[_Function], _Function] = ffi.def_extern(error=refusal, onerror=failures.keep_stray)
    return decorator


def _answer(number: int, refusal: int, ask: Callable[[TLSBufferEvent, TLSContext], int]) -> int:
    connection = connection_of(number)
    if connection is None:
        return refusal
    try:
        return ask(connection, current_context(connection))
    except BaseException as error:
        failures.keep(connection._base, error)
        lib.pev_loop_wake(connection._base._h)
        return refusal


def _must(answer: object, kind: type[Any], what: str) -> Any:
    if not isinstance(answer, kind):
        raise TypeError(f"{what} must return a {kind.__name__}, not {type(answer).__name__}")
    return answer


@_called_by_c(_INTERNAL_ERROR)
def pev_ask_name(number: int, name: Any) -> int:
    """What is to be done about the name that a client asks for."""

    def ask(connection: TLSBufferEvent, context: TLSContext) -> int:
        callback = context._sni_callback
        asked = ffi.string(name).decode("ascii") if name else None
        answer = callback(connection, asked, context) if callback is not None else None
        return context._name_answer(connection, answer)

    return _answer(number, _INTERNAL_ERROR, ask)


@_called_by_c(0)
def pev_ask_verify(number: int, step: Any) -> int:
    """Whether a certificate is accepted."""

    def ask(connection: TLSBufferEvent, context: TLSContext) -> int:
        message = ffi.string(lib.pev_tls_verify_text(step.code)).decode()
        der = bytes(ffi.buffer(step.der, step.length)) if step.der and step.length > 0 else b""
        callback = context._verify_callback
        if callback is None:
            return int(step.ok)
        what = VerifyStep(der, step.depth, step.code, message, bool(step.ok))
        return int(_must(callback(connection, what), bool, "verify_callback"))

    return _answer(number, 0, ask)


@_called_by_c(0)
def pev_ask_ocsp(number: int, response: Any, length: int) -> int:
    """Whether what the server stapled is accepted."""

    def ask(connection: TLSBufferEvent, context: TLSContext) -> int:
        callback = context._ocsp_callback
        data = bytes(ffi.buffer(response, length)) if response and length > 0 else b""
        return 1 if callback is None else int(_must(callback(connection, data), bool, "ocsp_callback"))

    return _answer(number, 0, ask)


@_called_by_c(0)
def pev_ask_psk_client(number: int, hint: Any, identity: Any, most_identity: int, key: Any, most_key: int) -> int:
    """The identity and the key of a client."""

    def ask(connection: TLSBufferEvent, context: TLSContext) -> int:
        callback = context._psk_callback
        if callback is None:
            return 0
        name, secret = callback(ffi.string(hint).decode("utf-8", "replace") if hint else None)
        raw = b"" if name is None else _must(name, str, "the psk callback's identity").encode()
        if b"\0" in raw or len(raw) >= most_identity:
            raise ValueError(f"the psk callback's identity must be of at most {most_identity - 1} bytes without a zero byte")
        ffi.buffer(identity, most_identity)[: len(raw) + 1] = raw + b"\0"
        return _put_key(secret, key, most_key)

    return _answer(number, 0, ask)


@_called_by_c(0)
def pev_ask_psk_server(number: int, identity: Any, key: Any, most_key: int) -> int:
    """The key of a client with this identity."""

    def ask(connection: TLSBufferEvent, context: TLSContext) -> int:
        callback = context._psk_callback
        if callback is None:
            return 0
        return _put_key(callback(ffi.string(identity).decode("utf-8", "replace") if identity else None), key, most_key)

    return _answer(number, 0, ask)


def _put_key(secret: object, key: Any, most_key: int) -> int:
    if not isinstance(secret, bytes | bytearray):
        raise TypeError(f"the psk callback must return a key of bytes, not {type(secret).__name__}")
    if len(secret) > most_key:
        raise ValueError(f"the psk callback's key must be at most {most_key} bytes long, not {len(secret)}")
    ffi.buffer(key, most_key)[: len(secret)] = bytes(secret)
    return len(secret)
