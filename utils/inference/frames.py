"""Frames in, frames with swapped faces out; which files they come from and go to is no matter here."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import cv2
import numpy as np

from utils.device import has_many_cores
from utils.errors import (
    NobodyMatchedError,
    NoFaceInReferenceError,
    NoFaceInSourceError,
    NoFaceInTargetError,
    OptionError,
)
from utils.inference import align, blend
from utils.inference.blur import TrackBlur
from utils.inference.conditioning import Conditioning
from utils.inference.config import InferenceConfig
from utils.inference.embeddings import normalise
from utils.inference.exposure import Exposure, exposure_of
from utils.inference.people import KnownPerson, Person, facts_of, identities, unused
from utils.inference.report import FaceCounts, RunReport, why_not
from utils.inference.sharpen import sharpen
from utils.inference.sparse import Found, fill_in, search
from utils.inference.stages import Stages
from utils.inference.stream import prefetch
from utils.inference.tone import match_tone
from utils.inference.track import NO_MATCH, Selection, TrackedFrame, follow
from utils.inference.track_detail import TrackDetail
from utils.inference.track_edges import TrackEdges, share_inside
from utils.inference.track_masks import TrackMasks
from utils.inference.types import Face, FrameFaces, Mask, Swap, SwappedFrame, Visibility
from utils.inference.visibility import UNSEEN, visibility_of
from utils.io.frame import Frame
from utils.paths import OneOrMore, as_list
from utils.version import VERSION

log = logging.getLogger("ghost")
_BATCHES_AHEAD = 2  # faces are found in many frames at once, and the generator should not wait for the next ones
_WORN = 0.5  # how likely a target wears glasses from which on their rims are looked for
_MOST_BYTES = 2**26  # frames that wait for a full batch of faces
_FOUND_AHEAD = 4  # frames


class _Batch(NamedTuple):
    """Frames, and what the generator needs of their faces."""

    frames: Sequence[TrackedFrame]
    faces: FrameFaces
    crops: list[np.ndarray]  # (size, size, 3) uint8 BGR
    light: list[Exposure]  # of the crops
    lit: list[np.ndarray]  # the crops in the light that the generator knows
    z_id: np.ndarray  # (N, D) float32, raw: who the faces become
    glasses: np.ndarray  # (N,) float32 [0, 1], how likely each of those who are replaced wears some

    def unlit(self, swaps: Sequence[Swap]) -> list[Swap]:
        """Swaps in the generator's light as the frames show them."""
        return [replace(swap, image=exposure.undone(swap.image), target=crop)
                for swap, exposure, crop in zip(swaps, self.light, self.crops, strict=True)]


class _NewFace(NamedTuple):
    """What is pasted into a frame."""

    swap: Swap
    mask: Mask
    visibility: Visibility


class _Tracks(NamedTuple):
    """What a stream knows of the people who pass by."""

    masks: TrackMasks
    detail: TrackDetail | None
    blur: TrackBlur | None
    edges: TrackEdges | None  # None of photos, where nobody comes or goes


class FramePipeline:
    """Swap faces in a stream of frames; a photo is a stream of one."""

    def __init__(self, stages: Stages, config: InferenceConfig) -> None:
        self.stages, self.config = stages, config
        self.report = RunReport()
        self._loading = {"load": stages.seconds}  # for the report of the first run
        self._people: list[Person] = []
        self._sources: list[KnownPerson] = []  # one for each of the people
        self._references: np.ndarray | None = None  # (persons, D) float32, unit
        self._detector_lock = threading.Lock()
        self._extra_threads = has_many_cores()

    def begin(self) -> RunReport:
        """Start the report of a new run."""
        self.report, self._loading = RunReport(seconds=self._loading), {}
        for network in (self.stages.swapper, self.stages.enhancer):
            if network is not None:
                network.batches.note = self.report.note
        log.info(self.stages.summary())
        for text in self.stages.notes:
            self.report.note(text)
        if self.config.provenance == "off":
            self.report.note("--provenance off: nothing in the result says that faces were replaced by AI")
        return self.report

    def set_sources(self, sources: OneOrMore, references: OneOrMore = ()) -> None:
        """Take the identities of source photos and, where given, the people of reference photos who get them; a folder
        stands for several photos of one person.

        Raises InputError, NoFaceInSourceError, NoFaceInReferenceError, OptionError.
        """
        sources, references = as_list(sources), as_list(references)
        if not sources or ((references or len(sources) > 1) and len(references) != len(sources)):
            raise OptionError(f"{len(sources)} sources and {len(references)} references: give one source alone, "
                              "or one reference per source")
        if references:
            self.config.check_references()
        which = self.config.faces_of(len(sources))
        self._people = [Person(str(source), str(reference) if reference else None)
                        for source, reference in zip_longest(sources, references)]
        self._sources = identities(sources, "source", NoFaceInSourceError, self.stages, self.report, which)
        self._references = None
        if references:
            known = identities(references, "reference", NoFaceInReferenceError, self.stages, self.report)
            self._references = normalise(np.stack([person.z_id for person in known]))

    def run(self, frames: Iterable[Frame], careful: bool = False) -> Iterator[SwappedFrame]:
        """Swap the chosen faces; frames come out in order, some frames after they went in.

        careful: search longer for small faces, and swap those that the edge cuts off like others (photos).
        """
        with closing(self.found(frames, careful)) as found:
            yield from self.swapped(found, careful)

    def found(self, frames: Iterable[Frame], careful: bool = False) -> Generator[Found, None, None]:
        """The first step of `run`, for which nobody need know the sources yet: all frames with their faces."""
        ahead = _FOUND_AHEAD if self._extra_threads else 0
        with closing(prefetch(self._detected(frames, careful), ahead)) as found:
            yield from found

    def swapped(self, found: Iterable[Found], careful: bool = False) -> Iterator[SwappedFrame]:
        """The other steps of `run`. Raises OptionError where there is no source."""
        if not self._sources:
            raise OptionError("no source: call set_sources first")
        z_id = np.stack([source.z_id for source in self._sources])
        conditioning = Conditioning(self.stages.identifier, self.stages.settings)
        tracks = self._tracks(careful)
        # Each of these works on one batch while those after it work on the ones before.
        with (
            closing(self._tracked(found)) as tracked,
            closing(prefetch(self._cut(tracked, z_id, conditioning), _BATCHES_AHEAD)) as batches,
            closing(prefetch(self._swapped(batches), 1)) as swapped,
            closing(prefetch(self._finished(swapped, tracks), 1 if self._extra_threads else 0)) as finished,
        ):
            for batch, new_faces in finished:
                yield from self._pasted(batch, new_faces)

    def _tracks(self, careful: bool) -> _Tracks:
        settings = self.stages.settings
        masks = TrackMasks(self.stages.landmarks, settings, self.config.crop_size)
        blur = TrackBlur(settings.match_blur) if settings.match_blur else None
        return _Tracks(masks, self._detail(), blur, None if careful else TrackEdges())

    def _detail(self) -> TrackDetail | None:
        """What gives a new stream's swaps detail; a mixture of two people has a part of it."""
        strength = self.stages.settings.identity_strength
        share = self.stages.settings.detail * min(1.0 if strength is None else strength, 1.0)
        details = [source.detail for source in self._sources]
        return TrackDetail(details, share, self.stages.swapper.size, self.config.crop_size) if share else None

    def _tracked(self, found: Iterable[Found]) -> Generator[TrackedFrame, None, None]:
        mode = self.config.select
        selection = Selection(mode, self._references if mode == "reference" else None, self.stages.threshold)
        come = self.report.timed("wait for frames", found)
        yield from self.report.timed("track", follow(come, self._embed, selection, align.template_errors))

    def _detected(self, frames: Iterable[Frame], careful: bool) -> Iterator[Found]:
        def detect(image: np.ndarray) -> list[Face]:
            with self._detector_lock, self.report.stage("detect"):
                return self.stages.detector.detect(image, careful)

        groups = search(self.report.timed("wait for frames", frames), detect)
        with closing(prefetch(groups, 1 if self._extra_threads else 0)) as searched:
            yield from fill_in(self.report.timed("wait for frames", searched), detect, self.report.stage)

    def _embed(self, frame: Frame, faces: list[Face]) -> np.ndarray:
        """Unit embeddings (N, D) of faces of a frame."""
        with self.report.stage("identify"):
            return normalise(self.stages.identifier.embed(frame.pixels, faces))

    def _batches(self, tracked: Iterable[TrackedFrame]) -> Iterator[list[TrackedFrame]]:
        """Group frames until their faces fill a batch, or their pixels the memory that is set aside for them; as many
        frames without a face have no need to wait for more."""
        batch: list[TrackedFrame] = []
        enough = self.stages.swapper.batches.size
        for entry in tracked:
            batch.append(entry)
            faces = sum(len(e.faces) for e in batch)
            full = faces >= enough or (not faces and len(batch) >= enough)
            if full or sum(e.frame.pixels.nbytes for e in batch) >= _MOST_BYTES:
                yield batch
                batch = []
        if batch:
            yield batch

    def _cut(
        self, tracked: Iterable[TrackedFrame], z_id: np.ndarray, conditioning: Conditioning
    ) -> Iterator[_Batch]:
        """Prepare the faces of some frames at once, so that the generator, which takes longest, waits for nothing."""
        size = self.stages.swapper.size
        for frames in self._batches(tracked):
            faces = [(entry.frame, face) for entry in frames for face in entry.faces]
            with self.report.stage("align"):
                crops = [align.cut(frame.pixels, face.kps, size, face.template).image for frame, face in faces]
                light = [exposure_of(crop, self.stages.settings.least_contrast) for crop in crops]
                lit = [exposure.applied(crop) for exposure, crop in zip(light, crops, strict=True)]
            stage, asked = self.report.stage, self.stages.settings.detail or self.stages.rims
            glasses = conditioning.glasses(faces, stage) if asked else np.zeros(len(faces), np.float32)
            yield _Batch(frames, faces, crops, light, lit, conditioning.embeddings(z_id, faces, stage), glasses)

    def _swapped(self, batches: Iterable[_Batch]) -> Iterator[tuple[_Batch, list[np.ndarray]]]:
        """New faces in the generator's light, of its size or the enhancer's."""
        stages = self.stages
        for batch in batches:
            with self.report.stage("swap"):
                images = stages.swapper.swap(batch.lit, batch.z_id)
            if stages.enhancer is not None and images:
                with self.report.stage("enhance"):
                    images = stages.enhancer.enhance(images)
            yield batch, images

    def _finished(
        self, batches: Iterable[tuple[_Batch, list[np.ndarray]]], tracks: _Tracks
    ) -> Iterator[tuple[_Batch, list[_NewFace]]]:
        """New faces, and what is needed to paste them."""
        for batch, images in batches:
            yield batch, self._new_faces(batch, self._toned(batch, images), tracks) if images else []

    def _pasted(self, batch: _Batch, new_faces: Iterable[_NewFace]) -> Iterator[SwappedFrame]:
        """Put swapped faces back into their frames."""
        left = iter(new_faces)
        for entry in batch.frames:
            frame, changed = entry.frame, []
            pixels = frame.pixels.copy() if entry.faces else frame.pixels
            for face, (swap, whole, visibility) in zip(entry.faces, left, strict=False):  # faces end first
                shown = whole._replace(alpha=whole.alpha * np.float32(visibility.share))
                with self.report.stage("blend"):
                    box = blend.paste_back(pixels, swap, shown, self.stages.settings.grain, self.stages.mixer)
                changed += [box] if box else []
                unseen = not box and visibility.share > 0
                entry.report.add(Visibility(0.0, UNSEEN) if unseen else visibility, face.person)
            self.report.count(entry.report)
            yield SwappedFrame(pixels, frame.index, frame.time, tuple(changed), entry.report)

    def _toned(self, batch: _Batch, images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """New faces with the target's tone and about as sharp, in the generator's light as before."""
        settings = self.stages.settings
        if not (settings.tone or settings.sharpen):
            return images
        with self.report.stage("tone"):
            return [sharpen(match_tone(image, crop, settings.tone), crop, settings.sharpen)
                    for image, crop in zip(images, batch.lit, strict=True)]

    def _behind(self, batch: _Batch, masks: list[np.ndarray]) -> list[np.ndarray]:
        """Masks that end where the targets' faces are covered, and at the rims of glasses."""
        occlusion, rims = self.stages.occlusion, self.stages.rims
        if occlusion is None:
            return masks
        with self.report.stage("occlusion"):
            masks = occlusion.uncovered(batch.lit, masks)
            if rims is not None:
                for i in np.flatnonzero(batch.glasses > _WORN):
                    (masks[i],) = rims.uncovered([batch.lit[i]], [masks[i]])
        return masks

    def _new_faces(self, batch: _Batch, images: Sequence[np.ndarray], tracks: _Tracks) -> list[_NewFace]:
        """Landmarks, masks, detail and blur of the swaps in the target's light, and how much of them is shown.

        images: in the generator's light, in which landmarks are found best.
        """
        stages, mask_size, faces = self.stages, self.config.crop_size, batch.faces
        with self.report.stage("landmarks"):
            after = stages.landmarks.find([cv2.resize(image, (mask_size, mask_size)) for image in images])
        lit = [Swap(image, align.estimate(face.kps, len(image), face.template)[0], crop)
               for image, crop, (_, face) in zip(images, batch.lit, faces, strict=True)]
        swaps = batch.unlit(lit)
        with self.report.stage("mask"):
            settled = tracks.masks.settle(faces, after)
        drawn = tracks.masks.draw(faces, swaps, settled, self.report.stage)
        drawn = self._behind(batch, drawn)
        if tracks.detail is not None:
            with self.report.stage("detail"):
                swaps = batch.unlit(tracks.detail.add(faces, lit, batch.light, settled, batch.glasses))
        if tracks.blur is not None:
            with self.report.stage("blur"):
                swaps = tracks.blur.match(faces, swaps)
        results = []
        for (frame, face), swap, points, alpha in zip(faces, swaps, after, drawn, strict=True):
            M_frame2mask, _ = align.estimate(face.kps, mask_size, face.template)
            inside = share_inside(M_frame2mask, mask_size, frame.pixels.shape)
            most = tracks.edges.share(face.track, inside) if tracks.edges else 1.0
            visibility = visibility_of(face.kps, points, M_frame2mask, stages.settings.max_yaw, most)
            results.append(_NewFace(swap, Mask(alpha, M_frame2mask), visibility))
        return results

    def say_unused(self, place: str) -> None:
        """Notes on the references whose people were never swapped. place: where they were looked for, in words."""
        for text in unused(self._people, self.report, place, self.stages.threshold):
            self.report.note(text)

    def fail(self, target: Path | str, report: FaceCounts, unit: str = "frames") -> NoReturn:
        """Say why nothing was swapped; raises NoFaceInTargetError, NobodyMatchedError.

        report: of the target's frame, or frames; unit: what they are called.
        """
        if not report.found:
            raise NoFaceInTargetError(f"no face found in the target {target}; give one that shows a face clearly")
        hint = ""
        if NO_MATCH in report.skipped:
            best = f"the best similarity is {max(report.similarity.values()):.3f}, " if report.similarity else ""
            hint = f"; {best}--similarity_th is {self.stages.threshold}"
        raise NobodyMatchedError(f"none of the {report.found} faces found in {target} was swapped"
                                 f"{why_not(report.skipped, unit)}{hint}")

    def result(self, output: Path | str) -> dict[str, Any]:
        """The run as plain values for JSON."""
        models = [model.as_dict() for model in self.stages.models]
        return {"version": VERSION, "output": str(output), **self.report.as_dict(),
                "people": facts_of(self._people, self.report), "models": models,
                "device": self.stages.device, "dtype": self.stages.swapper.dtype}
