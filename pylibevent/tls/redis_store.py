"""RedisSessionStore: sessions in a Redis, for several machines. Needs the extra ``pylibevent[redis]``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from .._handle import NoCopy
from ..errors import check_seconds
from .store import SealedSessionStore, check_keys


class RedisSessionStore(NoCopy):
    """Sessions in a Redis 6.2 or later. They are sealed (SealedSessionStore).

    Args:
        url: Where it is: ``redis://[[user]:password@]host[:port][/database]``, ``rediss://`` for TLS, ``unix://path``. Or a
            ``redis.Redis`` that is there, with the timeouts that it has.
        keys: The keys of the seal, as SealedSessionStore takes them, the same for all who share. None: sessions are kept as
            they are, and whoever can write the Redis can be any client.
        prefix: What the names there begin with.
        timeout: How many seconds an answer is waited for, above 0. The loop waits too.

    Raises:
        ImportError: The redis library isn't installed.
    """

    def __init__(
        self,
        url: Any,
        *,
        keys: bytes | Iterable[bytes] | None,
        prefix: bytes = b"pylibevent:session:",
        timeout: float = 0.1,
    ) -> None:
        if not isinstance(prefix, bytes):
            raise TypeError(f"prefix must be bytes, not {type(prefix).__name__}")
        timeout = check_seconds(timeout, "timeout", positive=True)
        given = check_keys(keys) if keys is not None else None
        self._place = _place(url)
        self._client = _connect(url, timeout) if isinstance(url, str) else url
        names = _Names(self._client, prefix)
        self._inner: _Names | SealedSessionStore = names if given is None else SealedSessionStore(names, given)

    def put(self, id: bytes, data: bytes, ttl: float) -> None:
        """Keep a session for so many seconds."""
        self._inner.put(id, data, ttl)

    def get(self, id: bytes) -> bytes | None:
        """The session, or None."""
        return self._inner.get(id)

    def take(self, id: bytes) -> bytes | None:
        """The session, or None; of several processes one gets it."""
        return self._inner.take(id)

    def delete(self, id: bytes) -> None:
        """Forget a session."""
        self._inner.delete(id)

    def close(self) -> None:
        """Close the connections; what comes after opens new ones. Idempotent."""
        self._client.close()
        self._client.connection_pool.disconnect()

    def __repr__(self) -> str:
        return f"<RedisSessionStore {self._place}>"


class _Names:
    """The Redis, as a store."""

    def __init__(self, client: Any, prefix: bytes) -> None:
        self._client, self._prefix = client, prefix

    def put(self, id: bytes, data: bytes, ttl: float) -> None:
        self._client.set(self._prefix + id, data, px=max(1, int(ttl * 1000)))

    def get(self, id: bytes) -> bytes | None:
        return self._bytes(self._client.get(self._prefix + id))

    def take(self, id: bytes) -> bytes | None:
        return self._bytes(self._client.getdel(self._prefix + id))

    def delete(self, id: bytes) -> None:
        self._client.delete(self._prefix + id)

    @staticmethod
    def _bytes(answer: object) -> bytes | None:
        return answer if isinstance(answer, bytes) else None  # text: a client that decodes


def _connect(url: str, timeout: float) -> Any:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise ImportError("RedisSessionStore needs the redis library: pip install pylibevent[redis]") from None
    never = Retry(NoBackoff(), 0)  # a handshake is waiting
    return redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=never)


def _place(url: Any) -> str:
    """Where it is, without what must stay secret."""
    if not isinstance(url, str):
        if not hasattr(url, "getdel"):
            raise TypeError(f"url must be a str or a redis.Redis, not {type(url).__name__}")
        return repr(url)
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("url must begin with redis://, rediss:// or unix://")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


__all__ = ["RedisSessionStore"]
