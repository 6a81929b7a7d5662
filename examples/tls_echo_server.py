"""An echo server over TLS: what a client sends, it gets back.

    python tls_echo_server.py --port 9999 --cert cert.pem --key key.pem [--host 127.0.0.1] [--mode copy|move|relay]

Everything but the TLS is echo_server.py's.
"""

from __future__ import annotations

import socket

from echo_server import arguments, serve

import pylibevent as ev


def main() -> None:
    parser = arguments("Echo what clients send, over TLS.")
    parser.add_argument("--cert", required=True, help="a PEM file: the certificate, then those between it and the authority")
    parser.add_argument("--key", required=True, help="a PEM file: the certificate's private key, not encrypted")
    options = parser.parse_args()
    try:
        ctx = ev.TLSContext.server(options.cert, options.key)
    except OSError as error:
        raise SystemExit(f"can't use the certificate {options.cert} with the key {options.key}: {error}") from None

    def accept(base: ev.EventBase, sock: socket.socket) -> ev.TLSBufferEvent:
        return ev.TLSBufferEvent.accept(base, sock, ctx)

    serve(options, accept)


if __name__ == "__main__":
    main()
