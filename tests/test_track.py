"""Following people through scripted detections; no networks."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from utils.inference import track
from utils.inference.embeddings import normalise
from utils.inference.keypoints import yaw
from utils.inference.report import NO_FACE
from utils.inference.smooth import Templates
from utils.inference.track import (
    LONGEST_GAP,
    LOOK_AHEAD,
    NO_MATCH,
    NOT_SELECTED,
    TOO_SMALL,
    Selection,
    TrackedFrame,
    follow,
)
from utils.inference.types import Face
from utils.io.frame import Frame

SHAPE = (120, 400, 3)
FACE = np.array([[-10, -10], [10, -10], [0, 2], [-8, 10], [8, 10]], np.float32)
rng = np.random.default_rng(0)
IDENTITIES = {name: rng.normal(size=64) for name in "ABCD"}
IDENTITIES["E"] = IDENTITIES["A"] + 1.1 * IDENTITIES["D"]  # like A enough to pass the threshold
SUBJECT, OTHER = {"A": (205.0, 60.0)}, {"E": (100.0, 60.0)}  # the other one is a bit like the subject

Script = list[dict[str, tuple[float, float]]]  # per frame: who is where


class Embedder:
    """Gives the identity of scripted faces, with noise, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self._rng = np.random.default_rng(1)

    def __call__(self, frame: Frame, faces: list[Face]) -> np.ndarray:
        self.asked.append((frame.index, len(faces)))
        names = ["ABCDE"[round(face.score * 10)] for face in faces]
        return normalise(np.stack([IDENTITIES[name] + 0.5 * self._rng.normal(size=64) for name in names]))


def face(name: str, centre: tuple[float, float], scale: float = 1.0) -> Face:
    kps = (FACE * scale + np.array(centre)).astype(np.float32)
    box = np.array([*(kps.min(axis=0) - 8 * scale), *(kps.max(axis=0) + 8 * scale)], np.float32)
    return Face(box, "ABCDE".index(name) / 10, kps)  # the score carries the name to the embedder


class Blinking(Embedder):
    """A face that looks a little like A up to a frame, and less or more so from there on."""

    def __init__(self, until: int, before: float, then: float) -> None:
        self._until, self._before, self._then = until, before, then

    def __call__(self, frame: Frame, faces: list[Face]) -> np.ndarray:
        share = self._before if frame.index < self._until else self._then
        return normalise(np.stack([share * IDENTITIES["A"] + IDENTITIES["B"]] * len(faces)))


def scene(seed: int) -> np.ndarray:
    """A picture that has nothing in common with those of other seeds."""
    few = np.random.default_rng(seed).integers(0, 255, (5, 8, 3)).astype(np.uint8)
    return cv2.resize(few, SHAPE[1::-1], interpolation=cv2.INTER_CUBIC)


def stream(script: Script, cuts: tuple[int, ...] = (), order: int = 1) -> Iterator[tuple[Frame, list[Face]]]:
    image = scene(0) if cuts else np.full(SHAPE, 40, np.uint8)
    for index, people in enumerate(script):
        if index in cuts:
            image = scene(index)
        yield Frame(image, index), [face(name, at) for name, at in people.items()][::order]


def frontal(kps: np.ndarray) -> np.ndarray:
    return np.array([9.0, 9.0, 1.0, 9.0, 9.0])


def run(script: Script, who: str | None = "A", mode: str = "reference", **changes: object) -> list[TrackedFrame]:
    references = normalise(np.stack([IDENTITIES[name] for name in who])) if who else None
    embed = changes.pop("embed", Embedder())
    selection = Selection(mode, references, threshold=0.4)  # type: ignore[arg-type]
    return list(follow(stream(script, **changes), embed, selection, frontal))  # type: ignore[arg-type]


def place(tracked: TrackedFrame, person: int) -> float | None:
    """x of the nose of the face that gets the source `person`."""
    at = [float(f.kps[2, 0]) for f in tracked.faces if f.person == person]
    assert len(at) <= 1, "a source was given twice"
    return at[0] if at else None


def test_photo_is_a_stream_of_one() -> None:
    (tracked,) = run([{"A": (100, 60), "B": (250, 60)}], "B")
    assert [(f.person, f.template, f.detected) for f in tracked.faces] == [(0, 2, True)]
    np.testing.assert_allclose(tracked.faces[0].kps, FACE + np.array([250, 60]), atol=1e-4)
    assert tracked.report.found == 2 and tracked.report.skipped == {NO_MATCH: 1}


def test_frames_say_how_like_the_references_their_faces_are() -> None:
    gone, alone, both = run([{}, {"A": (100, 60)}, {"A": (100, 60), "B": (250, 60)}], "AB")
    assert gone.report.similarity == {} and alone.report.similarity[0] > 0.8 > 0.3 > alone.report.similarity[1]
    assert min(both.report.similarity.values()) > 0.8


def test_each_reference_keeps_its_own_source_while_two_people_cross() -> None:
    script = [{"A": (50 + 4.0 * i, 60), "B": (290 - 4.0 * i, 62)} for i in range(60)]
    script[30] = {"A": script[30]["A"]}  # one hides the other
    embed = Embedder()
    out = run(script, "BA", embed=embed)
    for i, tracked in enumerate(out):
        assert place(tracked, 1) == pytest.approx(50 + 4 * i, abs=3), i
        assert place(tracked, 0) == pytest.approx(290 - 4 * i, abs=3), i
    assert {f.track for tracked in out for f in tracked.faces} == {0, 1}
    asked = [index for index, _ in embed.asked]
    assert not any(0 < index < 10 for index in asked), "identity was computed where positions say enough"
    assert sum(index > 45 for index in asked) <= 8, "afterwards it is looked at now and then"


def test_people_who_look_alike_turn_back_instead_of_crossing() -> None:
    gaps = [*range(60, 0, -6), 2, 2, *range(6, 66, 6)]
    script: Script = [{"A": (200 - gap, 60), "E": (200 + gap, 60)} for gap in gaps]
    out = run(script, "AE")
    for gap, tracked in zip(gaps, out, strict=True):
        assert place(tracked, 0) == pytest.approx(200 - gap, abs=4), gap
        assert place(tracked, 1) == pytest.approx(200 + gap, abs=4), gap


def test_order_of_detections_does_not_matter() -> None:
    script = [{"A": (100, 60), "B": (250, 60)} for _ in range(4)]
    shuffled = [run(script, "AB", order=order) for order in (1, -1)]
    places = [[(place(t, 0), place(t, 1)) for t in out] for out in shuffled]
    assert places[0] == places[1] == [(100.0, 250.0)] * 4


def test_somebody_leaves_and_comes_back() -> None:
    here, away = {"A": (100.0, 60.0), "B": (250.0, 60.0)}, {"B": (250.0, 60.0)}
    out = run([here] * 10 + [away] * 20 + [{"A": (330, 60), **away}] * 10, "AB")
    assert [place(t, 0) for t in out] == [100.0] * 10 + [None] * 20 + [330.0] * 10
    assert [place(t, 1) for t in out] == [250.0] * 40
    tracks = [next(f.track for f in out[i].faces if f.person == 0) for i in (0, 39)]
    assert tracks[0] != tracks[1], "a new appearance is a new track"


def test_missed_detections_are_bridged_by_straight_lines() -> None:
    script: Script = [{"A": (100 + i, 60)} for i in range(30)]
    for i in range(10, 15):
        script[i] = {}
    out = run(script)
    assert [place(t, 0) for t in out] == pytest.approx([100 + i for i in range(30)], abs=1e-3)
    assert [i for i, t in enumerate(out) for f in t.faces if not f.detected] == [10, 11, 12, 13, 14]
    assert all(not t.report.skipped or i in range(10, 15) for i, t in enumerate(out))
    assert {t.report.found for t in out} == {1}, "a face that is swapped counts as found"
    assert {f.track for t in out for f in t.faces} == {0}


def test_no_bridge_over_frames_that_show_the_person_elsewhere() -> None:
    out = run([SUBJECT] * 8 + [OTHER] * 3 + [SUBJECT | OTHER] * 8)
    assert [place(t, 0) for t in out] == [205.0] * 8 + [100.0] * 3 + [205.0] * 8


@pytest.mark.parametrize("missed", ["A", "B", "AB"])
def test_missed_detections_are_bridged_on_everybody(missed: str) -> None:
    both = {"A": (100.0, 60.0), "B": (250.0, 60.0)}
    script: Script = [both] * 8 + [{name: at for name, at in both.items() if name not in missed}] + [both] * 8
    out = run(script, None, "all")
    assert [sorted(float(f.kps[2, 0]) for f in t.faces) for t in out] == [[100.0, 250.0]] * 17
    assert [sum(not f.detected for f in t.faces) for t in out] == [0] * 8 + [len(missed)] + [0] * 8

WAYS = [("A", "reference"), (None, "reference"), (None, "largest")]


@pytest.mark.parametrize(("who", "mode"), WAYS)
@pytest.mark.parametrize("missed", [1, LONGEST_GAP])
def test_nobody_else_gets_a_face_that_is_missed(who: str | None, mode: str, missed: int) -> None:
    both = SUBJECT | OTHER
    out = run([both] * 8 + [OTHER] * missed + [both] * 8, who, mode)
    assert [place(t, 0) for t in out] == [205.0] * (16 + missed)
    assert {f.track for t in out for f in t.faces} == {0}


@pytest.mark.parametrize(("who", "mode"), WAYS)
def test_somebody_who_leaves_hands_over_after_the_longest_gap(who: str | None, mode: str) -> None:
    script: Script = [SUBJECT | OTHER] * 8 + [OTHER] * 12
    assert [place(t, 0) for t in run(script, who, mode)] == [205.0] * 8 + [None] * LONGEST_GAP + [100.0] * 7
    assert [place(t, 0) for t in run(script, who, mode, cuts=(8,))] == [205.0] * 8 + [100.0] * 12


@pytest.mark.parametrize(("who", "mode"), WAYS)
def test_somebody_who_jumps_too_far_to_be_followed_keeps_the_face(who: str | None, mode: str) -> None:
    out = run([SUBJECT | OTHER] * 8 + [{"A": (280.0, 60.0)} | OTHER] * 4, who, mode)
    assert [place(t, 0) for t in out] == [205.0] * 8 + [280.0] * 4


def test_longer_absence_stays_a_hole_and_is_reported() -> None:
    out = run([{"A": (100, 60)}] * 5 + [{}] * 6 + [{"A": (100, 60)}] * 5)
    assert [i for i, t in enumerate(out) if not t.faces] == list(range(5, 11))
    assert all(out[i].report.skipped == {NO_FACE: 1} and out[i].report.found == 0 for i in range(5, 11))


def test_a_stranger_in_the_same_place_after_a_gap_is_not_swapped() -> None:
    out = run([{"A": (100, 60)}] * 5 + [{}] * 2 + [{"C": (100, 60)}] * 8)
    assert [len(t.faces) for t in out] == [1] * 5 + [0] * 10
    assert out[-1].report.skipped == {NO_MATCH: 1}


def test_a_cut_ends_tracks_even_in_the_same_place() -> None:
    script: Script = [{"A": (100, 60), "B": (250, 60)}] * 6 + [{"B": (100, 60), "A": (250, 60)}] * 6
    out = run(script, "AB", cuts=(6,))
    assert [place(t, 0) for t in out] == [100.0] * 6 + [250.0] * 6
    assert [place(t, 1) for t in out] == [250.0] * 6 + [100.0] * 6
    assert not {f.track for t in out[:6] for f in t.faces} & {f.track for t in out[6:] for f in t.faces}


def test_one_look_that_only_just_matches_does_not_decide_a_shot() -> None:
    out = run([{"B": (100, 60)}] * 40, "A", embed=Blinking(1, 0.7, 0.1))
    swapped = [len(t.faces) for t in out]
    assert swapped[0] == 1 and sum(swapped) <= 3 and not any(swapped[3:])
    assert sum(swapped) == 1 or swapped[: sum(swapped)] == [1] * sum(swapped), "it does not come and go"
    sure = Embedder()
    assert all(len(t.faces) == 1 for t in run([{"A": (100, 60)}] * 40, "A", embed=sure))
    assert sure.asked == [(0, 1), (10, 1), (20, 1), (30, 1)], "in frames without contrast; see below"


def test_a_stranger_who_enters_gets_nothing() -> None:
    alone, both = {"A": (100.0, 60.0)}, {"A": (100.0, 60.0), "C": (200.0, 60.0)}
    embed = Embedder()
    out = run([alone] * 5 + [both] * 40, embed=embed)
    assert [place(t, 0) for t in out] == [100.0] * 45
    assert [t.report.skipped for t in out] == [{}] * 5 + [{NO_MATCH: 1}] * 40
    assert sum(n for _, n in embed.asked) <= 13, "a known stranger is looked at rarely"


def test_a_dissolve_to_another_person_is_noticed() -> None:
    script: Script = [{"A": (100, 60)}] * 30 + [{"C": (100, 60)}] * 40
    out = run(script)
    assert [len(t.faces) for t in out[:30]] == [1] * 30 and not any(t.faces for t in out[46:])
    out = run(script, "AC")
    assert all(place(t, 1) == 100.0 and place(t, 0) is None for t in out[46:])
    assert {f.track for t in out[:30] for f in t.faces}.isdisjoint({f.track for t in out[46:] for f in t.faces})


def test_people_who_changed_places_in_a_crossing_get_their_own_sources_again() -> None:
    left, right = (100, 60), (220, 60)
    out = run([{"A": left, "B": right}] * 20 + [{"B": left, "A": right}] * 50, "AB")
    assert all((place(t, 0), place(t, 1)) == (220.0, 100.0) for t in out[36:])
    close = (125, 60)  # heads touch
    out = run([{"A": left, "B": close}] * 20 + [{"B": left, "A": close}] * 40, "AB")
    assert all((place(t, 0), place(t, 1)) == (125.0, 100.0) for t in out[32:]), "noticed sooner there"


def test_who_still_looks_the_same_is_not_looked_at_again() -> None:
    """A face of noise, which another one replaces in the frame 34."""
    pictures = np.full((2, *SHAPE), 120, np.uint8)
    for picture, noise in zip(pictures, np.random.default_rng(3).integers(0, 255, (2, 12, 12, 3)), strict=True):
        picture[25:95, 65:135] = cv2.resize(noise.astype(np.uint8), (70, 70), interpolation=cv2.INTER_CUBIC)
    frames = [(Frame(pictures[int(index > 33)], index), [face("A", (100, 60))]) for index in range(60)]
    embed = Embedder()
    known = Selection(references=normalise(IDENTITIES["A"][None]), threshold=0.4)
    tracked = list(follow(frames, embed, known, frontal))
    assert all(len(t.faces) == 1 for t in tracked)
    assert [index for index, _ in embed.asked] == [0, 40]


class Blurred(Embedder):
    """Some frames show nobody in particular."""

    def __init__(self, frames: range) -> None:
        super().__init__()
        self._frames = frames

    def __call__(self, frame: Frame, faces: list[Face]) -> np.ndarray:
        clear = super().__call__(frame, faces)
        return np.roll(clear, 7, axis=1) if frame.index in self._frames else clear


def test_a_blurred_moment_and_a_turned_head_are_nobody_else() -> None:
    embed = Blurred(range(9, 13))
    assert all(len(t.faces) == 1 for t in run([{"A": (100, 60)}] * 60, "A", embed=embed))
    assert [index for index, _ in embed.asked] == [0, 10, 12, 14, 24, 34, 44, 54]
    ahead = face("A", (100, 60))
    nose = np.float32([[0, 0], [0, 0], [14, 0], [0, 0], [0, 0]])
    turned = Face(ahead.box, ahead.score, ahead.kps + nose)
    assert yaw(turned.kps) > 30
    away = Blurred(range(10, 60))
    frames = [(frame, [turned] if frame.index >= 10 else faces) for frame, faces in stream([{"A": (100, 60)}] * 60)]
    known = Selection(references=normalise(IDENTITIES["A"][None]), threshold=0.4)
    assert all(len(t.faces) == 1 for t in follow(frames, away, known, frontal))
    assert [index for index, _ in away.asked] == [0]


@pytest.mark.parametrize(("until", "first"), [(5, 0), (8, 14 - LOOK_AHEAD)])
def test_who_is_recognised_late_is_shown_in_the_frames_that_wait(until: int, first: int) -> None:
    """Looks at the frames 7, when the first one is still waiting, and 14 pass the threshold."""
    assert LOOK_AHEAD == 7
    out = run([{"B": (100 + i, 60)} for i in range(20)], "A", embed=Blinking(until, 0.35, 1.0))
    assert [place(t, 0) for t in out] == pytest.approx([None] * first + [*range(100 + first, 120)], abs=0.1)
    assert [t.report.skipped for t in out] == [{NO_MATCH: 1}] * first + [{}] * (20 - first)


def test_the_better_match_takes_the_reference_over() -> None:
    out = run([{"E": (100, 60)}] * 10 + [{"E": (100, 60), "A": (250, 60)}] * 10)
    assert [place(t, 0) for t in out] == [100.0] * 10 + [250.0] * 10


def test_a_threshold_below_zero_lets_everybody_match() -> None:
    references = normalise(np.stack([-IDENTITIES["A"], -IDENTITIES["B"]]))
    for people in ({"A": (100.0, 60.0)}, {"A": (100.0, 60.0), "B": (250.0, 60.0)}):
        selection = Selection("reference", references[: len(people)], threshold=-1.0)
        for tracked in follow(stream([people] * 3), Embedder(), selection, frontal):
            assert sorted(f.person for f in tracked.faces) == list(range(len(people)))
            assert not tracked.report.skipped


def test_one_good_match_counts_more_than_two_poor_ones() -> None:
    A, B, C = (IDENTITIES[name] for name in "ABC")
    selection = Selection("reference", normalise(np.stack([0.6 * A + 1.5 * B, B + 3.0 * C])), threshold=0.2)
    for tracked in follow(stream([{"A": (100, 60), "B": (250, 60)}] * 3), Embedder(), selection, frontal):
        assert [place(tracked, person) for person in (0, 1)] == [250.0, None]


def test_more_references_than_people_and_nobody_at_all() -> None:
    out = run([{}] * 3 + [{"C": (100, 60)}] * 3, "ABC")
    assert [place(t, 2) for t in out] == [None] * 3 + [100.0] * 3
    assert [t.report.skipped for t in out] == [{NO_FACE: 1}] * 3 + [{}] * 3
    assert run([]) == []


def test_without_references_the_first_prominent_face_is_the_one() -> None:
    script: Script = [{}] * 2 + [{"B": (30, 20), "A": (200, 60)}] * 5 + [{"B": (200, 60)}] * 5
    out = run(script, None, cuts=(7,))
    assert [place(t, 0) for t in out] == [None] * 2 + [200.0] * 5 + [None] * 5
    assert out[3].report.skipped == {NOT_SELECTED: 1}


def test_all_and_largest_need_no_identity() -> None:
    script: Script = [{"A": (100, 60), "B": (205, 60)}] * 8
    embed = Embedder()
    everybody, one = run(script, None, "all", embed=embed), run(script, None, "largest", embed=embed)
    assert all(sorted(f.person for f in t.faces) == [0, 0] for t in everybody)
    assert [place(t, 0) for t in one] == [205.0] * 8 and one[0].report.skipped == {NOT_SELECTED: 1}
    assert not embed.asked


def test_largest_does_not_flicker_between_equals() -> None:
    script: Script = [{"A": (160 + 3 * (-1) ** i, 60), "B": (240, 60)} for i in range(20)]
    out = run(script, None, "largest")
    assert len({f.track for t in out for f in t.faces}) == 1


def test_largest_changes_for_a_clearly_larger_face() -> None:
    """The area of the other grows from 0.8 to 1.8 times that of the chosen one."""
    areas = np.linspace(0.8, 1.8, 21)
    frames = [(Frame(np.full(SHAPE, 40, np.uint8), i), [face("A", (140, 60)), face("B", (260, 60), float(area**0.5))])
              for i, area in enumerate(areas)]
    out = list(follow(frames, Embedder(), Selection("largest"), frontal))
    assert [place(t, 0) for t in out] == pytest.approx([140.0 if area < 1 / 0.7 else 260.0 for area in areas], abs=1)


def test_tracks_that_have_ended_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Templates] = []
    monkeypatch.setattr(track, "Templates", lambda errors: made.append(Templates(errors)) or made[0])
    out = run([{"A": (100 + 200 * (i // 10 % 2), 60)} for i in range(100)], None, "all", cuts=tuple(range(10, 100, 10)))
    assert len({f.track for t in out for f in t.faces}) == 10
    assert len(made[0]._chosen) == len(made[0]._steps) == 1


def test_small_faces_are_left_alone() -> None:
    tiny = face("A", (100, 60), scale=0.3)
    frames = [(Frame(np.zeros(SHAPE, np.uint8), i), [tiny]) for i in range(3)]
    out = list(follow(frames, Embedder(), Selection("all"), frontal))
    assert [(t.faces, t.report.skipped) for t in out] == [([], {TOO_SMALL: 1})] * 3


def test_a_bounded_number_of_frames_is_held_back() -> None:
    taken = 0

    def counted() -> Iterator[tuple[Frame, list[Face]]]:
        nonlocal taken
        for item in stream([{"A": (100, 60)}] * 50):
            taken += 1
            yield item

    for gone, tracked in enumerate(follow(counted(), Embedder(), Selection("all"), frontal), start=1):
        assert tracked.frame.index == gone - 1
        assert taken - gone <= LOOK_AHEAD
