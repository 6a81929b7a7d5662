"""Ten thousand handshakes that fail, each in one of all the ways there are, cost nothing that lasts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from support import check_child


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
@pytest.mark.parametrize("form", ["over", "direct"])
def test_ten_thousand_failed_handshakes(certificates: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """After the first thousand: no more memory in use, no descriptor, handle or event left."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "others.pem"))
    monkeypatch.setenv("PYTHONMALLOC", "malloc")
    files = certificates.cert, certificates.key, certificates.ca, str(tmp_path / "others.pem")
    code = "import sys; from failed_handshakes import main; main(*sys.argv[1:])"
    said = check_child(code, *files, form, "10000", timeout=120)
    in_use, resident, *counts = map(int, said.split())
    assert counts == [0, 0, 0, 0]
    assert in_use < 200_000, "bytes; each costs 50 kB while it lasts"
    assert resident < 3_000_000, "bytes"
