"""--match_blur: swaps as blurred as the faces that they replace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from utils.inference import align, stages
from utils.inference.blur import TrackBlur, blurred, missing_blur
from utils.inference.config import InferenceConfig
from utils.inference.pipeline import SwapPipeline, load_pipeline
from utils.inference.types import FrameFaces, Swap, TrackedFace
from utils.io.frame import Frame

IMAGES = Path(__file__).resolve().parents[1] / "examples" / "images"
SIDE = 256


def photo(name: str = "selfie") -> np.ndarray:
    image = cv2.imread(str(IMAGES / f"{name}.jpg"))
    assert image is not None
    return image


@pytest.fixture(scope="module")
def pipeline() -> SwapPipeline:
    return load_pipeline(device="cpu", model="embedded")


@pytest.fixture(scope="module")
def faces(pipeline: SwapPipeline) -> dict[str, np.ndarray]:
    """Crops of two sharp photos, (SIDE, SIDE, 3) uint8."""
    found = {}
    for name in ("portrait", "selfie"):
        image = photo(name)
        found[name] = align.cut(image, pipeline.stages.detector.detect(image, careful=True)[0].kps, SIDE).image
    return found


def swap_of(image: np.ndarray, target: np.ndarray, scale: float = 1.0) -> Swap:
    """scale: pixels of the frame per pixel of the swap."""
    return Swap(image, np.array([[1 / scale, 0, 0], [0, 1 / scale, 0]]), target)


def tracked(track: int = 0) -> FrameFaces:
    return [(Frame(np.zeros((8, 8, 3), np.uint8)), TrackedFace(np.zeros((5, 2), np.float32), 0, track, 2))]


def softness(image: np.ndarray, axis: int) -> float:
    """Share of the differences of neighbours along rows (axis 0) or columns (1) that a mean of 9 pixels leaves. Source:
    Crete et al., The blur effect, SPIE 2007."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    along = 1 - axis
    before, after = (np.abs(np.diff(each, axis=along)) for each in
                     (grey, cv2.blur(grey, (9, 1) if axis == 0 else (1, 9))))
    part = slice(SIDE // 4, -SIDE // 4)
    return 1 - float((before - after).clip(0)[part, part].sum() / before[part, part].sum())


@pytest.mark.parametrize("target", ["selfie", "portrait"])
def test_sharp_targets_leave_the_swap_as_it_is(faces: dict[str, np.ndarray], target: str) -> None:
    for image in faces.values():
        swap = swap_of(image, faces[target])
        assert TrackBlur(1.0).match(tracked(), [swap])[0] is swap
        dim = swap_of(image, faces[target] // 4 + 20)
        assert not missing_blur(dim).any(), "faint light is no blur"


@pytest.mark.parametrize("widths", [(3.0, 3.0), (6.0, 6.0), (5.0, 0.0), (0.0, 5.0)])
def test_a_swap_becomes_about_as_blurred(faces: dict[str, np.ndarray], widths: tuple[float, float]) -> None:
    target = blurred(faces["selfie"], *widths)
    swap = swap_of(faces["portrait"], target)
    (result,) = TrackBlur(1.0).match(tracked(), [swap])
    for axis in range(2):
        wanted, was, now = (softness(image, axis) for image in (target, swap.image, result.image))
        if widths[axis]:
            assert abs(now - wanted) < 0.35 * abs(was - wanted)
    assert missing_blur(swap) * SIDE == pytest.approx(widths, rel=0.35, abs=0.4)


def test_swaps_are_not_blurred_more_than_they_have_to(faces: dict[str, np.ndarray]) -> None:
    target, soft = (blurred(faces[name], 4.0, 4.0) for name in ("selfie", "portrait"))
    alone, further = (missing_blur(swap_of(image, target)) * SIDE for image in (faces["portrait"], soft))
    assert (further < 0.5 * alone).all()
    half = TrackBlur(0.5).match(tracked(), [swap_of(faces["portrait"], target)])[0].image
    assert np.array_equal(half, blurred(faces["portrait"], *alone / 2))


def test_few_pixels_are_no_blur(faces: dict[str, np.ndarray]) -> None:
    few = cv2.resize(faces["selfie"], (64, 64), interpolation=cv2.INTER_AREA)
    target = cv2.resize(few, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    assert not missing_blur(swap_of(faces["portrait"], target, scale=64 / SIDE)).any()
    assert (missing_blur(swap_of(faces["portrait"], target)) > 0).all(), "but it is in a frame that has more"
    assert not missing_blur(swap_of(faces["portrait"], faces["selfie"], scale=1 / SIDE)).any(), "one pixel"


def test_noise_leaves_swaps_sharper_and_flat_targets_leave_them(faces: dict[str, np.ndarray]) -> None:
    target = blurred(faces["selfie"], 4.0, 4.0)
    noise = np.random.default_rng(0).normal(0, 12, target.shape)
    noisy = np.rint(target + noise).clip(0, 255).astype(np.uint8)
    clean, grainy = (missing_blur(swap_of(faces["portrait"], image)) for image in (target, noisy))
    assert (grainy < clean).all()
    assert not missing_blur(swap_of(faces["portrait"], np.full_like(target, 90))).any()


def test_faint_blurred_faces_are_not_smeared(faces: dict[str, np.ndarray]) -> None:
    soft = blurred(faces["selfie"], 3, 3)
    for gain in (0.12, 0.1, 0.09, 0.08, 0.07, 0.06, 0.05):
        faint = swap_of(*((image * gain).astype(np.uint8) for image in (faces["selfie"], soft)))
        assert missing_blur(faint).max() * SIDE < 4.5


def test_along_a_track_blur_is_steady_and_a_pull_of_focus_passes(faces: dict[str, np.ndarray]) -> None:
    def widths_after(wanted: list[float]) -> list[float]:
        """Standard deviations of the blur, pixels, of targets in these blurs, of every second track."""
        stream, found = TrackBlur(1.0), []
        for width in wanted:
            target = blurred(faces["selfie"], width, width)
            for track, shown in ((1, target), (2, faces["selfie"])):
                stream.match(tracked(track), [swap_of(faces["portrait"], shown)])
            assert not stream._widths[2].any(), "tracks do not mix"
            found.append(float(stream._widths[1].mean()) * SIDE)
        return found

    alone = [widths_after([width])[0] for width in (3.8, 4.2)]
    trembling = widths_after([3.8, 4.2] * 4)[2:]
    assert max(trembling) - min(trembling) < 0.5 * (alone[1] - alone[0])
    pull = widths_after([0.01, 0.01, 6.0, 6.0, 0.01, 0.01])
    assert pull[:2] == [0, 0] and pull[2] == pull[3] > 4 and pull[4:] == [0, 0]


def test_the_published_weights_and_enhancers_leave_swaps_sharp() -> None:
    identity: Any = SimpleNamespace(card={}, path=Path("encoder"), network=SimpleNamespace(num_features=2))
    for card, use_sr, wanted in (({}, False, 0), ({"match_blur": 1.0}, False, 1), ({"match_blur": 1.0}, True, 0)):
        generator: Any = SimpleNamespace(card=card)
        assert stages._settings(InferenceConfig(use_sr=use_sr), generator, identity).match_blur == wanted


@pytest.mark.parametrize("blur", [0.0, 3.0])
def test_pictures_are_blurred_where_they_have_to(
    pipeline: SwapPipeline, monkeypatch: pytest.MonkeyPatch, blur: float
) -> None:
    image = cv2.resize(photo(), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    kps = pipeline.stages.detector.detect(image, careful=True)[0].kps
    target = blurred(image, blur, blur)
    pipeline.set_sources(IMAGES / "portrait.jpg")
    seen = [align.cut(target, kps, SIDE).image]
    for share in (0.0, pipeline.stages.settings.match_blur):
        monkeypatch.setattr(pipeline.stages, "settings", replace(pipeline.stages.settings, match_blur=share))
        (result,) = pipeline.run([Frame(target)])
        assert result.changed
        seen.append(align.cut(result.pixels, kps, SIDE).image)
    assert np.array_equal(seen[1], seen[2]) == (not blur)
    for axis in range(2) if blur else ():
        wanted, without, matched = (softness(crop, axis) for crop in seen)
        assert without < wanted - 0.05 and abs(matched - wanted) < 0.7 * (wanted - without)
