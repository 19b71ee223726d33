"""People whom the frame's edge cuts off at first; no networks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from utils.inference import mask
from utils.inference.align import is_whole
from utils.inference.conditioning import Conditioning
from utils.inference.embeddings import normalise
from utils.inference.report import RunReport
from utils.inference.track import Selection, TrackedFrame, follow
from utils.inference.track_masks import TrackMasks
from utils.inference.types import Face, Swap, TrackedFace
from utils.io.frame import Frame

SHAPE = (120, 400, 3)
KPS = np.array([[-10, -10], [10, -10], [0, 2], [-8, 10], [8, 10]], np.float32)
KNOWN, STRANGER, EDGE, BORDER = normalise(np.random.default_rng(0).normal(size=(4, 64)))
WHOLE_FROM = 25  # x of the nose


def at(x: float, name: float = 0.0) -> Face:
    """A face whose nose is at x; the score carries its name to the embedder."""
    kps = KPS + np.float32([x, 60])
    return Face(np.array([x - 18, 40, x + 18, 80], np.float32), name, kps)


class Embedder:
    """Sees the less of a face the more of it is beyond the frame's left edge, where all faces are a little alike."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, frame: Frame, faces: list[Face]) -> np.ndarray:
        self.asked.append(frame.index)
        seen = [np.clip((face.kps[2, 0] + 5) / (WHOLE_FROM + 5), 0, 1) for face in faces]
        people = [STRANGER if face.score else KNOWN for face in faces]
        return normalise(np.stack([share * who + (1 - share) * (EDGE + share * BORDER)
                                   for share, who in zip(seen, people, strict=True)]))


def run(faces: list[Face | None], embed: Embedder, reference: np.ndarray | None = None) -> list[TrackedFrame]:
    image = np.full(SHAPE, 40, np.uint8)
    stream = [(Frame(image, index), [face] if face else []) for index, face in enumerate(faces)]
    known = None if reference is None else reference[None]
    return list(follow(stream, embed, Selection(references=known, threshold=0.4), lambda kps: np.arange(5.0)))


def entering(name: float = 0.0) -> list[Face | None]:
    """24 frames from the edge inwards."""
    return [at(x, name) for x in np.linspace(0, 60, 24)]


def test_whole_is_what_no_edge_cuts_off() -> None:
    assert not is_whole(at(WHOLE_FROM - 5).kps, SHAPE) and is_whole(at(WHOLE_FROM).kps, SHAPE)
    assert is_whole(at(399 - WHOLE_FROM).kps, SHAPE) and not is_whole(at(399 - WHOLE_FROM + 5).kps, SHAPE)
    assert not is_whole(KPS + np.float32([200, 10]), SHAPE) and not is_whole(KPS + np.float32([200, 110]), SHAPE)


def test_the_first_face_is_the_one_whom_it_turns_out_to_be() -> None:
    embed = Embedder()
    back = [None] * 10 + [at(300)] * 20 + [None] * 10 + [at(300, 1.0)] * 20
    out = run([*entering(), *[at(60)] * 30, *back], embed)
    shown = [len(t.faces) for t in out]
    assert shown == [1] * 54 + [0] * 10 + [1] * 20 + [0] * 30, "nobody else, and the same person elsewhere"
    assert len({f.track for t in out[:54] for f in t.faces}) == 1 and len([i for i in embed.asked if i < 54]) < 12


def test_somebody_known_is_recognised_as_soon_as_the_face_is_whole() -> None:
    early = [at(-4)] * 30
    out = run([*early, *entering()], Embedder(), KNOWN)
    whole = next(i for i, t in enumerate([*early, *entering()]) if t is not None and is_whole(t.kps, SHAPE))
    assert all(t.faces for t in out[whole - 3:])
    assert not any(t.faces for t in run([*early, *entering(1.0)], Embedder(), KNOWN))


def test_somebody_known_who_leaves_is_nobody_else() -> None:
    leaving = [*[at(60)] * 12, *entering()[::-1], *[at(0)] * 12, *entering()]
    out = run(leaving, Embedder(), KNOWN)
    assert all(t.faces for t in out) and len({f.track for t in out for f in t.faces}) == 1


class Identifier:
    """Sees where a face is, and its frame's brightness."""

    def embed(self, image: np.ndarray, faces: list[TrackedFace]) -> np.ndarray:
        """(N, 2) float32."""
        return np.float32([[face.kps[2, 0], image.flat[0]] for face in faces])


def shown(*views: tuple[float, int]) -> list[tuple[Frame, TrackedFace]]:
    """Consecutive frames of one track. views: x and brightness of each."""
    return [(Frame(np.full(SHAPE, light, np.uint8), index), TrackedFace(at(x).kps, 0, 0, 2))
            for index, (x, light) in enumerate(views)]


@pytest.mark.parametrize("together", [1, 2, 6])
def test_the_targets_own_embedding_is_of_a_whole_face_in_the_light(together: int) -> None:
    """However many frames there are at once, and asked twice, as for glasses."""
    settings: Any = SimpleNamespace(identity_strength=0.0, identity_reach=0.0, glasses=None, target_glasses=True)
    conditioning, nobody = Conditioning(Identifier(), settings), np.zeros((1, 2), np.float32)  # type: ignore[arg-type]
    faces = shown((0, 90), (10, 90), (50, 9), (51, 90), (52, 90), (10, 90))
    seen = []
    for first in range(0, 6, together):
        batch = faces[first : first + together]
        own = [conditioning.embeddings(nobody, batch, RunReport().stage).tolist() for _ in range(2)]
        assert own[0] == own[1]
        seen += own[0]
    assert seen == [[0, 90]] * 3 + [[51, 90]] * 3


def test_a_mask_fits_the_whole_face(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target's landmarks, and so the mask's numbers, tell the frame's brightness here."""
    drawn: list[float] = []
    monkeypatch.setattr(mask, "choose_params", lambda after, before, *_: float(before[0, 0]))
    monkeypatch.setattr(mask, "draw", lambda points, params, size: drawn.append(params))
    settings: Any = SimpleNamespace(mask_margin=mask.MaskMargin(), rim_contrast=0.0, least_contrast=0.0)
    landmarks: Any = SimpleNamespace(find=lambda crops: [np.full((106, 2), crop.mean()) for crop in crops])
    masks, points, swap = TrackMasks(landmarks, settings, 32), np.zeros((106, 2)), Swap(*[np.zeros(0)] * 3)
    for faces in (shown((0, 90), (10, 91), (50, 92), (51, 93)), shown((0, 94))):
        masks.draw(faces, [swap] * len(faces), [points] * len(faces), RunReport().stage)
    assert drawn == [90, 90, 92, 92, 92]
