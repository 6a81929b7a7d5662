"""The extension that build_ffi.py makes: cffi's two objects, which have no types of their own."""

from typing import Any

ffi: Any
lib: Any
