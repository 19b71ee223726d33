"""The program's name and version, as its results, --version and --json say them."""

from __future__ import annotations

NAME, VERSION = "GHOST", "1.0.0"
TOOL = f"{NAME} {VERSION}"
