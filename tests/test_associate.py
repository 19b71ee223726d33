"""Who a face is where its place does not say so, and who keeps a source that two people are about as much like."""

from __future__ import annotations

import numpy as np
import pytest

from tests.test_track import IDENTITIES, Embedder, frontal, place, run, stream
from utils.inference.embeddings import normalise
from utils.inference.track import Selection, follow
from utils.inference.types import Face
from utils.io.frame import Frame


class Clear(Embedder):
    """Gives A's and B's identities without noise."""

    def __call__(self, frame: Frame, faces: list[Face]) -> np.ndarray:
        return normalise(np.stack([IDENTITIES["AB"[round(face.score * 10)]] for face in faces]))


@pytest.mark.parametrize("who", ["A", "C"])
def test_a_face_half_a_head_away_is_the_same_if_it_looks_the_same(who: str) -> None:
    out = run([{"A": (100, 60)}] * 5 + [{who: (122, 60)}] * 5)
    assert [place(tracked, 0) for tracked in out] == [100.0] * 5 + [122.0 if who == "A" else None] * 5
    assert {face.track for tracked in out for face in tracked.faces} == {0}


@pytest.mark.parametrize(("more", "taken_over"), [(1.03, False), (1.15, True)])
def test_only_who_is_clearly_more_like_a_reference_takes_it_over(more: float, taken_over: bool) -> None:
    """B is more like it than A: by a cosine of about 0.02, and of 0.1."""
    both = {"A": (100.0, 60.0), "B": (250.0, 60.0)}
    reference = normalise(normalise(IDENTITIES["A"]) + more * normalise(IDENTITIES["B"]))[None]
    script = [{"A": both["A"]}] * 5 + [both] * 10
    out = list(follow(stream(script), Clear(), Selection(references=reference, threshold=0.4), frontal))
    assert [place(tracked, 0) for tracked in out] == [100.0] * 5 + [250.0 if taken_over else 100.0] * 10
