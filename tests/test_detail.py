"""--detail: what a source photo shows and a small generator does not paint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from coordinate_reg.points import LEFT_EYE, RIGHT_EYE
from utils.inference import align
from utils.inference.config import InferenceConfig
from utils.inference.detail import LEAST_SIDE, SourceDetail, add_detail, cut_source, detail_of_source
from utils.inference.people import identities
from utils.inference.pipeline import SwapPipeline, load_pipeline
from utils.inference.sharpen import detail_of
from utils.inference.types import Face, Swap, TrackedFace

IMAGES = Path(__file__).resolve().parents[1] / "examples" / "images"
SIZE = 128


@pytest.fixture(scope="module")
def pipeline() -> SwapPipeline:
    return load_pipeline(device="cpu", model="embedded")


class Scene:
    """A photo whose face is source and target at once, and a soft swap of it."""

    def __init__(self, pipeline: SwapPipeline) -> None:
        photo = cv2.imread(str(IMAGES / "portrait_2.jpg"))
        assert photo is not None
        self.photo = photo
        self.face: Face = pipeline.stages.detector.detect(photo, careful=True)[0]
        self.tracked = TrackedFace(self.face.kps, 0, 0, 2)
        self.crop = cut_source(photo, self.face, LEAST_SIDE)
        self.landmarks = pipeline.stages.landmarks.find([self.crop])[0]
        target = align.cut(photo, self.face.kps, SIZE, 2)
        self.target = target.image
        self.swap = Swap(cv2.GaussianBlur(target.image, (0, 0), 2.5), target.M_frame2crop, target.image)

    def source(self, crop: np.ndarray | None = None) -> SourceDetail:
        return detail_of_source(self.crop if crop is None else crop, self.landmarks, self.face.kps)

    def points(self) -> np.ndarray:
        """Landmarks in pixels of a 224 crop."""
        return (self.landmarks + 0.5) * (align.BASE / LEAST_SIDE) - 0.5

    def detailed(self, source: SourceDetail | None = None, share: float = 1.0, worn: float = 0.0,
                 swap: Swap | None = None, points: np.ndarray | None = None) -> Swap:
        return add_detail(swap or self.swap, self.photo, self.tracked, self.points() if points is None else points,
                          source or self.source(), share, worn)


@pytest.fixture(scope="module")
def scene(pipeline: SwapPipeline) -> Scene:
    return Scene(pipeline)


def enlarged(swap: np.ndarray) -> np.ndarray:
    return cv2.resize(swap, (LEAST_SIDE, LEAST_SIDE), interpolation=cv2.INTER_CUBIC)


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Levels, (S, S)."""
    return np.abs(one.astype(float) - other).mean(2)


def box(points: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns around some landmarks."""
    (left, top), (right, bottom) = points.min(0).astype(int) - margin, points.max(0).astype(int) + 1 + margin
    return slice(top, bottom), slice(left, right)


def test_a_soft_swap_gets_the_sources_detail_within_the_face(scene: Scene) -> None:
    result, plain = scene.detailed().image, enlarged(scene.swap.image)
    face = box(scene.landmarks[33:], -4)
    assert apart(result, scene.crop)[face].mean() < apart(plain, scene.crop)[face].mean() / 2
    assert np.array_equal(result[:20], plain[:20]) and np.array_equal(result[:, :20], plain[:, :20])


def test_half_of_it(scene: Scene) -> None:
    none, half, whole = (scene.detailed(share=share).image.astype(float) for share in (1e-6, 0.5, 1.0))
    skin = box(scene.landmarks[72:87])
    assert np.abs((none + whole) / 2 - half)[skin].max() <= 1.01 and np.abs(whole - none)[skin].max() > 5
    assert scene.detailed(share=0.0) is scene.swap


def test_colours_and_light_stay_the_swaps(scene: Scene) -> None:
    darker = replace(scene.swap, image=(scene.swap.image * 0.5).astype(np.uint8))
    result, plain = scene.detailed(swap=darker).image, enlarged(darker.image)
    cells = [cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).astype(float) for image in (result, plain)]
    assert np.abs(cells[0] - cells[1])[4:12, 4:12].mean() < 3


def test_hair_over_the_sources_face_is_not_laid_over_the_swap(scene: Scene) -> None:
    crop, cheek = scene.crop.copy(), (slice(150, 170), slice(80, 100))
    crop[130:190, 80:100] = 15
    shown, clean = scene.detailed(scene.source(crop)).image, scene.detailed().image
    plain = enlarged(scene.swap.image)
    assert apart(shown, plain)[cheek].mean() < 3 and apart(clean, plain)[cheek].mean() > 0
    nose = box(scene.landmarks[72:75])
    assert apart(shown, clean)[nose].mean() < 1 < apart(shown, plain)[nose].mean()


def test_what_is_bent_much_is_not_trusted(scene: Scene) -> None:
    narrow = scene.points()
    narrow[:, 0] = 112 + 0.4 * (narrow[:, 0] - 112)
    source = scene.source()
    result = scene.detailed(source, points=narrow).image
    skin = box((narrow[80:86] + 0.5) * (LEAST_SIDE / align.BASE))
    assert apart(result, enlarged(scene.swap.image))[skin].max() <= 4
    assert apart(scene.detailed(source).image, enlarged(scene.swap.image))[skin].max() > 10


def test_around_glasses_the_swap_keeps_its_own(scene: Scene) -> None:
    bare, worn = scene.detailed().image, scene.detailed(worn=1.0).image
    brows, mouth = box(scene.landmarks[43:52]), box(scene.landmarks[52:72], 4)
    plain = enlarged(scene.swap.image)
    assert apart(worn, plain)[brows].max() <= 1 < apart(bare, plain)[brows].mean()
    assert apart(worn, bare)[mouth].max() <= 1 and apart(worn, plain)[mouth].mean() > 1


@pytest.mark.parametrize("ring", [LEFT_EYE, RIGHT_EYE])
def test_gaze_is_the_targets(scene: Scene, ring: tuple[int, ...]) -> None:
    other = scene.crop.copy()
    at = scene.landmarks[list(ring)].mean(0).astype(int)
    cv2.circle(other, at.tolist(), 2, (255, 255, 255), -1)
    with_light = scene.detailed(scene.source(other)).image
    y, x = at[1], at[0]
    assert apart(with_light, scene.detailed().image)[y - 1 : y + 2, x - 1 : x + 2].mean() < 4


def test_beside_a_blurred_face_a_swap_stays_soft(scene: Scene) -> None:
    blurred = cv2.GaussianBlur(scene.photo, (0, 0), 12)
    target = align.cut(blurred, scene.face.kps, SIZE, 2).image
    swap = replace(scene.swap, target=target)
    result = add_detail(swap, blurred, scene.tracked, scene.points(), scene.source(), 1.0, 0.0).image
    assert detail_of(result) < detail_of(scene.detailed().image) / 2


def test_small_sources_have_none(scene: Scene) -> None:
    eyes = float(np.linalg.norm(scene.face.kps[1] - scene.face.kps[0]))
    shares = [detail_of_source(scene.crop, scene.landmarks, scene.face.kps * (pixels / eyes)).share
              for pixels in (10, 24, 60)]
    assert shares[0] == 0 < shares[1] < shares[2] == 1
    none = replace(scene.source(), share=0.0)
    assert scene.detailed(none) is scene.swap


def test_small_faces_keep_their_side_and_enhanced_ones_their_detail(scene: Scene) -> None:
    small = cv2.resize(scene.photo, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)
    face = replace(scene.tracked, kps=scene.face.kps * 0.2)
    target = align.cut(small, face.kps, SIZE, 2)
    swap = Swap(cv2.GaussianBlur(scene.target, (0, 0), 2), target.M_frame2crop, target.image)
    result = add_detail(swap, small, face, scene.points(), scene.source(), 1.0, 0.0)
    assert result.image.shape == (SIZE, SIZE, 3) and np.allclose(result.M_frame2crop, swap.M_frame2crop)
    enhanced = replace(scene.swap, image=enlarged(scene.swap.image))
    assert scene.detailed(swap=enhanced) is enhanced


def test_a_larger_swap_has_its_place(scene: Scene) -> None:
    result = scene.detailed()
    assert result.image.shape == (LEAST_SIDE, LEAST_SIDE, 3)
    there = align.cut(scene.photo, scene.face.kps, LEAST_SIDE, 2)
    assert np.allclose(result.M_frame2crop, there.M_frame2crop)


def test_of_several_photos_the_one_that_looks_at_the_camera(pipeline: SwapPipeline, tmp_path: Path) -> None:
    for name in ("selfie.jpg", "portrait.jpg", "selfie_2.jpg"):
        (tmp_path / name).write_bytes((IMAGES / name).read_bytes())
    pipeline.set_sources(tmp_path)
    (known,) = pipeline._sources
    pipeline.set_sources([IMAGES / "portrait.jpg"])
    single = [pipeline._sources[0].detail]
    for name in ("selfie.jpg", "selfie_2.jpg"):
        pipeline.set_sources([IMAGES / name])
        single.append(pipeline._sources[0].detail)
    turned = min(detail.turned for detail in single if detail is not None)
    assert known.detail is not None and known.detail.turned == turned


def test_references_and_settings_without_detail_have_none(pipeline: SwapPipeline) -> None:
    from utils.errors import NoFaceInReferenceError, NoFaceInSourceError

    portrait = [IMAGES / "portrait.jpg"]
    args = (pipeline.stages, pipeline.report)
    assert identities(portrait, "reference", NoFaceInReferenceError, *args)[0].detail is None
    plain = load_pipeline(device="cpu", model="embedded", detail=0.0)
    assert identities(portrait, "source", NoFaceInSourceError, plain.stages, plain.report)[0].detail is None


def test_a_mixture_of_two_people_has_a_part_of_it(tmp_path: Path) -> None:
    results = []
    for options in ({"detail": 0.0}, {"detail": 1.0}, {"detail": 1.0, "identity_strength": 1.0}):
        mixture = {"identity_strength": 0.0} | options
        pipeline = load_pipeline(InferenceConfig(device="cpu", model="embedded", **mixture))  # type: ignore[arg-type]
        pipeline.swap_photo(IMAGES / "portrait.jpg", IMAGES / "selfie.jpg", tmp_path / "out.png")
        results.append(cv2.imread(str(tmp_path / "out.png")))
    none, still_none, whole = results
    assert np.abs(none.astype(int) - still_none).max() == 0 < np.abs(none.astype(int) - whole).max()


def test_swaps_in_photos_have_more_of_it(tmp_path: Path) -> None:
    found = []
    for share in (0.0, 1.0):
        pipeline = load_pipeline(InferenceConfig(device="cpu", model="embedded", detail=share))
        pipeline.swap_photo(IMAGES / "portrait.jpg", IMAGES / "selfie.jpg", tmp_path / "out.png")
        result = cv2.imread(str(tmp_path / "out.png"))
        assert result is not None
        face = pipeline.stages.detector.detect(result, careful=True)[0]
        found.append(detail_of(align.cut(result, face.kps, LEAST_SIDE).image))
    assert found[1] > 1.2 * found[0]
