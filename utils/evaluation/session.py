"""A whole evaluation: faces, networks, cases, summary, files."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from utils.device import choose_device
from utils.errors import GhostError, NoFaceInTargetError
from utils.evaluation import features, measures, people, report, sheet
from utils.evaluation.config import EvaluateConfig, command, shown_people
from utils.evaluation.measures import Case
from utils.evaluation.models import PipelineSwap, load_landmarker, load_recogniser, read_picture
from utils.evaluation.people import LabelledPhoto, Pair
from utils.evaluation.run import Album, Evaluation, Gallery, Portrait, Watch
from utils.inference.align import cut
from utils.progress import counted

_FEATURE_CROP = 256  # side of the aligned crops that FID and LPIPS compare
_MOST_LISTED = 40  # pairs up to which the table lists every one
_MOST_NAMED = 10  # photos up to which the notes name every one that is left out
_FEW = 2048  # pictures below which an FID says little: fewer than Inception's features


@dataclass(frozen=True)
class Cast:
    """Who is swapped with whom, among whom."""

    pairs: list[Pair]
    targets: list[LabelledPhoto]  # people taking turns, of which the self-swaps take the first
    gallery: list[list[LabelledPhoto]]  # the photos of each person: of --gallery and, behind these, of the pairs


def choose_cast(config: EvaluateConfig) -> Cast:
    """The photos that the options name; raises InputError."""
    extra = [photo for place in config.gallery for photo in people.photos_of(place)]
    if config.gallery_names:
        known = [photo for photo in extra if any(photo.path.is_relative_to(place) for place in config.gallery)]
        named = people.listed(known, Path(config.gallery_names))
        extra = named + [photo for photo in extra if photo not in known]
    if config.openpeople:
        photos = people.openpeople_photos(config.openpeople)
        pairs = people.cyclic_pairs(photos, people.OPENPEOPLE_STEPS, config.pairs)
        return Cast(pairs, photos, people.by_person([*extra, *photos]))
    sources, targets = (people.photos_of(own or config.faces or "") for own in (config.sources, config.targets))
    if config.names:
        sources, targets = (people.listed(photos, Path(config.names)) for photos in (sources, targets))
    pairs = people.crossed_pairs(sources, targets, config.pairs)
    return Cast(pairs, people.dealt(targets), people.by_person([*extra, *sources, *targets]))


class _Crops:
    """Aligned crops of swaps and of their targets, collected while these are measured."""

    def __init__(self) -> None:
        self.made: list[np.ndarray] = []
        self.originals: list[np.ndarray] = []

    def add(self, target: Portrait, swapped: np.ndarray) -> None:
        """A target and its swap, (H, W, 3) uint8 BGR like the target's picture."""
        self.made.append(cut(swapped, target.face.kps, _FEATURE_CROP).image)
        self.originals.append(cut(target.image, target.face.kps, _FEATURE_CROP).image)


class Session:
    """Networks loaded, ready to measure."""

    def __init__(self, config: EvaluateConfig) -> None:
        """Raises WeightsError, ResourceError or InputError for a network or file that is missing, and OutputError where
        the report cannot be written, before any work."""
        self.config = config
        self._beside = report.read_json(Path(config.beside)) if config.beside else None
        self.recognisers = [load_recogniser(name, config) for name in config.recogniser]
        self.landmarker = load_landmarker(config.landmarker, config)
        other = config.landmarks_against
        self.other_landmarker = load_landmarker(other, config) if other else None
        device = choose_device(config.device)
        self._fid, self._lpips = (features.load_script(Path(name), purpose, device) if name else None for name, purpose
                                  in ((config.fid_network, "FID"), (config.lpips_network, "LPIPS")))
        out = Path(config.out)
        self._json, self._sheet = out / "metrics.json", out / "sheet.png"
        self._table = Path(config.table) if config.table else out / "table.md"
        report.check_places((self._json, self._table, self._sheet))

    def run(self) -> dict[str, Any]:
        """Measure everything the options ask for and write the files; returns the metrics.

        Raises NoFaceInTargetError, or the error that all pairs have in common, where none could be measured.
        """
        config, start = self.config, time.monotonic()
        metrics: dict[str, Any] = {
            "title": f"Steadiness of {Path(config.video).name}" if config.video else "",
            "notes": [f"Made by `{command(config)}`.", ""],
            "options": vars(config),
        }
        metrics |= {"landmarker": self.landmarker.network, "identity": {}, "attributes": {}, "pixels": {},
                    "landmarks": {}, "perceptual": {}, "video": {}, "cases": []}
        cases: list[Case] = []
        rows: Iterable[np.ndarray] = ()
        if config.openpeople or config.faces or config.sources:
            measured, cases, rows = self._photos()
            metrics |= measured | {"notes": metrics["notes"] + measured["notes"]}
        if config.video and config.target_video:
            metrics["video"] = self._video(Path(config.video), Path(config.target_video))
        metrics["seconds"] = round(time.monotonic() - start, 1)
        self._write(metrics, cases)
        # Last, since these swaps are made again and should not stand between the figures and their file.
        sheet.write(self._sheet, list(rows))
        return metrics

    def _video(self, result: Path, target: Path) -> dict[str, float]:
        from utils.evaluation.video import measure
        from utils.inference.detectors import choose_detector, open_detector

        detector = open_detector(*choose_detector(), choose_device(self.config.device))
        return measure(result, target, detector, self.landmarker, self.config.quiet)

    def _photos(self) -> tuple[dict[str, Any], list[Case], Iterable[np.ndarray]]:
        """The metrics of swaps, the cases, and the rows of the sheet, which are not made before somebody takes them."""
        cast = choose_cast(self.config)
        swap = PipelineSwap(self.config)
        album = Album(read_picture, swap.pipeline.stages.detector)
        people_shown = counted(cast.gallery, "people", self.config.quiet)
        gallery = Gallery(_first_of_each(album, people_shown), self.recognisers)
        evaluation = Evaluation(swap, album, gallery, self.landmarker)
        swaps, self_swaps = _Crops(), _Crops()
        cases = self._run_cases(evaluation, cast.pairs, swaps.add if self._fid else None)
        measured = {"title": f"Swaps of {shown_people(self.config)}, {len(cast.pairs)} pairs", "models": swap.models,
                    "gallery": len(gallery.people), **self._summarise(cases)}
        targets = [portrait.photo for portrait in islice(album.portraits(cast.targets), self.config.self_swaps)]
        shown = counted(targets, "self-swaps", self.config.quiet)
        measured["pixels"] |= _means(list(evaluation.self_swaps(shown, self_swaps.add if self._lpips else None)))
        measured["perceptual"] = self._perceptual(swaps, self_swaps)
        measured["landmarks"] = self._landmark_errors(album, cast.targets)
        measured["left_out"] = [str(error) for error in album.left_out.values()]
        measured["notes"] = _notes(cases, measured)
        if self._fid is not None and "fid" not in measured["perceptual"]:
            measured["notes"] += ["", "No FID: it compares two swaps or more."]
        photos = {(source.path, target.path): (source, target) for source, target in cast.pairs}
        return measured, cases, self._sheet_rows(evaluation, cases, photos)

    def _run_cases(self, evaluation: Evaluation, pairs: Sequence[Pair], watch: Watch | None) -> list[Case]:
        """All pairs swapped and measured; raises what `_nothing_measured` says where none could be."""
        cases = list(evaluation.cases(counted(pairs, "pairs", self.config.quiet), watch))
        if all(case.error for case in cases):
            raise _nothing_measured(cases)
        return cases

    def _summarise(self, cases: Sequence[Case]) -> dict[str, Any]:
        """Identity by recogniser, attributes and pixels of the cases that were swapped, and all cases as they are."""
        done = [case for case in cases if not case.error]
        identity = {}
        for recogniser in self.recognisers:
            summary = measures.identity_summary([case.identity[recogniser.name] for case in done])
            identity[recogniser.name] = {"network": recogniser.network, "teacher": recogniser.teacher, **summary}
        summary = measures.attribute_summary([case.attributes for case in done])
        return {
            "identity": identity,
            "attributes": {key: value for key, value in summary.items() if not key.startswith("background")},
            "pixels": {key: value for key, value in summary.items() if key.startswith("background")},
            "cases": [case.as_dict() for case in cases],
        }

    def _landmark_errors(self, album: Album, photos: Sequence[LabelledPhoto]) -> dict[str, Any]:
        """How far the landmarker is from another one, in eye distances, as shares."""
        if self.other_landmarker is None:
            return {}
        errors = []
        for portrait in album.portraits(counted(photos, "photos", self.config.quiet)):
            found, reference = (
                landmarker.find(portrait.image, portrait.face.kps)
                for landmarker in (self.landmarker, self.other_landmarker)
            )
            errors.append(measures.landmark_error(found, reference))
        names = f"{self.landmarker.network} against {self.other_landmarker.network}"
        return measures.landmark_summary(errors) | {"networks": names} if errors else {}

    def _perceptual(self, swaps: _Crops, self_swaps: _Crops) -> dict[str, Any]:
        """FID over the pairs, where they are several, and LPIPS over self-swaps, where their networks are there."""
        result: dict[str, Any] = {}
        count = len(swaps.made)
        if self._fid is not None and count > 1:  # one alone has no spread
            note = f" ({count} pictures, too few to compare with papers)" if count < _FEW else ""
            result |= {"fid": features.fid(self._fid, swaps.made, swaps.originals),
                       "fid_network": Path(self.config.fid_network or "").name + note}
        if self._lpips is not None and self_swaps.made:
            result |= {"lpips": features.lpips(self._lpips, self_swaps.made, self_swaps.originals),
                       "lpips_network": Path(self.config.lpips_network or "").name}
        return result

    def _sheet_rows(
        self, evaluation: Evaluation, cases: Sequence[Case], photos: dict[tuple[Path, Path], Pair]
    ) -> Iterator[np.ndarray]:
        name = self.recognisers[0].name
        for place, case in sheet.choose(cases, name, self.config.sheet_rows):
            source, target, swapped = evaluation.picture(*photos[case.source, case.target])
            yield sheet.row(sheet.caption(place, case, name), source, target, swapped)

    def _write(self, metrics: dict[str, Any], cases: Sequence[Case]) -> None:
        name = Path(self.config.beside or "").absolute().parent.name
        if self._beside:
            metrics["notes"] += ["", f"The column {name} has the values of {self.config.beside}."]
        if self._beside and not report.same_pairs(metrics, self._beside):
            metrics["notes"][-1] += " They are of other photos or another gallery: do not compare them."
        report.write_json(self._json, metrics)
        listed = cases if len(cases) <= _MOST_LISTED else []
        report.write_markdown(self._table, report.markdown(metrics, listed, self._beside, name))


def _first_of_each(album: Album, everybody: Iterable[Iterable[LabelledPhoto]]) -> Iterator[Portrait]:
    """Of each person, the first photo that can be read and shows a face."""
    for photos in everybody:
        yield from islice(album.portraits(photos), 1)


def _notes(cases: Sequence[Case], measured: dict[str, Any]) -> list[str]:
    """What the report says of how the cases came about. measured: models, gallery and left_out of the metrics."""
    models = ", ".join(f"{model['role']} {model['name']}" for model in measured["models"])
    done, left_out = sum(not case.error for case in cases), measured["left_out"]
    swapped = f"{done} of {len(cases)} pairs swapped; {measured['gallery']} people in the gallery."
    notes = [f"Measured on the final pictures of the pipeline ({models}).", "", swapped]
    if left_out:
        more = f"; and {len(left_out) - _MOST_NAMED} more" if len(left_out) > _MOST_NAMED else ""
        notes += ["", f"Photos left out: {'; '.join(left_out[:_MOST_NAMED])}{more}."]
    if measures.mouths_closed([case.attributes for case in cases]):
        notes += ["", "Nearly all mouths are closed, so that the correlation of their openings says little here."]
    return notes


def _nothing_measured(cases: Sequence[Case]) -> GhostError:
    """What to raise where no pair could be measured: the kind of error that all have in common, if there is one."""
    kinds = {type(case.error) for case in cases if case.error}
    kind = kinds.pop() if len(kinds) == 1 else NoFaceInTargetError
    return kind(f"none of {len(cases)} pairs could be swapped and measured (the first: {cases[0].failure}); give "
                "photos that can be read and show a face clearly")


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in (rows[0] if rows else ())}
