"""The documents say what is so: names exist, links lead somewhere, examples run and print what they say."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import ROOT, run_child, run_openssl

import pylibevent as ev
from pylibevent._libevent import lib

DOCS = ROOT / "docs"
MAP = DOCS / "c-to-python.md"
UPSTREAM = DOCS / "upstream-tests.md"
LATER = "Functions that only libevent 2.2 has"
HEADERS = ("event", "buffer", "bufferevent", "bufferevent_ssl", "listener", "thread", "util", "dns")
FLAGS = r"EV|EVLOOP|EV_FEATURE|EVENT_BASE|EVENT_LOG|BEV|BUFFEREVENT_SSL|EVBUFFER|EVBUF_FS|LEV_OPT|DNS_OPTION|EVDNS_BASE"


# ---------------------------------------------------------------- the headers that the extension was built with


@cache
def headers(package: str, folder: str) -> dict[str, str]:
    """The text of each header of a package, without comments."""
    command = ["pkg-config", "--variable=includedir", package]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    texts = {path.stem: path.read_text() for path in Path(found, folder).glob("*.h")}
    return {name: re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL) for name, text in texts.items()}


def functions(header: str) -> list[str]:
    """The names of the functions that a header of libevent's exports, in its order."""
    text = headers("libevent", "event2")[header]
    return re.findall(r"EVENT2_EXPORT_SYMBOL\s+[^;(]*?(\w+)\s*\(", text)


def constants(header: str) -> set[str]:
    """The flags that a header defines, as macros or in enums."""
    text = headers("libevent", "event2")[header]
    defined = re.findall(rf"#define\s+((?:{FLAGS})_\w+)\s", text)
    listed = re.findall(rf"^\s*((?:{FLAGS})_\w+)\s*(?:=[^,}}]*)?(?:,|\n?\}})", text, re.MULTILINE)
    return {name for name in {*defined, *listed} if not name.endswith("_")}  # those are libevent's own


def known_to_c(name: str) -> bool:
    """Whether a header of libevent's or OpenSSL's has the name."""
    texts = [*headers("libevent", "event2").values(), *headers("openssl", "openssl").values()]
    return any(re.search(rf"\b{name}\b", text) for text in texts)


# ---------------------------------------------------------------- the map


class Row(NamedTuple):
    section: str
    c: str
    names: tuple[str, ...]
    """What to use; empty where there is nothing."""
    note: str


def tables(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The rows of a document's tables, without their headings, and the title above each."""
    section, seen = "", False
    for line in path.read_text().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        seen = line.startswith("|") and (seen or line.startswith("|---"))
        if seen and not line.startswith("|---"):
            yield section, [cell.strip() for cell in line.strip().strip("|").split("|")]


@cache
def the_map() -> list[Row]:
    rows = []
    for section, (c, python, note) in tables(MAP):
        assert re.fullmatch(r"`\w+`", c), f"not the name of one function: {c}"
        names = tuple(re.findall(r"`([^`]+)`", python))
        assert names or python == "nothing", f"{c}: {python!r} says neither a name nor why there is none"
        assert not names or python == ", ".join(f"`{name}`" for name in names), f"{c}: more than names in {python!r}"
        rows.append(Row(section, c.strip("`"), names, note))
    return rows


def resolve(name: str) -> Any:
    """What a name of the map stands for, such as ``Buffer.write``, ``Listener.bind(backlog=)`` or ``socket.gaierror``."""
    dotted, _, keyword = name.partition("(")
    first, *rest = dotted.split(".")
    if first in ev.__all__:
        found = getattr(ev, first)
    elif first in sys.stdlib_module_names:
        found = importlib.import_module(first)
        while rest and inspect.ismodule(found) and not hasattr(found, rest[0]):
            found = importlib.import_module(f"{found.__name__}.{rest[0]}")
    else:
        found = getattr(builtins, first)
    for part in rest:
        found = member(found, part)
    if keyword:
        assert keyword.removesuffix("=)") in inspect.signature(found).parameters, f"{dotted} has no argument {keyword}"
    return found


def member(owner: Any, name: str) -> Any:
    if inspect.isclass(owner) and "__init__" in vars(owner) and not hasattr(owner, name):
        set_in_init = re.search(rf"\bself\.{name}\b", inspect.getsource(owner.__init__))
        assert set_in_init, f"{owner.__name__} has no attribute {name}"
        return set_in_init
    return getattr(owner, name)


def test_map_has_each_function_once() -> None:
    names = [row.c for row in the_map()]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("header", HEADERS)
def test_map_has_every_function_of_the_header(header: str) -> None:
    there = {row.c for row in the_map() if row.section in (f"event2/{header}.h", LATER)}
    declared = functions(header)
    assert len(declared) >= 7
    assert [name for name in declared if name not in there] == []


def test_map_names_no_function_that_no_header_has() -> None:
    declared = {name for header in HEADERS for name in functions(header)}
    removed = {"evdns_set_transaction_id_fn", "evdns_set_random_bytes_fn"}  # libevent 2.2 has them no more
    rows = [row for row in the_map() if row.section.startswith("event2/")]
    assert len(rows) > 200
    assert [row.c for row in rows if row.c not in declared | removed] == []


def test_map_has_all_that_openssl_has_for_sessions() -> None:
    texts = headers("openssl", "openssl")
    kinds = r"SSL_\w*(?:[sS]ession|SESSION|SSL_SESS|CTX_sess|ticket)\w*|SSL_CTX_[gs]et_timeout|[di]2[di]_SSL_SESSION\w*"
    declared = {name for header in ("ssl", "tls1") for name in re.findall(rf"\b({kinds})\(", texts[header])}
    assert len(declared) > 100
    there = {row.c for row in the_map() if row.section == "openssl/ssl.h: sessions"}
    assert sorted(declared - there) == []


@pytest.mark.parametrize("header", ["event", "buffer", "bufferevent", "bufferevent_ssl", "listener"])
def test_map_has_every_flag_of_the_header(header: str) -> None:
    there = {row.c for row in the_map()}
    found = constants(header)
    assert len(found) >= 3
    assert sorted(name for name in found if name not in there) == []


def test_names_in_the_map_exist() -> None:
    wrong = []
    for row in the_map():
        if row.section == LATER and not known_to_c(row.c):
            continue
        for name in row.names:
            try:
                resolve(name)
            except (AttributeError, AssertionError, ImportError) as error:
                wrong.append(f"{row.c}: {name}: {error}")
    assert wrong == []


def test_map_says_why_there_is_nothing() -> None:
    assert [row.c for row in the_map() if not row.names and not row.note] == []


def test_map_says_which_headers_it_leaves_out() -> None:
    named = set(re.findall(r"`(\w+)\.h`", MAP.read_text().partition("\n## ")[0]))
    there = {
        name for name in headers("libevent", "event2") if not name.endswith(("_compat", "_struct", "-config", "visibility"))
    }
    assert {"http", "rpc", "tag"} <= named
    assert there - set(HEADERS) <= named


def test_flags_in_the_map_have_the_value_of_their_name_in_c() -> None:
    compared = 0
    for row in the_map():
        for name in row.names:
            if hasattr(lib, row.c) and isinstance(value := resolve(name), int) and not name.startswith("logging."):
                assert value == getattr(lib, row.c), f"{row.c} isn't {name}"
                compared += 1
    assert compared > 40


# ---------------------------------------------------------------- docstrings


def docstrings() -> Iterator[tuple[str, str]]:
    """All docstrings of the package, those below attributes too, and whose they are."""
    for path in sorted((ROOT / "pylibevent").rglob("*.py")):
        yield from in_body(ast.parse(path.read_text()), "")


def in_body(node: ast.AST, owner: str) -> Iterator[tuple[str, str]]:
    last = owner
    for child in getattr(node, "body", ()):
        match child:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield last, text
            case ast.ClassDef() | ast.FunctionDef():
                yield from in_body(child, f"{owner}.{child.name}".strip("."))
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                last = f"{owner}.{name}".strip(".")
            case ast.Assign(targets=[ast.Attribute(attr=name)]) if owner.endswith(".__init__"):
                last = f"{owner.removesuffix('.__init__')}.{name}"
            case ast.If():
                yield from in_body(child, owner)


def quoted(text: str) -> list[str]:
    """The names of C that a docstring quotes."""
    return re.findall(r"``((?:ev|bufferevent|libevent|SSL|BIO|X509)[a-zA-Z]*_\w*[a-z0-9])``", text)


def test_docstrings_name_only_what_c_has() -> None:
    only_later = {row.c for row in the_map() if row.section == LATER}
    named = [(owner, name) for owner, text in docstrings() for name in quoted(text)]
    assert len(named) > 150
    assert [(owner, name) for owner, name in named if name not in only_later and not known_to_c(name)] == []


def test_docstrings_and_the_map_agree() -> None:
    """Where docstrings name a function, one of those they stand at is what the map says."""
    owners: dict[str, set[str]] = {}
    for owner, text in docstrings():
        for name in quoted(text):
            owners.setdefault(name, set()).add(owner)
    rows = {row.c: {name.partition("(")[0] for name in row.names} for row in the_map()}
    wrong = {
        name: f"docstrings: {sorted(there)}, the map: {sorted(rows[name])}"
        for name, there in owners.items()
        if name in rows and not rows[name] & there and not any(name in (resolve(n).__doc__ or "") for n in rows[name])
    }
    assert wrong == {}


# ---------------------------------------------------------------- tests of upstream's


def test_re_creations_exist() -> None:
    wrong = []
    for _, (name, where) in tables(UPSTREAM):
        named = re.findall(r"`(tests/\w+\.py)::(\w+)`", where)
        if not named and not where.startswith(("can't apply: ", "later: ")):
            wrong.append(f"{name}: neither a test nor a reason")
        wrong += [f"{name}: there is no {path}::{test}" for path, test in named if test not in the_tests_of(path)]
    assert wrong == []


def test_each_upstream_test_is_listed_once() -> None:
    names = [upstream_key(name.strip("`")) for _, (name, _) in tables(UPSTREAM)]
    assert len(names) > 200
    assert sorted(set(names)) == sorted(names)


def test_upstream_tests_that_tests_name_are_listed() -> None:
    listed = {upstream_key(name.strip("`")): where for _, (name, where) in tables(UPSTREAM)}
    named = [(path, test, name) for path, test, doc in documented_tests() for name in upstream_names(doc)]
    assert named
    assert [item for item in named if f"`{item[0]}::{item[1]}`" not in listed.get(upstream_key(item[2]), "")] == []


@cache
def the_tests_of(path: str) -> dict[str, str]:
    """The tests of a file and their docstrings."""
    tree = ast.parse((ROOT / path).read_text()) if (ROOT / path).exists() else ast.Module([], [])
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    return {"": "", **{node.name: ast.get_docstring(node) or "" for node in nodes}}


def documented_tests() -> Iterator[tuple[str, str, str]]:
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        name = f"tests/{path.name}"
        yield from ((name, test, doc) for test, doc in the_tests_of(name).items() if doc)


def upstream_names(doc: str) -> list[str]:
    """``regress.c main/simpleread, simplewrite: ...`` names two, ``connect{,_defer}`` too, ``test-eof.c: ...`` one."""
    found = re.match(r"((?:regress\w*|test-\w+)\.c)(?:\s+([^:]*))?(?=:|$)", doc)
    if found is None:
        return []
    file, names = found.groups()
    if not names:
        return [file]
    parts = re.split(r",(?![^{]*\})|\band\b", names)
    return [f"{file} {name}" for part in parts for name in unfold(part.strip()) if name]


def unfold(name: str) -> list[str]:
    """``a{,_b}`` is ``a`` and ``a_b``."""
    found = re.match(r"(.*?)\{(.*?)\}(.*)", name)
    if found is None:
        return [name]
    head, choices, tail = found.groups()
    return [whole for choice in choices.split(",") for whole in unfold(head + choice.strip() + tail)]


def upstream_key(name: str) -> tuple[str, str]:
    """The file and the test's own name: groups, and the prefix that most names of a file share, may be left out."""
    file, _, test = name.partition(" ")
    return file, test.rpartition("/")[2].removeprefix("bufferevent_")


# ---------------------------------------------------------------- links and examples


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def prose(path: Path) -> str:
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """What headings are called in links, as GitHub makes it."""
    titles = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue  # another site's
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{target} isn't there"
        assert not anchor or anchor in anchors(path), f"{path.name} has no heading {anchor}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_files_that_pages_name_are_there(page: Path) -> None:
    named = re.findall(r"`((?:benchmarks|csrc|docs|examples|pylibevent|tests)/[a-z][a-z0-9_./-]*)`", prose(page))
    assert [path for path in named if not (ROOT / path).exists()] == []


class Example(NamedTuple):
    page: str
    line: int
    code: str
    output: str


def examples() -> list[Example]:
    """The Python blocks of docs/, with the ``text`` block that follows, if one does: what they print."""
    found = []
    fence = re.compile(r"^```python\n(.*?)^```\n(?:\s*```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text()
        for match in fence.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Example(page.name, line, match[1], match[2] or ""))
    return found


def test_examples_run_and_print_what_they_say(tmp_path: Path) -> None:
    """Each in a process of its own, in a folder with what the guide's openssl command writes; a warning is a failure."""
    run_openssl(DOCS / "guide.md", tmp_path)
    enter = f"import os; os.chdir({str(tmp_path)!r})\n"

    def failure(example: Example) -> str:
        done = run_child(enter + example.code)
        told = (done.returncode, done.stdout, done.stderr)
        return "" if told == (0, example.output, "") else f"{example.page}:{example.line}: {told}"

    with ThreadPoolExecutor(4) as pool:
        failures = [text for text in pool.map(failure, examples()) if text]
    assert examples()
    assert failures == []
