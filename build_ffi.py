"""Makes the extension pylibevent._libevent from csrc/: the only place that does.

csrc/NAME.cdef.h is a C header and, once the preprocessor lines are taken out, what Python sees of csrc/NAME.c.
Environment: PYLIBEVENT_DEVELOP=1 turns warnings in csrc/ into errors; CC, CFLAGS and LDFLAGS work as always.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, NoReturn

from cffi import FFI

HERE = Path(__file__).parent
CSRC = HERE / "csrc"
NAMES = ["library", "util", "loop", "base", "event", "fork", "buffer", "bufferevent", "listener", "dns"]
NAMES += ["pair", "filter", "ratelimit", "relay"]
NAMES += ["tls", "ssl", "handshake", "ask", "credentials", "hello", "verify", "ciphers", "psk", "keylog", "decode", "direct"]
NAMES += ["finish", "inspect", "session", "ticket", "seal", "pause", "certify", "offer", "approve", "deadline"]
SOURCES = [*NAMES, "visit", "source", "pass", "wake", "rest", "signals", "listing"]
SOURCES += ["content", "chains", "search", "span", "change", "reference", "lending"]
SOURCES += ["transfer", "settings", "watermark", "socket", "closing", "linger", "farewell", "lastwords", "idle", "pump"]
SOURCES += ["group", "meter", "clock", "fast", "fresh", "resolve"]
SOURCES += ["accept", "below", "stream", "records", "room", "rekey", "resumption", "link", "cache", "policy"]

# Called with Python's lock held, since they take little more time than giving it up, and never wait.
SHORT = ["pev_bev_take_fresh", "pev_bev_write_short", "pev_bev_write_fresh"]
KEEP_LOCK = """
#undef Py_BEGIN_ALLOW_THREADS
#undef Py_END_ALLOW_THREADS
#define Py_BEGIN_ALLOW_THREADS { PyThreadState *_save = keeps_lock(__func__) ? NULL : PyEval_SaveThread();
#define Py_END_ALLOW_THREADS if (_save != NULL) PyEval_RestoreThread(_save); }

static inline int
keeps_lock(const char *name)
{
	return %s;
}
"""

# Never libevent: it holds the same globals as libevent_core a second time.
# OpenSSL first: where it is missing, pkg-config may miss libevent_openssl too.
PACKAGES = ["libcrypto", "libssl", "libevent_core", "libevent_extra", "libevent_openssl", "libevent_pthreads"]
LIBRARIES = ["event_core", "event_extra", "event_openssl", "event_pthreads", "ssl", "crypto"]

# The oldest that csrc/ was written for.
OLDEST = {"libevent": "2.1.12", "openssl": "3.0"}

INSTALL = {
    "pkg-config": "pkg-config (Debian: apt install pkg-config; Fedora: dnf install pkgconf-pkg-config; "
    "macOS: brew install pkgconf)",
    "compiler": "a C compiler that works (Debian: apt install build-essential; Fedora: dnf install gcc; "
    "macOS: xcode-select --install)",
    "python": "Python's headers (Debian: apt install python3-dev; Fedora: dnf install python3-devel; "
    "macOS: brew install python)",
    "libevent": f"libevent {OLDEST['libevent']} or later and its headers (Debian: apt install libevent-dev; "
    "Fedora: dnf install libevent-devel; macOS: brew install libevent)",
    "openssl": f"OpenSSL {OLDEST['openssl']} or later and its headers (Debian: apt install libssl-dev; "
    "Fedora: dnf install openssl-devel; macOS: brew install openssl@3)",
}


def stop(missing: str) -> NoReturn:
    """End the build with one sentence that says what to install."""
    raise SystemExit(f"pylibevent can't be built without {INSTALL[missing]}.")


def pkg_config(*arguments: str) -> list[str]:
    """What pkg-config prints, split as a shell would."""
    program = os.environ.get("PKG_CONFIG", "pkg-config")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
    return shlex.split(done.stdout)


def compiles(code: str, *options: str) -> bool:
    """Whether the compiler that setuptools will use is there and takes this."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    command = [*compiler, *options, "-x", "c", "-E", "-o", os.devnull, "-"]
    try:
        return subprocess.run(command, input=code, capture_output=True, text=True, check=False).returncode == 0
    except OSError:
        return False


def check_tools() -> None:
    """Say what is missing before a compiler says it in a hundred lines."""
    if shutil.which(os.environ.get("PKG_CONFIG", "pkg-config")) is None:
        stop("pkg-config")
    if not compiles("#include <stdlib.h>"):
        stop("compiler")
    if not compiles("#include <Python.h>", *(f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude"))):
        stop("python")
    for package in PACKAGES:
        library = "libevent" if package.startswith("libevent") else "openssl"
        try:
            pkg_config(f"--atleast-version={OLDEST[library]}", package)
        except subprocess.CalledProcessError:
            stop(library)


def flags() -> dict[str, Any]:
    """Where the headers and libraries are. The libraries' names are ours: pkg-config would add -levent."""
    return {
        "include_dirs": ["csrc", *(f[2:] for f in pkg_config("--cflags-only-I", *PACKAGES))],
        "library_dirs": [f[2:] for f in pkg_config("--libs-only-L", *PACKAGES)],
        "extra_compile_args": ["-std=gnu11", "-fvisibility=hidden", *warnings()],
        "libraries": LIBRARIES,
    }


def warnings() -> list[str]:
    """Strict for those who work on csrc/, lenient for compilers we have not met."""
    if os.environ.get("PYLIBEVENT_DEVELOP"):
        return ["-Wall", "-Wextra", "-Werror", "-Wno-error=missing-field-initializers", "-Wno-unused-parameter"]
    return []


def declarations(name: str) -> str:
    """What cffi shall read of NAME.cdef.h: the C without the lines that only the preprocessor understands."""
    text = (CSRC / f"{name}.cdef.h").read_text()
    return re.sub(r"^#(ifdef|ifndef|endif|else|include).*\n", "", text, flags=re.MULTILINE)


def preamble() -> str:
    """What the generated C begins with."""
    short = " || ".join(f'__builtin_strcmp(name, "_cffi_f_{name}") == 0' for name in SHORT)
    return '#include "pylibevent.h"\n' + KEEP_LOCK % short


def make_builder() -> FFI:
    """The FFI that setuptools asks for."""
    check_tools()
    builder = FFI()
    for name in NAMES:
        builder.cdef(declarations(name))
    builder.set_source(
        "pylibevent._libevent",
        preamble(),
        sources=[f"csrc/{name}.c" for name in SOURCES],
        depends=["build_ffi.py", "setup.py", *(str(p.relative_to(HERE)) for p in sorted(CSRC.glob("*.h")))],
        py_limited_api=True,
        **flags(),
    )
    return builder


ffibuilder = make_builder()

if __name__ == "__main__":
    os.chdir(HERE)
    ffibuilder.compile(verbose="-v" in sys.argv)
