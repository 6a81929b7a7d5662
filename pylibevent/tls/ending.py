"""The part of a TLSBufferEvent that ends: why it did, what close() says to the peer, and going back to plain bytes."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from .._libevent import lib
from ..bufferevent import BufferEvent, SocketBufferEvent
from ..bufferevent.common import CLOSE_TIMEOUT
from ..errors import TLSEOFError, TLSError, alert_of, check, check_function, late_error, tls_certificate_error, tls_error
from ..flags import EventFlag, Option, What
from .direct import Direct

_PLAIN, _SESSION, _GONE = int(lib.PEV_NOTE_PLAIN), int(lib.PEV_NOTE_SESSION), int(lib.PEV_NOTE_GONE)
_ERROR = int(What.ERROR) << lib.PEV_NOTE_EVENTS
_SESSION_PLAIN_ERROR = _SESSION | _PLAIN | _ERROR
_DATA = int(lib.PEV_NOTE_READ | lib.PEV_NOTE_WRITE)
_close = BufferEvent.close


class Ending(Direct):
    """See TLSBufferEvent."""

    __slots__ = ("_underlying", "_when_plain")

    _underlying: BufferEvent | None
    _when_plain: Callable[[BufferEvent], object] | None

    # ------------------------------------------------------------ why it ended

    @property
    def errors(self) -> list[TLSError]:
        """What OpenSSL said when it failed, oldest first (``bufferevent_get_openssl_error``)."""
        return [tls_error([code]) for code in self._codes()]

    def _explain(self, events: int, detail: int) -> BaseException:
        failed: BaseException | None = self._failure or getattr(self._underlying, "_failure", None)
        if failed is not None:
            return failed
        if events & What.TIMEOUT:
            return super()._explain(events, detail)
        error = self._explain_tls()
        if error is None and self._underlying is not None:
            return self._underlying._explain(events, detail)
        if error is None:
            return super()._explain(events, detail)
        error.alert = alert_of(lib.pev_ssl_alert(self._h, 0))
        error.alert_sent = alert_of(lib.pev_ssl_alert(self._h, 1))
        return error

    def _explain_tls(self) -> TLSError | None:
        """What TLS has to say about an ERROR."""
        if lib.pev_ssl_is_late(self._h):
            return late_error(self._limit)
        codes, is_open = self._codes(), lib.pev_ssl_is_open(self._h)
        verify = lib.pev_ssl_verify_result(self._h)
        refused_by_us = lib.pev_ssl_alert(self._h, 0) < 0
        if verify and codes and not is_open and refused_by_us:
            return tls_certificate_error(verify, codes, name=self._server_hostname or "")
        if codes:
            doing = "" if is_open else "the handshake failed" if refused_by_us else "the peer refused the handshake"
            return tls_error(codes, doing=doing)
        if lib.pev_ssl_truncated(self._h):
            return self._truncated()
        return None

    def _truncated(self) -> TLSEOFError:
        if lib.pev_ssl_is_open(self._h):
            text = "the stream ended without a close_notify: it may have been cut short"
        else:
            text = "the peer closed the connection during the handshake"
        error = TLSEOFError(ssl.SSL_ERROR_EOF, text)
        error.library, error.reason = "SSL", "UNEXPECTED_EOF_WHILE_READING"
        return error

    def _going(self) -> str:
        if lib.pev_ssl_is_open(self._h):
            return self.version or "open"
        below = self._connector or self._underlying
        return "connecting" if below is not None and below._going() == "connecting" else "handshake"

    # ------------------------------------------------------------ the end

    def close(self, *, timeout: float = CLOSE_TIMEOUT, bidirectional: bool = False) -> None:
        """Close it: what was written goes out, then close_notify; the loop goes on sending while the peer takes anything.
        Idempotent; allowed in every callback. No callback comes after it.

        Args:
            timeout: Seconds from 0 to 1e9 without any headway, after which what is left is dropped. 0: drop it at once, and say
                nothing to the peer.
            bidirectional: Wait for the peer's close_notify too, as long; what else it sends is thrown away.
        """
        if self._ctx._wants_sessions:
            self._take_sessions()
        below = self._connector or self._underlying
        if below is not None and getattr(below, "_lookup", None) is not None:
            timeout = 0
        if bidirectional and not self._closed:
            self._close_both_ways(timeout)
        else:
            _close(self, timeout=timeout)
        self._let_go()

    def _close_both_ways(self, timeout: float) -> None:
        try:
            lib.pev_ssl_set_bidirectional(self._h, True)
            _close(self, timeout=timeout)
        except BaseException:
            lib.pev_ssl_set_bidirectional(self._h, False)
            raise

    def lazy_shutdown(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Close it as the libevent book's lazy shutdown does: say close_notify without waiting for the peer's, and keep the
        session good for both sides. Here all that was written goes out before. It is what close() does.
        """
        self.close(timeout=timeout)

    def shutdown_write(self) -> None:
        """Write nothing more: close_notify goes out after all that was written (``SSL_shutdown``). Reading goes on; the peer
        gets EOF, and may still send.

        Raises:
            OSError: EPIPE: it has ended with an ERROR.
        """
        check(lib.pev_ssl_finish(self._h), self)

    def unwrap(self, callback: Callable[[BufferEvent], object]) -> None:
        """Go back to plain bytes below: as shutdown_write(), and when the peer has said close_notify too, this is closed.

        Args:
            callback: Called as ``callback(bev)`` then, with the underlying, or in the socket form with a SocketBufferEvent made
                for the descriptor. What the peer sent after its close_notify is, or will be, in its input. If an ERROR comes
                before, it isn't called.

        Raises:
            OSError: EPIPE: it has ended with an ERROR.
        """
        check_function(callback, "callback")
        self._when_plain = callback
        try:
            check(lib.pev_ssl_unwrap(self._h), self)
        except BaseException:
            self._when_plain = None
            raise
        if not self.enabled & EventFlag.READ:
            self.enable(EventFlag.READ)
        self._hold()

    def _is_under_way(self) -> bool:
        return self._when_plain is not None or super()._is_under_way()

    def _uncover(self) -> None:
        """Both have said close_notify."""
        if self.closed:
            return
        if self._on_read is not None and self.input:
            self._on_read(self)  # what is below its low mark
        callback, self._when_plain = self._when_plain, None
        if callback is None or self.closed:
            return
        plain = self.underlying
        if plain is not None:
            check(lib.pev_ssl_uncover(self._h), self)
        else:
            fd = check(lib.pev_ssl_give_up_fd(self._h), self)
            plain = SocketBufferEvent(self._base, fd, Option(self._options))
        super().close(timeout=0)
        callback(plain)
        if not plain.closed and lib.pev_bev_usable_alone(plain._h) == 0 and plain.input:
            plain.trigger(EventFlag.READ)  # it came before anybody listened

    def _let_go(self) -> None:
        below, connector = self._underlying, self._connector
        if below is not None and below.closed:
            below._carried_away()
        if not self._closed or self._lingers():
            return
        if connector is not None:
            self._connector = None
            connector.abort()
        self._owner = None
        self._wait_no_more()

    def _carried_away(self) -> None:
        super()._carried_away()
        self._wait_no_more()
        self._let_go()

    def _lingers(self) -> bool:
        return self._id in self._base._armed

    def _ready(self, what: int, detail: int, tell: Callable[[BufferEvent, int, int], None] = BufferEvent._ready) -> None:
        if what & _SESSION_PLAIN_ERROR or (self._ctx._on_remove_session is not None and what & ~_DATA):
            what = self._look_after_sessions(what, detail)
            if what & _PLAIN:
                what &= ~_PLAIN
                self._base.call_soon(self._uncover)
            if not what:
                return
        tell(self, what, detail)
        if what & _GONE:
            self._let_go()
