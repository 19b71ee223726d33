"""The crop that GHOST's numbers are given for; apart from all else, so that command lines need no NumPy for it."""

from __future__ import annotations

BASE = 224  # side in pixels
