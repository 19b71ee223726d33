"""What a run gave: index.csv for training, report.json for programs, contact_sheet.jpg for eyes."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from utils import set_index
from utils.errors import InputError, NoFaceInTargetError
from utils.io.atomic import atomic_path
from utils.io.folder import INDEX, SHEET
from utils.io.image import Photo, write_photo
from utils.io.profile import read_in_srgb
from utils.preprocess.config import PreprocessConfig
from utils.preprocess.records import Record

REPORT = "report.json"
FILES = (INDEX, REPORT, SHEET)  # beside the crops
_TILE, _CAPTION, _COLUMNS = 128, 30, 10
_SHOWN = 60  # most photos of either kind on the sheet
_FONT, _LEFT = cv2.FONT_HERSHEY_SIMPLEX, 3  # of texts; pixels before them
_UNREADABLE, _UNLISTED = "cannot be read", "no keypoints in the list"  # reasons that faces have no part in
_ADVICE = {  # by kind of reason; other limits make another training set
    _UNREADABLE: "Give photos that can be opened, such as JPEG or PNG files",
    _UNLISTED: "Give --keypoints with photos' names without ending, or folder/name, as id, and another --save_path",
    "no face found": "Give photos that show a face as a whole",
    "face too small": "Give larger photos, or a smaller --min_face and another --save_path",
    "detector unsure": "Give clearer photos, or a smaller --min_score and another --save_path",
    "another person": "Give one sub-folder per person, or --check_person False and another --save_path",
}


@dataclass(frozen=True)
class Summary:
    """A run in numbers."""

    photos: int  # of the data set
    kept: int
    refused: dict[str, int]  # kind of reason -> photos
    worked: int  # photos of this run; the others were done before
    seconds: float

    @property
    def rate(self) -> float:
        """Photos per second of this run."""
        return self.worked / self.seconds if self.seconds else 0.0


def kind(reason: str) -> str:
    """A reason without its particulars, to count alike ones together."""
    return reason.partition(":")[0]


def check_kept(config: PreprocessConfig, summary: Summary) -> None:
    """Refuse a training set without crops: raises NoFaceInTargetError, or InputError where no face was looked for."""
    if summary.kept:
        return
    reason, count = next(iter(summary.refused.items()))  # the most frequent one
    failure = InputError if reason in (_UNREADABLE, _UNLISTED) else NoFaceInTargetError
    raise failure(f"none of the {summary.photos} photos in {config.path_to_dataset} was kept; the most frequent "
                  f"reason, of {count}: {reason}. {_ADVICE[reason]}; {Path(config.save_path) / REPORT} has the reason "
                  "of each")


def write(
    config: PreprocessConfig, models: Mapping[str, object], records: Sequence[Record], worked: int, seconds: float
) -> Summary:
    """Write all three files; models: as `models_used` says. Raises OutputError."""
    folder = Path(config.save_path)
    kept = [record for record in records if record.crop]
    refused = [record for record in records if not record.crop]
    counts = Counter(kind(record.reason) for record in refused)
    summary = Summary(len(records), len(kept), dict(counts.most_common()), worked, seconds)
    _write_index(folder / INDEX, kept, config.border)
    with atomic_path(folder / REPORT) as temporary:
        text = json.dumps({"options": vars(config), "models": models, **_as_json(summary, refused)}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")
    write_photo(folder / SHEET, Photo(_sheet(config, kept, refused)))
    return summary


def _as_json(summary: Summary, refused: Sequence[Record]) -> dict[str, object]:
    return {
        "photos": summary.photos,
        "kept": summary.kept,
        "refused": summary.refused,
        "this_run": {
            "photos": summary.worked,
            "seconds": round(summary.seconds, 2),
            "per_second": round(summary.rate, 2),
        },
        "refused_photos": [{"file": record.file, "reason": record.reason} for record in refused],
    }


def _write_index(path: Path, kept: Sequence[Record], border: int) -> None:
    """One line per crop; keypoints and margin in pixels of the stored crop."""
    with atomic_path(path) as temporary, temporary.open(
        "w", newline="", encoding="utf-8", errors="surrogateescape"  # for names in no encoding
    ) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(set_index.COLUMNS)
        for record in kept:
            numbers = [f"{value:.3f}" for value in record.kps]
            writer.writerow([record.crop, record.identity, *numbers, record.template, record.score, border])


def _spread(records: Sequence[Record]) -> list[Record]:
    """At most _SHOWN of them, evenly spread."""
    step = max(len(records) / _SHOWN, 1.0)
    return [records[int(i * step)] for i in range(min(len(records), _SHOWN))]


def _sheet(config: PreprocessConfig, kept: Sequence[Record], refused: Sequence[Record]) -> np.ndarray:
    """Kept crops over refused photos with their reasons, (H, W, 3) uint8 BGR."""
    parts = []
    for title, records, root in (("kept", kept, config.save_path), ("refused", refused, config.path_to_dataset)):
        head = np.full((_CAPTION, _COLUMNS * _TILE, 3), 255, np.uint8)
        _text(head, f"{title}: {len(records)}", 20, 0.6)
        tiles = [_tile(Path(root) / (r.crop or r.file), r) for r in _spread(records)]
        tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS) if tiles else []
        parts += [head, *(np.hstack(tiles[i : i + _COLUMNS]) for i in range(0, len(tiles), _COLUMNS))]
    return np.vstack(parts)


def _tile(path: Path, record: Record) -> np.ndarray:
    tile = np.full((_TILE + _CAPTION, _TILE, 3), 255, np.uint8)
    try:
        image = read_in_srgb(path)
    except InputError:
        image = np.full((_TILE, _TILE, 3), 200, np.uint8)  # what cannot be read cannot be shown
    scale = _TILE / max(image.shape[:2])
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    tile[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _text(tile, record.file, _TILE + 12, 0.33)
    _text(tile, kind(record.reason) or f"score {record.score:.2f}", _TILE + 25, 0.33)
    return tile


def _text(image: np.ndarray, text: str, bottom: int, size: float) -> None:
    """Draw a line of text, of a longer one the end."""
    # OpenCV goes to the next line where the text does, and crashes at what stands for bytes in no encoding.
    line = "".join(letter if letter.isprintable() else "?" for letter in text)
    while cv2.getTextSize(line, _FONT, size, 1)[0][0] > image.shape[1] - 2 * _LEFT:
        line = line[1:]
    cv2.putText(image, line, (_LEFT, bottom), _FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
