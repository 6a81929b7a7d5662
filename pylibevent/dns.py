"""event2/dns.h: DNSBase, what connecting by host name needs. The questions it answers: dns_request.py."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ._handle import Handle, next_id
from ._libevent import ffi, lib
from .addresses import Address, from_c, parse_address, to_c
from .bufferevent.socket import SocketBufferEvent
from .dns_request import DNSCallback, DNSRequest
from .errors import ClosedError, check, check_base, check_callable, check_flags, check_int, check_pointer
from .flags import NamedFlag, own_operators

if TYPE_CHECKING:
    from .event import EventBase

_MOST_NAME = 255
_MOST_SECONDS = 1e9
_RESOLV_CONF = ("", "can't be opened", "can't be looked at", "is too large", "no memory", "ended early", "names no server")


@own_operators
class DNSOption(NamedFlag):
    """Which parts of a resolv.conf to use (``DNS_OPTION_*``)."""

    SEARCH = lib.DNS_OPTION_SEARCH
    NAMESERVERS = lib.DNS_OPTION_NAMESERVERS
    MISC = lib.DNS_OPTION_MISC
    HOSTSFILE = lib.DNS_OPTION_HOSTSFILE
    NAMESERVERS_NO_DEFAULT = lib.DNS_OPTION_NAMESERVERS_NO_DEFAULT
    """Don't ask 127.0.0.1 where the file names no server."""


_ALL_OPTIONS = DNSOption(lib.DNS_OPTIONS_ALL)


class DNSBase(Handle):
    """Resolves names without blocking (``evdns_base_new``).

    Args:
        base: The base on whose loop it works.
        system: Use the name servers, search list and options of /etc/resolv.conf, and /etc/hosts. False: none, until they
            are added.
        keep_running: While there is no question under way, it keeps the loop running too.
    """

    __slots__ = ("_base", "_closed", "_id")

    def __init__(self, base: EventBase, *, system: bool = True, keep_running: bool = False) -> None:
        self._begin()
        check_base(base)
        flags = 0 if keep_running else lib.EVDNS_BASE_DISABLE_WHEN_INACTIVE
        flags |= lib.EVDNS_BASE_INITIALIZE_NAMESERVERS if system else 0
        self._base = base
        self._id = next_id()
        self._closed = False
        self._own(check_pointer(lib.pev_dns_new(base._h, flags, self._id), base))

    @property
    def base(self) -> EventBase:
        """The base."""
        return self._base

    # ------------------------------------------------------------ questions

    def getaddrinfo(
        self,
        host: str,
        port: int,
        callback: DNSCallback,
        *,
        family: int = socket.AF_UNSPEC,
        numeric: bool = False,
    ) -> DNSRequest:
        """Ask for the socket addresses of a stream service, by /etc/hosts and DNS (``evdns_getaddrinfo``).

        Args:
            host: A name, or a numeric address, which is answered without asking.
            port: From 0 to 65535.
            callback: Called as ``callback(request)`` by the loop.
            family: AF_INET, AF_INET6, or AF_UNSPEC for both.
            numeric: Don't ask: the host must be numeric.
        """
        name = _check_name(host, "host")
        check_int(port, "port", 0, 65535)
        if isinstance(family, bool) or family not in (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6):
            raise ValueError(f"family must be AF_UNSPEC, AF_INET or AF_INET6, not {family!r}")
        number = self._new(callback)
        handle = lib.pev_dns_getaddrinfo(self._h, name, port, family, numeric, number)
        return DNSRequest._made(self, check_pointer(handle, self), number, host, port, callback)

    def resolve_ipv4(self, name: str, callback: DNSCallback, *, search: bool = True) -> DNSRequest:
        """Ask for A records (``evdns_base_resolve_ipv4``).

        Args:
            name: The name.
            callback: Called as ``callback(request)`` by the loop.
            search: Try the domains of the search list too.
        """
        return self._resolve(name, socket.AF_INET, callback, search)

    def resolve_ipv6(self, name: str, callback: DNSCallback, *, search: bool = True) -> DNSRequest:
        """Ask for AAAA records (``evdns_base_resolve_ipv6``). As resolve_ipv4()."""
        return self._resolve(name, socket.AF_INET6, callback, search)

    def _resolve(self, name: str, family: int, callback: DNSCallback, search: bool) -> DNSRequest:
        raw = _check_name(name, "name")
        number = self._new(callback)
        flags = 0 if search else lib.DNS_QUERY_NO_SEARCH
        handle = lib.pev_dns_resolve(self._h, raw, family, flags, number)
        return DNSRequest._made(self, check_pointer(handle, self), number, name, -1, callback)

    def resolve_reverse(self, host: str, callback: DNSCallback) -> DNSRequest:
        """Ask for the names of a numeric host (``evdns_base_resolve_reverse``, ``evdns_base_resolve_reverse_ipv6``).

        Args:
            host: An IPv4 or IPv6 address.
            callback: Called as ``callback(request)`` by the loop.
        """
        if not host:
            raise ValueError("host must not be empty")
        address = to_c((host, 0), "resolve_ipv4() and resolve_ipv6() take names")
        number = self._new(callback)
        handle = lib.pev_dns_reverse(self._h, address, 0, number)
        return DNSRequest._made(self, check_pointer(handle, self), number, host, -1, callback)

    def _new(self, callback: DNSCallback) -> int:
        check_callable(callback, "callback")
        if callback is None:
            raise TypeError("callback must be callable, not None")
        return next_id()

    # ------------------------------------------------------------ name servers

    def add_nameserver(self, address: Address | str) -> None:
        """Ask this server too (``evdns_base_nameserver_add``, ``evdns_base_nameserver_ip_add``,
        ``evdns_base_nameserver_sockaddr_add``).

        Args:
            address: ``(host, port)``, or text as parse_address() takes it; port 0 or none is 53.
        """
        parts: Any = parse_address(address) if isinstance(address, str) else address
        if not isinstance(parts, tuple):
            raise TypeError(f"address must be a tuple (host, port) or a str, not {type(address).__name__}")
        c_address = to_c(parts, "there is nobody to ask for it yet")
        c_address.port = c_address.port or 53
        check(lib.pev_dns_add_nameserver(self._h, c_address), f"the name server {address!r}")

    @property
    def nameservers(self) -> list[Any]:
        """The servers that are asked (``evdns_base_count_nameservers``, ``evdns_base_get_nameserver_addr``)."""
        out = ffi.new("struct pev_address *")
        found = []
        for i in range(check(lib.pev_dns_count_nameservers(self._h), self)):
            if lib.pev_dns_get_nameserver(self._h, i, out) == 0:
                found.append(from_c(out))
        return found

    def clear_nameservers(self) -> None:
        """Forget all servers and suspend what is under way (``evdns_base_clear_nameservers_and_suspend``)."""
        check(lib.pev_dns_clear_nameservers(self._h), self)

    def resume(self) -> None:
        """Go on with what clear_nameservers() suspended (``evdns_base_resume``)."""
        check(lib.pev_dns_resume(self._h), self)

    # ------------------------------------------------------------ settings

    def set_option(self, name: str, value: str | float) -> None:
        """Set an option of resolv.conf's, or one of evdns's own (``evdns_base_set_option``).

        Args:
            name: ``ndots``, ``timeout`` (seconds), ``attempts``, ``max-timeouts``, ``max-inflight``, ``randomize-case``,
                ``bind-to``, ``initial-probe-timeout``, ``getaddrinfo-allow-skew``, ``so-rcvbuf``, ``so-sndbuf``.
            value: Its value.

        Raises:
            ValueError: There is no such option, or it doesn't take the value.
        """
        if not isinstance(name, str) or name.rstrip(":") not in _OPTIONS:
            raise ValueError(f"name must be one of {', '.join(sorted(_OPTIONS))}, not {name!r}")
        if value == "":
            raise ValueError(f"value must not be empty, for {name}")
        if name.rstrip(":") in _TIMES:
            _check_time(name, value)
        raw = f"{name.rstrip(':')}:".encode()
        check(lib.pev_dns_set_option(self._h, raw, _no_nul(str(value), "value")), f"{name}={value!r}")

    def parse_resolv_conf(self, path: str | os.PathLike[str] = "/etc/resolv.conf", options: DNSOption = _ALL_OPTIONS) -> None:
        """Take settings from a file (``evdns_base_resolv_conf_parse``).

        Raises:
            OSError: The file can't be read.
        """
        with open(path, "rb"):
            pass
        bits = check_flags(options, DNSOption, sum(DNSOption), "options")
        code = check(lib.pev_dns_parse_resolv_conf(self._h, bits, _no_nul(os.fspath(path), "path")), self)
        if 0 < code < len(_RESOLV_CONF) - 1:
            raise OSError(f"{path!r} {_RESOLV_CONF[code]}")

    def load_hosts(self, path: str | os.PathLike[str] = "/etc/hosts") -> None:
        """Take names from a hosts file (``evdns_base_load_hosts``).

        Raises:
            OSError: The file can't be read.
        """
        with open(path, "rb"):
            pass
        check(lib.pev_dns_load_hosts(self._h, _no_nul(os.fspath(path), "path")), f"the hosts file {path!r}")

    def clear_hosts(self) -> None:
        """Forget all names from hosts files (``evdns_base_clear_host_addresses``)."""
        check(lib.pev_dns_clear_hosts(self._h), self)

    def set_search(self, domains: list[str] | tuple[str, ...], *, ndots: int = 1) -> None:
        """The domains to try (``evdns_base_search_clear``, ``evdns_base_search_add``, ``evdns_base_search_ndots_set``).

        Args:
            domains: In their order.
            ndots: A name with so many dots is tried as it is first, from 0 to 15.
        """
        ndots = check_int(ndots, "ndots", 0, 15)
        if isinstance(domains, str):
            raise TypeError("domains must be a list of str, not a str")
        names = [_check_name(domain, "domain") for domain in domains]
        check(lib.pev_dns_search_clear(self._h), self)
        for name in reversed(names):  # evdns puts each before the others
            check(lib.pev_dns_search_add(self._h, name), self)
        check(lib.pev_dns_search_ndots(self._h, ndots), self)

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Cancel what is under way and close (``evdns_base_free``). Idempotent. No callback comes after it."""
        check(lib.pev_dns_close(self._h), self)
        self._closed = True

    @property
    def closed(self) -> bool:
        """Whether it, or its base, is closed."""
        return bool(lib.pev_dns_check(self._h) == -lib.PEV_ECLOSED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _describe(self) -> str:
        code = lib.pev_dns_check(self._h)
        if code < 0:
            return f"<DNSBase {'closed' if code == -lib.PEV_ECLOSED else 'not usable here'}>"
        return f"<DNSBase {len(self.nameservers)} name servers>"

    def __del__(self, _exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        if not _exiting():
            with contextlib.suppress(AttributeError):
                lib.pev_dns_drop(object.__getattribute__(self, "_h"))


_OPTIONS = {
    "ndots",
    "timeout",
    "attempts",
    "max-timeouts",
    "max-inflight",
    "randomize-case",
    "bind-to",
    "initial-probe-timeout",
    "getaddrinfo-allow-skew",
    "so-rcvbuf",
    "so-sndbuf",
}


_TIMES = {"timeout", "initial-probe-timeout", "getaddrinfo-allow-skew"}


def _check_time(name: str, value: str | float) -> None:
    """evdns takes seconds that fit in no int, and not a number, for a time that is over."""
    try:
        good = 0 <= float(value) <= _MOST_SECONDS
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"{name} must be a number of seconds from 0 to {_MOST_SECONDS:g}, not {value!r}")


def _no_nul(text: str, name: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, not {type(text).__name__}")
    if "\0" in text:
        raise ValueError(f"{name} must not contain a zero character: {text!r}")
    return os.fsencode(text)


def _check_name(name: str, what: str) -> bytes:
    """A host name as DNS takes it: IDNA, no longer than it can be."""
    raw = _no_nul(name, what)
    if not name.isascii():
        try:
            raw = name.encode("idna")
        except UnicodeError as error:
            raise ValueError(f"{what} isn't a host name: {name!r}: {error}") from None
    if not 0 < len(raw) <= _MOST_NAME:
        raise ValueError(f"{what} must be 1 to {_MOST_NAME} bytes long, not {len(raw)}")
    return raw


def default_dns(base: EventBase) -> DNSBase:
    """The DNSBase that a base keeps for those who give none."""
    if base.closed:
        raise ClosedError(f"{base!r} is closed")
    if base._resolver is None or base._resolver.closed:
        base._resolver = DNSBase(base)
    dns: DNSBase = base._resolver
    return dns


SocketBufferEvent._resolver_of = default_dns

__all__ = ["DNSBase", "DNSOption", "DNSRequest"]
