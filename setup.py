"""setuptools needs to be told of cffi's builder here; everything else stands in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["build_ffi.py:ffibuilder"], options={"bdist_wheel": {"py_limited_api": "cp311"}})
