"""What became of every photo, one line each, so that a stopped run goes on where it was."""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from utils.errors import InputError, OptionError
from utils.io.atomic import atomic_path, output_error

FILE = "records.jsonl"
_DIGITS = 12  # of a checksum in a message
_NAMES = {"keypoints_sha256": "SHA-256 of --keypoints", "detector": "detector", "identity_encoder": "identity encoder"}


@dataclass(frozen=True, slots=True)
class Record:
    """One photo: the crop that it gave, or why it gave none. All of a data set are in memory, which may be millions."""

    file: str  # of the photo, from the data set's folder
    identity: str
    stamp: str
    crop: str = ""  # of the crop, from the result's folder; empty: refused
    reason: str = ""  # why it was refused
    kps: array[float] = field(default_factory=lambda: array("d"))  # x1, y1 to y5, pixels of the stored crop
    template: int = -1
    score: float = 0.0
    agreement: float | None = None  # cosine with the person's other photos

    def as_line(self) -> str:
        """The record as a line of the file, which holds keypoints as five pairs."""
        pairs = list(zip(self.kps[::2], self.kps[1::2], strict=True))
        return json.dumps({field.name: getattr(self, field.name) for field in fields(self)} | {"kps": pairs}) + "\n"


def _record(line: str) -> Record:
    """The record of a line, equal texts kept once; raises ValueError, TypeError or KeyError where it is none."""
    facts = dict(json.loads(line))
    facts["kps"] = array("d", chain.from_iterable(facts["kps"]))
    facts["identity"] = sys.intern(facts["identity"])
    if facts["crop"] == facts["file"]:
        facts["crop"] = facts["file"]
    return Record(**facts)


class Journal:
    """The records of a result folder: earlier ones at the start, new ones appended as they come.

    Nothing is written before the first `add`: a run that fails at once leaves no options for the next to differ from.
    """

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        """Raises OptionError where the folder was made with other options, InputError where it cannot be read."""
        self.path, self._options = folder / FILE, options
        self.records: dict[str, Record] = {}
        self._photo_of: dict[str, str] = {}  # by crop
        self._file: TextIO | None = None
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        try:
            with self.path.open(encoding="utf-8") as file:
                self._compare(file.readline())
                for line in file:
                    # The line that was being written when the run was stopped is none; its photo is done again.
                    with suppress(ValueError, TypeError, KeyError):
                        self._take(_record(line))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {self.path}: {error}") from error

    def _take(self, record: Record) -> None:
        """A crop is that of the photo which was cut last: another one of which it was has none any more."""
        before = self.records.get(self._photo_of.get(record.crop, ""))
        if before is not None and before.crop == record.crop:
            del self.records[before.file]
        if record.crop:
            self._photo_of[record.crop] = record.file
        self.records[record.file] = record

    def _compare(self, first: str) -> None:
        """Raises OptionError that names the options that differ. first: the file's first line, which holds them."""
        try:
            made_with = dict(json.loads(first)["options"])
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{self.path}: the first line holds no options; expected what preprocess_vgg.py writes; "
                             "give another --save_path, or delete the folder") from error
        differences = [f"{_NAMES.get(name, f'--{name}')} {_text(made_with.get(name, 'not noted'))}, now {_text(value)}"
                       for name, value in self._options.items() if made_with.get(name) != value]
        if differences:
            raise OptionError(f"{self.path.parent} was made with other options: {'; '.join(differences)}. Give the "
                              "same as then or another --save_path, or delete the folder first")

    def __enter__(self) -> Journal:
        return self

    def _open(self) -> TextIO:
        """Write what was read once more, without a broken last line, and open the file for more."""
        with atomic_path(self.path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps({"options": self._options}) + "\n")
            file.writelines(record.as_line() for record in self.records.values())
        return self.path.open("a", encoding="utf-8")

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with suppress(OSError):  # of a disk that is full, which was said when a record did not fit
                self._file.close()

    def add(self, records: Iterable[Record]) -> None:
        """Append records, all or none where the work is stopped meanwhile; raises OutputError, for example when the
        disk is full."""
        new = {record.file: record for record in records}
        try:
            self._file = self._file or self._open()
            self._file.write("".join(record.as_line() for record in new.values()))
            self._file.flush()
            for record in new.values():
                self._take(record)
        except OSError as error:
            raise output_error(self.path, error) from error


def _text(value: Any) -> str:
    """An option's value, or a model, in a message."""
    if value is None:
        return "none"
    if not isinstance(value, dict):
        return str(value)
    threshold = f"threshold {value['threshold']:g}, " if "threshold" in value else ""
    return f"{value['name']} ({threshold}SHA-256 {value['sha256'][:_DIGITS]}...)"
