"""Follow people through a stream of frames: who is who, and where each face is, steadily.

A photo is a stream of one frame. No networks here: faces come with the frames, and identity is asked for by a callable.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from utils.inference import align, motion
from utils.inference.associate import Track, best_pairs, continue_tracks, note_crowds
from utils.inference.embeddings import normalise
from utils.inference.keypoints import yaw
from utils.inference.report import NO_FACE, FaceCounts
from utils.inference.scene import SceneCuts
from utils.inference.smooth import RADIUS, TemplateErrors, Templates, smooth
from utils.inference.thumbnail import face_thumbnail, same_appearance
from utils.inference.types import Face, TrackedFace
from utils.inference.waiting import Pending, Sighting, bridge, recognise
from utils.inference.warp import apply
from utils.io.frame import Frame

LONGEST_GAP = 5  # missed detections that are bridged
LOOK_AHEAD = LONGEST_GAP + RADIUS  # frames held back

_SWITCH_MARGIN = 0.05  # similarity by which somebody else must be more like a reference to take a person over
_ANY = 1e-6  # score of a match that only just passes a threshold of 0 or less
_HELD = 0.7  # the largest face stays chosen until it is smaller than this part of another one
_LONGEST_WAIT = 25  # frames until a face that matched nobody is identified once more; new faces wait less
_SURE_MARGIN = 0.1  # above the threshold, one embedding is enough; below it, as much is granted until there are more
_MAX_EMBEDDINGS = 5  # of a face that is closer to the threshold
_RECHECK_EVERY = 10  # frames, of somebody who is known: another face may have come in a dissolve
_CROWD_RECHECK_EVERY, _CROWD_MEMORY = 4, 25  # frames, where heads touched up to so many frames ago
_FOREIGN_TO_REASSIGN, _FOREIGN_RECHECK_EVERY = 3, 2  # embeddings of somebody else in a row, so many frames apart
_A_LITTLE = 0.5  # share of the threshold from which a face is a little like a known one; other people's seldom are
_CUT_OFF_RECHECK_EVERY = 3  # frames, of a face that has not been seen whole and matches nobody yet
_FRONTAL = 30.0  # degrees that a face may be turned to be checked again

NO_MATCH = "no reference matches"
NOT_SELECTED = "not selected"
TOO_SMALL = "too small"

EmbedFaces = Callable[[Frame, list[Face]], np.ndarray]  # -> (N, D) float unit embeddings


@dataclass(frozen=True)
class Selection:
    """Whose face is swapped."""

    mode: Literal["reference", "largest", "all"] = "reference"
    references: np.ndarray | None = None  # (R, D) float unit embeddings; None: the first prominent face is the one
    threshold: float = 0.15  # cosine similarity from which two embeddings are one person's
    min_size: float = 16.0  # pixels; faces whose box has a shorter side are left alone


@dataclass
class TrackedFrame:
    """A frame with the faces to swap in it."""

    frame: Frame
    faces: list[TrackedFace]
    report: FaceCounts


def prominence(face: Face, shape: tuple[int, ...]) -> float:
    """How much a face is the subject of its picture: its area, up to halved towards the edges.

    shape: of the picture, (H, W, ...).
    """
    left, top, right, bottom = (float(value) for value in face.box)
    height, width = shape[:2]
    off_centre = np.hypot((left + right) / width - 1.0, (top + bottom) / height - 1.0)
    return (right - left) * (bottom - top) * (1.0 - 0.5 * min(1.0, float(off_centre)))


def most_prominent(faces: list[Face], shape: tuple[int, ...]) -> int:
    """Position of the face that is most the subject of the picture; `faces` must not be empty."""
    return int(np.argmax([prominence(face, shape) for face in faces]))


def _wait(age: int) -> int:
    """Frames until a face of `age` frames that is not known for sure is identified once more: longer and longer, but
    while its first frame waits, it can still be shown who it is from there on."""
    return min(max(1, age), LOOK_AHEAD - age if age < LOOK_AHEAD else _LONGEST_WAIT)


def frontal(track: Track) -> bool:
    """Whether a face looks at the camera well enough to tell it from somebody else's."""
    return yaw(track.kps) <= _FRONTAL


class _FaceEmbeddings:
    """Unit embeddings of the faces of one frame, each computed once and only when asked for."""

    def __init__(self, embed: EmbedFaces, frame: Frame, faces: list[Face]) -> None:
        self._embed, self._frame, self._faces = embed, frame, faces
        self._known: dict[int, np.ndarray] = {}

    def __call__(self, positions: Iterable[int]) -> np.ndarray:
        positions = list(positions)
        new = [p for p in positions if p not in self._known]
        if new:
            embeddings = self._embed(self._frame, [self._faces[p] for p in new])
            self._known.update(zip(new, embeddings, strict=True))
        return np.stack([self._known[p] for p in positions])


class _People:
    """Tracks and the persons that they are."""

    def __init__(self, embed: EmbedFaces, selection: Selection) -> None:
        self.selection = selection
        self.references = selection.references
        self.tracks: list[Track] = []
        self.similarity: dict[int, float] = {}  # person -> largest cosine of the last frame's faces to the reference
        self._embed = embed
        self._next = 0
        self._provisional = False  # whether the reference is of a face that the frame's edge cuts off
        self._last: Frame | None = None
        self._first_face = selection.mode == "reference" and selection.references is None

    def update(self, frame: Frame, faces: list[Face], cut: bool) -> dict[int, Track]:
        """Take in the next frame; returns position of the face -> its track."""
        embeddings = _FaceEmbeddings(self._embed, frame, faces)
        ask = embeddings if self.selection.mode == "reference" else None
        self.tracks = [t for t in self.tracks if not cut and frame.index - t.last_index <= LONGEST_GAP + 1]
        matches = continue_tracks(self.tracks, faces, frame.index, ask, self.selection.threshold)
        seen = {position: self.tracks[which] for position, which in matches.items()}
        for position, track in seen.items():
            track.update(self._steadied(track, frame, faces[position]), frame.index)
        self._last = frame
        for position in range(len(faces)):
            if position not in seen:
                seen[position] = self._begin(faces[position], frame.index)
        note_crowds(self.tracks, frame.index)
        self._identify(seen, embeddings, frame, faces)
        self._choose(seen, frame, faces)
        return seen

    def _steadied(self, track: Track, frame: Frame, face: Face) -> np.ndarray:
        """Key points (5, 2) of a face that is swapped, from the detector and from how the picture moved."""
        if track.person is None or self._last is None or track.last_index != self._last.index:
            return face.kps
        moved = face.moved if face.moved is not None else motion.between(self._last.pixels, frame.pixels, track.kps)
        if moved is None:
            return face.kps
        return motion.settle(apply(moved, track.kps).astype(np.float32), face.kps, frame.index - track.first_index)

    def _begin(self, face: Face, index: int) -> Track:
        track = Track(self._next, face.kps, index, first_index=index, next_check=index)
        self._next += 1
        self.tracks.append(track)
        return track

    def _identify(self, seen: dict[int, Track], embeddings: _FaceEmbeddings, frame: Frame, faces: list[Face]) -> None:
        """Identify the faces that nobody knows yet, some more times those that only just matched, since one embedding
        may be of a blurred face, and now and then all of them."""
        if self.selection.mode != "reference" or not seen:
            return
        whole = {p: align.is_whole(t.kps, frame.pixels.shape) for p, t in seen.items()}
        if self.references is None:
            first = most_prominent(faces, frame.pixels.shape)
            self.references, self._provisional = embeddings([first]), not whole[first]
        due = [p for p, t in seen.items() if self._is_due(t, frame, whole[p])]
        for position, embedding in zip(due, embeddings(due), strict=True) if due else ():
            track = seen[position]
            track.last_check, track.thumbnail = frame.index, face_thumbnail(frame.pixels, track.kps)
            if track.provisional or not whole[position]:
                self._renew(track, embedding, frame.index, whole[position])
            elif self._is_back(track, embedding, seen):
                track.renew_embedding(embedding, whole=True)
            elif frontal(track) and track.is_foreign(embedding, self.selection.threshold):
                if self._foreign_views(track) >= _FOREIGN_TO_REASSIGN:
                    self._reassign(track, frame.index)
            elif not self._sure(track):
                track.add_embedding(embedding)
                track.next_check = frame.index + _wait(frame.index - track.first_index)

    def _is_back(self, track: Track, embedding: np.ndarray, seen: dict[int, Track]) -> bool:
        """Whether one look (D,) at a stranger is enough to know somebody who is not in sight; earlier looks may be of a
        face that something covered."""
        if track.person is not None or track.embedding is None or self.references is None:
            return False
        similarity = self.references @ embedding
        person = int(similarity.argmax())
        sure = bool(similarity[person] >= self.selection.threshold + _SURE_MARGIN)
        return sure and all(other.person != person for other in seen.values())

    def _foreign_views(self, track: Track) -> float:
        """How many looks speak for somebody else in the place of a track. Those that are still a little like it count
        half, unless they are like another reference: a face that something covers loses its likeness by and by."""
        assert track.embedding is not None and self.references is not None
        views, threshold = np.stack(track.foreign_embeddings), self.selection.threshold
        others = [row for row in range(len(self.references)) if row != track.person]
        named = (views @ self.references[others].T).max(axis=1, initial=-1.0) >= threshold
        alike = (views @ normalise(track.embedding) >= _A_LITTLE * threshold) & ~named
        return len(views) - 0.5 * float(alike.sum())

    def _renew(self, track: Track, embedding: np.ndarray, index: int, whole: bool) -> None:
        """Take a face that is, or was, cut off for what it looks like now, and the reference with it if that was taken
        from such a view: embeddings change as more of a face comes into sight."""
        track.renew_embedding(embedding, whole)
        track.next_check = index + 1
        if self._provisional and track.person is not None:
            self.references, self._provisional = embedding[None], not whole

    def _is_due(self, track: Track, frame: Frame, whole: bool) -> bool:
        """Whether a face is to be identified in this frame. whole: the frame's edge does not cut it off."""
        since = frame.index - track.last_check
        if track.provisional:
            return whole or since >= (_CUT_OFF_RECHECK_EVERY if track.person is None else _RECHECK_EVERY)
        if not whole and track.embedding is not None:
            return False
        if track.foreign_embeddings:
            return since >= _FOREIGN_RECHECK_EVERY
        if not self._sure(track):
            return track.next_check <= frame.index
        if track.last_crowded is not None and frame.index - track.last_crowded <= _CROWD_MEMORY:
            return since >= _CROWD_RECHECK_EVERY and frontal(track)
        return since >= _RECHECK_EVERY and frontal(track) and not self._unchanged(track, frame)

    def _unchanged(self, track: Track, frame: Frame) -> bool:
        """Whether a face looks as it did when it was last identified, which then counts as a check."""
        before = track.thumbnail
        same = before is not None and same_appearance(before, face_thumbnail(frame.pixels, track.kps))
        if same:
            track.last_check = frame.index
        return same

    def _reassign(self, track: Track, index: int) -> None:
        """Somebody else has taken a track's place without a jump: it is theirs from here on."""
        track.number, self._next = self._next, self._next + 1
        track.embedding, track.person, track.first_index, track.embedding_count = None, None, index, 0
        for embedding in track.foreign_embeddings:
            track.add_embedding(embedding)
        track.foreign_embeddings.clear()

    def _sure(self, track: Track) -> bool:
        """Whether who a track is needs no further embedding."""
        if track.person is None or self.references is None:
            return False
        similarity = track.similarity(self.references)[track.person]
        return track.embedding_count >= _MAX_EMBEDDINGS or bool(similarity >= self.selection.threshold + _SURE_MARGIN)

    def _choose(self, seen: dict[int, Track], frame: Frame, faces: list[Face]) -> None:
        """Decide which person each visible track is; a track that changes its person becomes another track."""
        if self.selection.mode == "all":
            persons: dict[int, int] = dict.fromkeys(seen, 0)
        elif self.selection.mode == "largest":
            free = {p: t for p, t in seen.items() if not self._reserved(t)}
            persons = {self._largest(free, frame, faces): 0} if free else {}
        else:
            persons = self._match_references(seen)
        for position, track in seen.items():
            person = persons.get(position)
            if track.person is not None and person != track.person:
                track.number, self._next = self._next, self._next + 1
            track.person = person

    def _reserved(self, track: Track) -> set[int]:
        """Persons that a visible track cannot be: they were seen beside it, and are missed only since a moment ago.

        A track that began later may be the same person, who jumped too far to be followed.
        """
        held = [t for t in self.tracks
                if track.first_index <= t.last_index < track.last_index <= t.last_index + LONGEST_GAP]
        return {t.person for t in held if t.person is not None}

    def _largest(self, seen: dict[int, Track], frame: Frame, faces: list[Face]) -> int:
        """Position of the face that is chosen by its size; whoever was chosen before stays so a little longer."""
        shape = frame.pixels.shape
        sizes = {p: prominence(faces[p], shape) / (1.0 if t.person is None else _HELD) for p, t in seen.items()}
        return max(sizes, key=sizes.__getitem__)

    def _match_references(self, seen: dict[int, Track]) -> dict[int, int]:
        self.similarity = {}
        if not seen or self.references is None:
            return {}
        positions = list(seen)
        similarity = np.stack([seen[p].similarity(self.references) for p in positions])
        self.similarity = dict(enumerate(similarity.max(axis=0).tolist()))
        # Whatever passes the threshold has to score more than 0, but no more than that: with a larger bonus, two poor
        # matches would outdo a good one.
        lift = _ANY - min(self.selection.threshold, 0.0)
        scores = np.where(similarity >= self._thresholds(seen, positions), similarity + lift, 0.0)
        for row, position in enumerate(positions):
            scores[row, list(self._reserved(seen[position]))] = 0.0
            person = seen[position].person
            if person is not None and scores[row, person] > 0.0:
                scores[row, person] += _SWITCH_MARGIN
        return {positions[row]: person for row, person in best_pairs(scores)}

    def _thresholds(self, seen: dict[int, Track], positions: list[int]) -> np.ndarray:
        """Least similarity (T, R) of tracks to persons: less for the one that somebody is while there are few
        embeddings, or swaps would come and go with each."""
        assert self.references is not None
        least = np.full((len(positions), len(self.references)), self.selection.threshold)
        for row, position in enumerate(positions):
            track = seen[position]
            if track.person is not None and track.embedding_count < _MAX_EMBEDDINGS:
                least[row, track.person] -= _SURE_MARGIN
        return least

    def may_recognise(self, track: Track) -> bool:
        """Whether more embeddings may tell whose a face is: nothing else speaks against that it is anybody's."""
        return self.selection.mode == "reference" and not self._reserved(track)

    def reason(self) -> str:
        """Why a face that was found is not swapped."""
        return NO_MATCH if self.selection.mode == "reference" and not self._first_face else NOT_SELECTED


def _take_in(people: _People, frame: Frame, faces: list[Face], cut: bool, pending: deque[Pending]) -> None:
    """Add a frame to those that wait, and fill the gaps that it closes."""
    before = {track.number: (track.last_index, track.kps) for track in people.tracks}
    large = [f for f in faces if min(f.box[2] - f.box[0], f.box[3] - f.box[1]) >= people.selection.min_size]
    report = FaceCounts(found=len(faces), skipped=Counter([TOO_SMALL] * (len(faces) - len(large))))
    entry = Pending(frame, report)
    for track in people.update(frame, large, cut).values():
        if track.person is None:
            report.skipped[people.reason()] += 1
            if people.may_recognise(track):
                entry.strangers[track.number] = track.kps
            continue
        entry.sightings[track.number] = Sighting(track.kps, track.person)
        if track.number in before and frame.index - before[track.number][0] > 1:
            bridge(pending, track, *before[track.number], people.selection.mode == "all")
        recognise(pending, track, people.reason())
    report.similarity = people.similarity
    pending.append(entry)


def _release(window: deque[Pending], position: int, templates: Templates) -> TrackedFrame:
    """Smooth the frame at `position` of the window and let it go."""
    entry = window[position]
    entry.strangers.clear()
    faces = []
    for number, sighting in entry.sightings.items():
        run = [e.sightings[number].kps if number in e.sightings else None for e in window]
        kps = smooth(run, position)
        template = templates.choose(number, kps)
        faces.append(TrackedFace(kps, sighting.person, number, template, sighting.detected))
    entry.report.found += sum(not sighting.detected for sighting in entry.sightings.values())
    if not faces and not entry.report.found:
        entry.report.skipped[NO_FACE] += 1
    return TrackedFrame(entry.frame, faces, entry.report)


def follow(
    stream: Iterable[tuple[Frame, list[Face]]],
    embed: EmbedFaces,
    selection: Selection,
    template_errors: TemplateErrors,
) -> Iterator[TrackedFrame]:
    """Follow the selected people; yields every frame in order, at most LOOK_AHEAD frames after it came in.

    stream: frames with consecutive indices and their faces, in any order.
    embed: identity embeddings of faces of a frame; called only when a track begins or is in doubt.
    template_errors: kps -> how badly each of the five alignment templates fits (utils.inference.align).
    """
    people, cuts, templates = _People(embed, selection), SceneCuts(), Templates(template_errors)
    window: deque[Pending] = deque()  # up to RADIUS frames that have gone out, then those that wait
    gone = 0
    for frame, faces in stream:
        _take_in(people, frame, faces, cuts.begins(frame.pixels), window)
        if len(window) - gone > LOOK_AHEAD:
            yield _release(window, gone, templates)
            gone += 1
        if gone > RADIUS:
            window.popleft()
            gone -= 1
            templates.keep_only({number for entry in window for number in entry.sightings})
    for position in range(gone, len(window)):
        yield _release(window, position, templates)
