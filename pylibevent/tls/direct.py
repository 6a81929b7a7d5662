"""The part of a TLSBufferEvent that is its socket form: it has the descriptor itself (csrc/direct.c).

While it connects, a socket bufferevent does that for it.
"""

from __future__ import annotations

import os

from .._libevent import lib
from ..bufferevent import SocketBufferEvent
from ..errors import check
from ..flags import Option, What
from .connection_sessions import ConnectionSessions


class Direct(ConnectionSessions):
    """See TLSBufferEvent."""

    __slots__ = ("_connector", "_direct", "_failure", "_limit", "_owner")

    _connector: SocketBufferEvent | None
    _direct: bool
    _failure: BaseException | None
    _limit: float
    _owner: object

    def _take_over(self, below: SocketBufferEvent) -> None:
        """Have its descriptor, now or when it is connected."""
        if below.fd >= 0 and not lib.pev_bev_connecting(below._h):
            self._attach(below)
            return
        self._connector = below
        below.set_callbacks(event=lambda bev, what: self._connected(below, what))

    def _attach(self, below: SocketBufferEvent) -> None:
        owner, fd = below._owner, below.detach()
        below.abort()
        code = lib.pev_ssl_attach(self._h, fd, self._limit)
        if code < 0:
            if self._options & Option.CLOSE_ON_FREE:
                os.close(fd)
            if not self._closed:
                check(code, self)
        self._owner = owner

    def _connected(self, below: SocketBufferEvent, what: What) -> None:
        """The connector is done."""
        self._connector = None
        if what & What.CONNECTED:
            self._attach(below)
            return
        self._failure = below.error
        below.abort()
        if self._closed:
            lib.pev_bev_close(self._h, 0)
        else:
            check(lib.pev_bev_fail(self._h, What.ERROR, 0), self)

    @property
    def direct(self) -> bool:
        """Whether this is the socket form."""
        return self._direct
