"""Every test leaves the process as it found it, and gets a base that is closed after it."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import sessions
import trustme
from support import GIVE_UP, descriptors, each_back_end, left_over

import pylibevent as ev
from pylibevent.tls import resumption

hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.load_profile("default")


_failed = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--plain-io", action="store_true", help="without the fast path of plain sockets")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--plain-io"):
        defaults = ev.EventBase.__init__.__kwdefaults__
        assert defaults is not None
        defaults["fast_io"] = False
    resumption.SLOW = GIVE_UP  # on a busy machine any answer of a session store may be slow


def pytest_collection_finish() -> None:
    """What is there before the first test stays: the looks at what is left over needn't go through all of it each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


@pytest.fixture(autouse=True)
def nothing_left_over(request: pytest.FixtureRequest) -> Iterator[None]:
    """Descriptors and objects are as many after the test as before."""
    before, open_before = left_over(), descriptors()
    yield
    if request.node.stash.get(_failed, False):
        return  # its traceback keeps what it used
    request.node.funcargs.clear()  # pytest would keep them
    after = left_over()
    assert all(after[name] <= before[name] for name in before), (
        f"{before} -> {after}, new descriptors: { {n: t for n, t in descriptors().items() if n not in open_before} }"
    )


@pytest.fixture
def base() -> Iterator[ev.EventBase]:
    with ev.EventBase() as base:
        yield base


@pytest.fixture(params=zip(ev.supported_methods(), each_back_end(), strict=True), ids=ev.supported_methods())
def any_base(request: Any) -> Iterator[ev.EventBase]:
    """A base on each back end."""
    method, config = request.param
    with ev.EventBase(config) as base:
        assert base.method == method
        yield base


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Sessions are the same in both forms of TLS."""
    if getattr(metafunc.module, "BOTH_FORMS", False) and "base" in metafunc.fixturenames:
        metafunc.parametrize("direct_form", [False, True], ids=["over", "direct"], indirect=True)


@pytest.fixture(autouse=True)
def direct_form(request: Any) -> Iterator[None]:
    """Which form sessions.py uses."""
    sessions.DIRECT = getattr(request, "param", False)
    yield
    sessions.DIRECT = False


@pytest.fixture
def rng() -> random.Random:
    """Random numbers; a failing test shows their seed. PYLIBEVENT_SEED repeats them."""
    seed = int(os.environ.get("PYLIBEVENT_SEED") or random.SystemRandom().getrandbits(32))
    print(f"PYLIBEVENT_SEED={seed}")
    return random.Random(seed)


class Certificates:
    """Files of an authority and of a server certificate it issued."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca = str(folder / "ca.pem")
        self.cert = str(folder / "cert.pem")
        self.key = str(folder / "key.pem")
        self.authority.cert_pem.write_to_path(self.ca)
        issued = self.authority.issue_cert("localhost", "127.0.0.1", "::1", "server.test")
        Path(self.cert).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.key)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: Any) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))
