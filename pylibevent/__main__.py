"""``python -m pylibevent``: what a bug report should say."""

import platform
import sys

import cffi

import pylibevent as ev


def main() -> None:
    """Print versions, back end, features and methods."""
    with ev.EventBase() as base:
        method, features = base.method, base.features
    rows = (
        ("pylibevent", ev.__version__),
        ("libevent", ev.libevent_version),
        ("OpenSSL", ev.openssl_version),
        ("cffi", cffi.__version__),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("system", platform.platform()),
        ("back end", method),
        ("features", ", ".join(str(flag.name) for flag in ev.Feature if flag in features)),
        ("methods", ", ".join(ev.supported_methods())),
    )
    for name, value in rows:
        sys.stdout.write(f"{name + ':':<12}{value}\n")


if __name__ == "__main__":
    main()
