"""Files of tensors that appear under their name only when they are whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from utils.io.atomic import atomic_path


def save(path: Path, content: Any) -> None:
    """What torch.save writes, synced to the disk; raises OutputError."""
    # Into an open file: writing to a name, PyTorch does not say why it failed.
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # its own complaint about the file that was cut short hides it
                raise error.__context__ from error
            raise
        file.flush()
        os.fsync(file.fileno())
