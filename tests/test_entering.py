"""People whom the frame's edge cuts off at first; no networks."""

from __future__ import annotations

import numpy as np

from utils.inference.align import is_whole
from utils.inference.embeddings import normalise
from utils.inference.track import Selection, TrackedFrame, follow
from utils.inference.types import Face
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
