"""Prints what pyproject.toml requires: for "build", or an extra ("demo", "test", "check"), a requirement a line."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(__file__).parent.parent.joinpath("pyproject.toml").read_text())
extras = {"build": project["build-system"]["requires"], **project["project"]["optional-dependencies"]}
for name in sys.argv[1:]:
    print(*extras[name], sep="\n")
