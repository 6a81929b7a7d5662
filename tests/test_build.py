"""How it is built and loaded: what is missing is said, the wheel holds what it should, wrong libraries are refused."""

from __future__ import annotations

import email
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from support import ROOT

COMPILER = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
SYSTEMS = ["Debian: apt install ", "Fedora: dnf install ", "macOS: "]
LIBEVENT = ["libevent_core", "libevent_extra", "libevent_openssl", "libevent_pthreads", "libevent"]
OPENSSL = ["libssl", "libcrypto"]


def run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the build needs."""
    return copy_tree(tmp_path / "tree")


def copy_tree(target: Path) -> Path:
    leave = shutil.ignore_patterns("*.o", "*.so", "_libevent.c", "__pycache__")
    for name in ("csrc", "pylibevent", "examples", "docs", "tests", ".ci"):
        shutil.copytree(ROOT / name, target / name, ignore=leave)
    for name in ("build_ffi.py", "setup.py", "pyproject.toml", "MANIFEST.in", "Makefile", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, target)
    return target


@pytest.fixture
def path_of(tmp_path: Path) -> Path:
    """A PATH that has the compiler and pkg-config, and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in (COMPILER[0], "pkg-config"):
        program = shutil.which(name)
        assert program is not None
        (folder / Path(name).name).symlink_to(Path(program).resolve())
    return folder


def pkg_config_files(folder: Path, *packages: str, version: str | None = None) -> str:
    """A directory where pkg-config finds these packages, in their own or another version, and no others."""
    folder.mkdir(exist_ok=True)
    for package in packages:
        where = subprocess.run(
            ["pkg-config", "--variable=pcfiledir", package], capture_output=True, text=True, check=True
        ).stdout.strip()
        text = Path(where, f"{package}.pc").read_text()
        if version is not None:
            text = re.sub(r"^Version:.*", f"Version: {version}", text, flags=re.MULTILINE)
        (folder / f"{package}.pc").write_text(text)
    return str(folder)


def stops(tree: Path, **variables: str) -> str:
    """The one sentence with which the build ends; nothing was compiled."""
    done = run(sys.executable, "build_ffi.py", cwd=tree, **variables)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"pylibevent can't be built without [^\n]*\.\n", done.stderr), done.stderr
    for system in SYSTEMS:
        assert system in done.stderr
    assert not list(tree.glob("pylibevent/_libevent.*o"))
    return done.stderr


# ---------------------------------------------------------------- what is missing


def test_without_pkg_config_the_build_names_its_package(tree: Path, path_of: Path) -> None:
    (path_of / "pkg-config").unlink()
    sentence = stops(tree, PATH=str(path_of))
    assert "without pkg-config (" in sentence
    assert "apt install pkg-config;" in sentence


def test_without_a_compiler_the_build_names_its_package(tree: Path, path_of: Path) -> None:
    (path_of / Path(COMPILER[0]).name).unlink()
    sentence = stops(tree, PATH=str(path_of), CC="cc")
    assert "a C compiler" in sentence
    assert "apt install build-essential;" in sentence


def test_with_a_compiler_that_fails_the_build_names_its_package(tree: Path) -> None:
    assert "a C compiler that works" in stops(tree, CC="false")


def test_without_libevent_the_build_names_its_package(tree: Path, tmp_path: Path) -> None:
    there = pkg_config_files(tmp_path / "pc", *OPENSSL)
    sentence = stops(tree, PKG_CONFIG_LIBDIR=there, PKG_CONFIG_PATH="")
    assert "apt install libevent-dev;" in sentence
    assert "dnf install libevent-devel;" in sentence
    assert "brew install libevent)" in sentence


def test_without_openssl_the_build_names_its_package(tree: Path, tmp_path: Path) -> None:
    there = pkg_config_files(tmp_path / "pc", *LIBEVENT)
    sentence = stops(tree, PKG_CONFIG_LIBDIR=there, PKG_CONFIG_PATH="")
    assert "apt install libssl-dev;" in sentence
    assert "dnf install openssl-devel;" in sentence
    assert "brew install openssl@3)" in sentence


def test_with_an_old_libevent_the_build_says_which_it_wants(tree: Path, tmp_path: Path) -> None:
    there = pkg_config_files(tmp_path / "pc", *OPENSSL)
    pkg_config_files(tmp_path / "pc", *LIBEVENT, version="2.0.22-stable")
    assert "libevent 2.1.12 or later" in stops(tree, PKG_CONFIG_LIBDIR=there, PKG_CONFIG_PATH="")


def test_with_an_old_openssl_the_build_says_which_it_wants(tree: Path, tmp_path: Path) -> None:
    there = pkg_config_files(tmp_path / "pc", *LIBEVENT)
    pkg_config_files(tmp_path / "pc", *OPENSSL, version="1.1.1w")
    assert "OpenSSL 3.0 or later" in stops(tree, PKG_CONFIG_LIBDIR=there, PKG_CONFIG_PATH="")


def test_pip_shows_the_sentence(tree: Path) -> None:
    done = run(*pip_wheel(tree), cwd=tree, PKG_CONFIG_LIBDIR="", PKG_CONFIG_PATH="")
    assert done.returncode != 0
    assert "pylibevent can't be built without OpenSSL" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


# ---------------------------------------------------------------- the wheel, from the sdist


def pip_wheel(source: Path) -> list[str | Path]:
    command = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-index", "--no-deps"]
    return [*command, "--no-build-isolation", "--wheel-dir", source / "dist", source]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked sdist."""
    folder = tmp_path_factory.mktemp("sdist")
    tree = copy_tree(folder / "tree")
    done = run(sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", folder, cwd=tree)
    assert done.returncode == 0, done.stderr
    (archive,) = folder.glob("pylibevent-*.tar.gz")
    assert run("tar", "-xf", archive, cwd=folder).returncode == 0
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """The wheel that the sdist makes."""
    done = run(*pip_wheel(sdist), cwd=sdist)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = (sdist / "dist").glob("*.whl")
    return made


def test_the_sdist_has_what_a_stranger_needs(sdist: Path) -> None:
    for folder, patterns in (
        ("csrc", ["*.c", "*.h"]),
        ("pylibevent", ["*.py", "*/*.py", "*.pyi", "py.typed"]),
        ("tests", ["*.py"]),
        ("examples", ["*.py"]),
        (".ci", ["*"]),
    ):
        for pattern in patterns:
            here = {path.name for path in (ROOT / folder).glob(pattern) if path.is_file()}
            there = {path.name for path in (sdist / folder).glob(pattern) if path.is_file()}
            assert here
            assert here == there
    for name in ("LICENSE", "README.md", "Makefile", "build_ffi.py"):
        assert (sdist / name).is_file()


def test_the_wheel_fits_python_3_11_and_later_and_needs_cffi_only(wheel: Path) -> None:
    assert re.fullmatch(r"pylibevent-[\w.]+-cp311-abi3-\w+\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith("/METADATA"))
        metadata = email.message_from_bytes(packed.read(name))
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert [re.split(r"\W", line)[0] for line in needed] == ["cffi"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "BSD-3-Clause"


def test_the_wheel_has_every_module_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        there = {name for name in packed.namelist() if ".dist-info/" not in name}
    here = {str(path.relative_to(ROOT)) for kind in ("*.py", "*.pyi") for path in (ROOT / "pylibevent").rglob(kind)}
    assert there == {*here, "pylibevent/py.typed", "pylibevent/_libevent.abi3.so"}


def test_the_wheel_runs_the_demo(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path)
    code = "import pylibevent, runpy, sys; print(pylibevent.__file__); runpy.run_path(sys.argv[1], run_name='__main__')"
    done = run(sys.executable, "-c", code, str(ROOT / "examples/demo.py"), cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(str(tmp_path / "pylibevent"))
    assert done.stdout.endswith("everything as it should be\n")


def test_libevent_is_loaded_once() -> None:
    """libevent.so has the same globals as libevent_core.so: a process must not have both."""
    code = "import pylibevent; print(open('/proc/self/maps').read())"
    done = run(sys.executable, "-c", code, cwd=ROOT)
    assert set(re.findall(r"/(libevent\w*)[-.]", done.stdout)) == {*LIBEVENT} - {"libevent"}


# ---------------------------------------------------------------- building again


@pytest.mark.parametrize("name", ["csrc/event.c", "csrc/event.cdef.h", "csrc/pylibevent.h", "build_ffi.py", "setup.py"])
def test_make_builds_again_when_a_source_changes(name: str, tree: Path) -> None:
    venv = tree / ".venv"
    (venv / "bin").mkdir(parents=True)
    for age, path in enumerate((venv / "built", venv / "build.txt", venv / "bin/python")):
        path.touch()
        os.utime(path, (2e9 - age, 2e9 - age))  # newer than all sources
    assert "building the extension" not in would_do(tree)
    os.utime(tree / name, (2e9 + 1, 2e9 + 1))
    assert "building the extension" in would_do(tree)


def would_do(tree: Path) -> str:
    """What `make build` would do."""
    done = run("make", "--dry-run", "build", cwd=tree)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---------------------------------------------------------------- other libraries than those it was built with


def import_with(tmp_path: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Import the library while these C functions stand before those of libevent and OpenSSL."""
    source, shim = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(code)
    subprocess.run([*COMPILER, "-shared", "-fPIC", "-o", shim, source], check=True)
    show = "import pylibevent as ev; print(ev.libevent_version, '|', ev.openssl_version)"
    return run(sys.executable, "-W", "error", "-c", show, cwd=ROOT, LD_PRELOAD=str(shim))


def libevent_that_says(number: str, name: str) -> str:
    return (
        f"unsigned event_get_version_number(void) {{ return {number}; }}\n"
        f'const char *event_get_version(void) {{ return "{name}"; }}\n'
    )


def openssl_that_says(number: str, name: str) -> str:
    return (
        f"unsigned long OpenSSL_version_num(void) {{ return {number}; }}\n"
        f'const char *OpenSSL_version(int what) {{ return "{name}"; }}\n'
    )


def versions() -> tuple[str, str]:
    """What it was compiled against, as the headers here say."""
    found = [
        subprocess.run(["pkg-config", "--modversion", name], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libevent_core", "libssl")
    ]
    return found[0], found[1]


@pytest.mark.parametrize(
    ("number", "name"),
    [("0x02000a00", "2.0.10-stable"), ("0x02010800", "2.1.8-stable"), ("0x02030001", "2.3.0-alpha"), ("0x03000000", "3.0")],
)
def test_another_libevent_is_refused(number: str, name: str, tmp_path: Path) -> None:
    done = import_with(tmp_path, libevent_that_says(number, name))
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert name in last
    assert versions()[0] in last


def test_a_libevent_with_another_struct_event_is_refused(tmp_path: Path) -> None:
    done = import_with(tmp_path, "#include <stddef.h>\nsize_t event_get_struct_event_size(void) { return 8; }\n")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: ")


@pytest.mark.parametrize(
    ("number", "name"), [("0x1010117fL", "OpenSSL 1.1.1w"), ("0x20000000L", "OpenSSL 2.0"), ("0x40000000L", "OpenSSL 4.0.0")]
)
def test_another_openssl_is_refused(number: str, name: str, tmp_path: Path) -> None:
    done = import_with(tmp_path, openssl_that_says(number, name))
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert name in last
    assert versions()[1] in last


def test_later_libraries_of_the_same_interface_are_taken(tmp_path: Path) -> None:
    series = "0x0201ff00" if versions()[0].startswith("2.1.") else "0x0202ff00"
    code = libevent_that_says(series, "a later one") + openssl_that_says("0x30f00000L", "OpenSSL 3.15.0")
    done = import_with(tmp_path, code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "a later one | OpenSSL 3.15.0\n"


def test_what_a_bug_report_should_say() -> None:
    done = run(sys.executable, "-W", "error", "-m", "pylibevent", cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    said = dict(re.findall(r"^(.*?): +(.*)$", done.stdout, re.MULTILINE))
    assert list(said) == ["pylibevent", "libevent", "OpenSSL", "cffi", "Python", "system", "back end", "features", "methods"]
    assert said["libevent"].startswith(versions()[0].split("-")[0])
    assert said["back end"] in said["methods"].split(", ")
