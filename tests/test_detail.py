"""--detail: what a source photo shows and a small generator does not paint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from coordinate_reg.points import BROWS, EYE_CENTRES, INNER_LIPS, LEFT_EYE, RIGHT_EYE
from utils.errors import NoFaceInReferenceError, NoFaceInSourceError
from utils.inference import align, stages
from utils.inference.blend import enlargement
from utils.inference.config import InferenceConfig
from utils.inference.detail import SourceDetail, add_detail, detail_of_source, share_of
from utils.inference.exposure import Exposure
from utils.inference.people import _lender, _Seen, identities
from utils.inference.pipeline import SwapPipeline, load_pipeline
from utils.inference.sharpen import detail_of
from utils.inference.track_detail import LEAST_SIDE, TrackDetail
from utils.inference.types import Swap, TrackedFace
from utils.io.frame import Frame

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
        self.kps = pipeline.stages.detector.detect(photo, careful=True)[0].kps
        self.crop = align.cut(photo, self.kps, LEAST_SIDE, 2).image
        self.landmarks = pipeline.stages.landmarks.find([self.crop])[0]
        self.points = (self.landmarks + 0.5) * (align.BASE / LEAST_SIDE) - 0.5
        self.soft = cv2.GaussianBlur(self.crop, (0, 0), 5)

    def source(self, crop: np.ndarray | None = None, share: float = 1.0, worn: float = 0.0) -> SourceDetail:
        return detail_of_source(self.crop if crop is None else crop, self.landmarks, share, worn)

    def detailed(self, source: SourceDetail | None = None, share: float = 1.0, worn: float = 0.0,
                 image: np.ndarray | None = None, target: np.ndarray | None = None) -> np.ndarray:
        return add_detail(self.soft if image is None else image, self.crop if target is None else target, self.points,
                          source or self.source(), share, worn)

    def added(self, scale: float, detail: TrackDetail, track: int = 0) -> Swap:
        """The same in a photo of another size, through TrackDetail."""
        photo = cv2.resize(self.photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        face = TrackedFace(self.kps * scale, 0, track, 2)
        crop = align.cut(photo, face.kps, SIZE, 2)
        swap = Swap(cv2.GaussianBlur(crop.image, (0, 0), 2.5), crop.M_frame2crop, crop.image)
        return detail.add([(Frame(photo), face)], [swap], [Exposure()], [self.points], np.zeros(1))[0]


@pytest.fixture(scope="module")
def scene(pipeline: SwapPipeline) -> Scene:
    return Scene(pipeline)


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Levels, (S, S)."""
    return np.abs(one.astype(float) - other).mean(2)


def box(points: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns around some landmarks."""
    (left, top), (right, bottom) = points.min(0).astype(int) - margin, points.max(0).astype(int) + 1 + margin
    return slice(top, bottom), slice(left, right)


def test_a_soft_swap_gets_the_sources_detail_within_the_face(scene: Scene) -> None:
    result = scene.detailed()
    face = box(scene.landmarks[33:], -4)
    assert apart(result, scene.crop)[face].mean() < apart(scene.soft, scene.crop)[face].mean() / 2
    assert np.array_equal(result[:20], scene.soft[:20]) and np.array_equal(result[:, :20], scene.soft[:, :20])


def test_half_of_it_and_none(scene: Scene) -> None:
    half, whole = (scene.detailed(share=share).astype(float) for share in (0.5, 1.0))
    assert np.abs((scene.soft + whole) / 2 - half).max() <= 1.01 and np.abs(whole - scene.soft).max() > 20
    assert np.abs(scene.detailed(share=1e-6).astype(int) - scene.soft).max() <= 1
    assert scene.detailed(share=0.0) is scene.soft
    assert scene.detailed(scene.source(share=0.0)) is scene.soft


def test_colours_and_light_stay_the_swaps(scene: Scene) -> None:
    darker = (scene.soft * 0.5).astype(np.uint8)
    cells = [cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).astype(float)
             for image in (scene.detailed(image=darker), darker)]
    assert np.abs(cells[0] - cells[1])[4:12, 4:12].mean() < 3


def test_black_and_white_stays_so(scene: Scene) -> None:
    grey, target = (cv2.cvtColor(cv2.cvtColor(x, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
                    for x in (scene.soft, scene.crop))
    result = scene.detailed(image=grey, target=target)
    assert np.ptp(result.astype(int), axis=2).max() <= 1 and apart(result, grey).max() > 20


def test_hair_over_the_sources_face_is_not_laid_over_the_swap(scene: Scene) -> None:
    crop, cheek = scene.crop.copy(), (slice(150, 170), slice(80, 100))
    crop[130:190, 80:100] = 15
    shown, clean = scene.detailed(scene.source(crop)), scene.detailed()
    assert apart(shown, scene.soft)[cheek].mean() < 3
    nose = box(scene.landmarks[72:75])
    assert apart(shown, clean)[nose].mean() < 1 < apart(shown, scene.soft)[nose].mean()


def test_a_fringes_edge_leaves_hardly_a_mark_on_the_forehead(scene: Scene) -> None:
    crop, edge = scene.crop.copy(), int(scene.landmarks[list(BROWS), 1].min()) - 18
    crop[edge - 42 : edge, 60:200] //= 2
    marks = apart(scene.detailed(scene.source(crop)), scene.soft)[edge - 3 : edge + 3, 90:160].mean()
    assert marks < 7  # 16 where it counts as little as elsewhere in the face


def test_light_from_one_side_is_no_difference_of_shades(scene: Scene) -> None:
    lit = (scene.crop * np.linspace(0.1, 1, LEAST_SIDE)[None, :, None]).astype(np.uint8)
    result = scene.detailed(scene.source(lit))
    face = box(scene.landmarks[33:], -4)
    assert apart(result, scene.crop)[face].mean() < 0.65 * apart(scene.soft, scene.crop)[face].mean()


def test_what_is_bent_much_is_not_trusted(scene: Scene) -> None:
    narrow = scene.points.copy()
    narrow[:, 0] = 112 + 0.4 * (narrow[:, 0] - 112)
    result = add_detail(scene.soft, scene.crop, narrow, scene.source(), 1.0, 0.0)
    skin = box((narrow[80:86] + 0.5) * (LEAST_SIDE / align.BASE))
    assert apart(result, scene.soft)[skin].max() <= 4 and apart(scene.detailed(), scene.soft)[skin].max() > 10


@pytest.mark.parametrize("of_source", [True, False])
def test_around_glasses_the_swap_keeps_its_own(scene: Scene, of_source: bool) -> None:
    bare = scene.detailed()
    worn = scene.detailed(scene.source(worn=1.0)) if of_source else scene.detailed(worn=1.0)
    brows, mouth = box(scene.landmarks[43:52]), box(scene.landmarks[52:72], 4)
    under = box(scene.landmarks[36:37] + np.array([0, 20]), 4)  # an eye
    for place in (brows, under):
        assert apart(worn, scene.soft)[place].max() <= 1 < apart(bare, scene.soft)[place].mean()
    assert apart(worn, bare)[mouth].max() <= 1 and apart(worn, scene.soft)[mouth].mean() > 1


@pytest.mark.parametrize("ring", [LEFT_EYE, RIGHT_EYE])
def test_gaze_and_lids_are_the_targets(scene: Scene, ring: tuple[int, ...]) -> None:
    x, y = scene.landmarks[list(ring)].mean(0).astype(int)
    lid = scene.landmarks[ring[2]].round().astype(int)
    other = scene.crop.copy()
    for at in ((x, y), lid):
        cv2.circle(other, (int(at[0]), int(at[1])), 1, (255, 255, 255), -1)
    change = apart(scene.detailed(scene.source(other)), scene.detailed())
    assert change[y - 1 : y + 2, x - 1 : x + 2].mean() < 4
    assert change[lid[1], lid[0]] < 0.15 * apart(other, scene.crop)[lid[1], lid[0]]


def test_what_shows_in_the_sources_open_mouth_is_not_laid_over_closed_lips(scene: Scene) -> None:
    smiling = scene.landmarks.copy()
    upper, lower = list(INNER_LIPS[1:4]), list(INNER_LIPS[5:])
    smiling[upper, 1] -= 10
    smiling[lower, 1] += 10
    x, y = (int(at * len(scene.source().skin) / LEAST_SIDE) for at in smiling[upper + lower].mean(0))
    closed, opened = (detail_of_source(scene.crop, points, 1.0, 0.0).skin for points in (scene.landmarks, smiling))
    assert opened[y, x] < 0.2 and opened[y + 12, x] == 1 and closed[y + 4, x] > 0.8
    hidden = replace(scene.source(), skin=np.zeros_like(opened))
    lips = box(scene.landmarks[52:72])
    assert apart(scene.detailed(hidden), scene.soft)[lips].mean() < apart(scene.detailed(), scene.soft)[lips].mean() / 3


def test_a_sources_fringe_lends_none_of_its_strands(scene: Scene) -> None:
    brows = int(scene.landmarks[list(BROWS), 1].min())
    strands, shade = scene.crop.copy(), scene.crop.copy()
    strands[: brows - 8, 60:200] = 30  # a fringe, whose tips reach down to the brows
    strands[brows - 8 : brows - 3, 64:200:12] = 30
    shade[brows - 20 : brows - 12, 110:120] = 30
    plain, fringe, shaded = (scene.source(crop).skin for crop in (scene.crop, strands, shade))
    row, eyes = (brows - 8) // 4, int(scene.landmarks[list(EYE_CENTRES), 1].mean()) // 4
    assert plain[row, 20:44].min() == 1 and fringe[row, 20:44].max() < 0.2 and shaded[row, 20:44].min() > 0.9
    features = np.s_[eyes : eyes + 12, 24:40]
    assert np.allclose(fringe[features], plain[features], atol=1e-3)


def test_beside_a_blurred_face_a_swap_stays_soft(scene: Scene) -> None:
    for sigma in (2, 4, 7):
        target = cv2.GaussianBlur(scene.crop, (0, 0), sigma)
        has, plain, wanted = (detail_of(cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA))
                              for image in (scene.detailed(target=target), scene.soft, target))
        assert has < 1.05 * max(1.5 * wanted, plain)
    assert detail_of(scene.detailed(target=target)) < detail_of(scene.detailed()) / 2


def test_small_sources_have_none(scene: Scene) -> None:
    eyes = float(np.linalg.norm(scene.kps[1] - scene.kps[0]))
    none, some, whole = (share_of(scene.kps * (pixels / eyes)) for pixels in (10, 24, 60))
    assert none == 0 < some < whole == 1


def test_large_faces_have_more_pixels_and_small_ones_the_generators(scene: Scene) -> None:
    detail = TrackDetail([scene.source()], 1.0, SIZE, align.BASE)
    small = scene.added(0.2, detail, track=1)
    assert small.image.shape == (SIZE, SIZE, 3)
    large = scene.added(1.0, detail, track=2)
    assert large.image.shape == (LEAST_SIDE, LEAST_SIDE, 3)
    there = align.cut(scene.photo, scene.kps, LEAST_SIDE, 2)
    assert np.allclose(large.M_frame2crop, there.M_frame2crop)
    assert apart(large.image, scene.crop)[64:192, 64:192].mean() < 6


def test_near_the_limit_a_face_keeps_its_side(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.inference.track_detail._FADE", 1.0)
    detail = TrackDetail([scene.source()], 1.0, SIZE, align.BASE)
    scale = enlargement(align.estimate(scene.kps, SIZE, 2)[0])  # of the photo as it is
    sides = [len(scene.added(wanted / scale, detail).image) for wanted in (1.0, 1.45, 1.7, 1.45, 1.35, 1.2, 1.45)]
    assert sides == [SIZE, SIZE, LEAST_SIDE, LEAST_SIDE, LEAST_SIDE, SIZE, SIZE]


def test_a_face_that_grows_or_shrinks_gets_more_or_fewer_pixels_little_by_little(scene: Scene) -> None:
    scale, source = enlargement(align.estimate(scene.kps, SIZE, 2)[0]), scene.source()
    at_once = scene.added(1.7 / scale, TrackDetail([source], 1.0, SIZE, align.BASE)).image
    detail = TrackDetail([source], 1.0, SIZE, align.BASE)
    small = scene.added(1.2 / scale, detail).image
    left = np.array([apart(scene.added(1.7 / scale, detail).image, at_once).mean() for _ in range(18)])
    assert small.shape == (SIZE, SIZE, 3) and left[0] > 0.5 and left[-1] == 0
    assert (np.diff(left) <= 0).all() and np.diff(left).min() > -0.25 * left[0]
    sides = [len(scene.added(1.2 / scale, detail).image) for _ in range(18)]
    assert sides == sorted(sides, reverse=True) and sides[0] == LEAST_SIDE and sides[-1] == SIZE


def test_along_a_track_detail_does_not_pulse_with_keyframes_and_a_pull_of_focus_passes(scene: Scene) -> None:
    def stream(widths: list[float]) -> list[np.ndarray]:
        """Swaps of a track whose targets are blurred by these standard deviations, while another one's are sharp."""
        detail, frame, found = TrackDetail([scene.source()], 1.0, LEAST_SIDE, align.BASE), Frame(scene.photo), []
        for width in widths:
            targets = [scene.crop if width == 0 else cv2.GaussianBlur(scene.crop, (0, 0), width), scene.crop]
            faces = [(frame, TrackedFace(scene.kps, 0, track, 2)) for track in (1, 2)]
            swaps = [Swap(scene.soft, align.estimate(scene.kps, LEAST_SIDE, 2)[0], target) for target in targets]
            first, second = detail.add(faces, swaps, [Exposure()] * 2, [scene.points] * 2, np.zeros(2))
            assert np.array_equal(second.image, sharp), "tracks do not mix"
            found.append(first.image)
        return found

    def strengths(images: list[np.ndarray]) -> np.ndarray:
        return np.array([apart(image, scene.soft)[brows].mean() for image in images])

    brows, sharp = box(scene.landmarks[list(BROWS)]), scene.detailed()
    blurred = scene.detailed(target=cv2.GaussianBlur(scene.crop, (0, 0), 3))
    least, most = strengths([blurred, sharp])
    still = stream([3, 3, 3, 0, 2, 3, 3, 3])
    assert np.array_equal(still[0], blurred), "the first frame is as a photo"
    assert np.ptp(strengths(still)) < 0.1 * (most - least)
    pull = (strengths(stream([3, 3, 3] + [0] * 6)) - least) / (most - least)
    assert (np.diff(pull) > -0.01).all() and pull[-1] > 0.6, "most of a lasting change passes within some frames"


@pytest.mark.parametrize("size", [64, 128, 256, 512])
def test_generators_of_all_sizes(scene: Scene, size: int) -> None:
    crop = align.cut(scene.photo, scene.kps, max(size, LEAST_SIDE), 2).image
    landmarks = (scene.landmarks + 0.5) * (len(crop) / LEAST_SIDE) - 0.5
    source = detail_of_source(crop, landmarks, 1.0, 0.0).reduced(size)
    target = align.cut(scene.photo, scene.kps, size, 2).image
    soft = cv2.GaussianBlur(target, (0, 0), size / 50)
    result = add_detail(soft, target, scene.points, source, 1.0, 0.0)
    inner = (slice(size // 3, -size // 3),) * 2
    assert result.shape == soft.shape
    assert apart(result, target)[inner].mean() < 0.6 * apart(soft, target)[inner].mean()


def test_of_several_photos_one_that_is_alike_and_large_and_looks_at_the_camera() -> None:
    frontal = np.array([(30, 30), (70, 30), (50, 52), (35, 75), (65, 75)], np.float32)
    turned = frontal + np.array([(0, 0), (0, 0), (9, 0), (0, 0), (0, 0)], np.float32)
    strange, small, aside, best = (_Seen(Path(), np.zeros(2, np.float32), kps, None)
                                   for kps in (frontal, frontal / 4, turned, frontal))
    faces = [strange, small, aside, best]
    assert _lender(faces, [False, True, True, True]) is best
    assert _lender(faces[:3], [False, True, True]) is aside
    assert _lender(faces[:2], [False, True]) is small
    assert _lender(faces[:2], [True, True]) is strange


def test_a_folders_photo_lends_its_detail_and_what_is_known_of_its_glasses(
    pipeline: SwapPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1.jpg").write_bytes((IMAGES / "portrait.jpg").read_bytes())
    cv2.imwrite(str(tmp_path / "2.png"), cv2.resize(cv2.imread(str(IMAGES / "portrait.jpg")), (60, 60)))  # type: ignore[arg-type]
    glasses = pipeline.stages.settings.glasses
    assert glasses is not None
    always = replace(glasses, bias=np.full_like(glasses.bias, 1000))
    monkeypatch.setattr(pipeline.stages, "settings", replace(pipeline.stages.settings, glasses=always))
    details = []
    for source in (tmp_path, tmp_path / "1.jpg", tmp_path / "2.png"):
        pipeline.set_sources(source)
        details.append(pipeline._sources[0].detail)
    folder, large, small = details
    assert folder is not None and large is not None and np.array_equal(folder.fine, large.fine)
    assert folder.worn == pytest.approx(1) and small is None, "too small to lend anything"


def test_references_enhancers_and_settings_without_detail_have_none(pipeline: SwapPipeline) -> None:
    portrait = [IMAGES / "portrait.jpg"]
    args = (pipeline.stages, pipeline.report)
    assert identities(portrait, "reference", NoFaceInReferenceError, *args)[0].detail is None
    assert identities(portrait, "source", NoFaceInSourceError, *args)[0].detail is not None
    plain = load_pipeline(device="cpu", model="embedded", detail=0.0)
    assert identities(portrait, "source", NoFaceInSourceError, plain.stages, plain.report)[0].detail is None
    generator: Any = SimpleNamespace(card={"detail": 1.0})
    identity: Any = SimpleNamespace(card={}, path=Path("encoder"), network=SimpleNamespace(num_features=2))
    for use_sr in (False, True):
        settings = stages._settings(InferenceConfig(use_sr=use_sr), generator, identity)
        assert settings.detail == (0 if use_sr else 1)


def swapped(tmp_path: Path, **options: Any) -> np.ndarray:
    pipeline = load_pipeline(InferenceConfig(device="cpu", model="embedded", **options))
    pipeline.swap_photo(IMAGES / "portrait.jpg", IMAGES / "selfie.jpg", tmp_path / "out.png")
    result = cv2.imread(str(tmp_path / "out.png"))
    assert result is not None
    return result


@pytest.mark.parametrize(("strength", "share"), [(0.0, None), (0.5, 0.5), (1.3, 1.0), (None, 1.0)])
def test_a_mixture_of_two_people_has_a_part_of_it(
    pipeline: SwapPipeline, monkeypatch: pytest.MonkeyPatch, strength: float | None, share: float | None
) -> None:
    monkeypatch.setattr(pipeline.stages, "settings", replace(pipeline.stages.settings, identity_strength=strength))
    detail = pipeline._detail()
    assert (None if detail is None else detail._share) == share


def test_swaps_in_photos_have_more_of_it_whatever_the_masks_side(tmp_path: Path, pipeline: SwapPipeline) -> None:
    results = [swapped(tmp_path, **options) for options in ({"detail": 0.0}, {}, {"crop_size": 112})]
    face = pipeline.stages.detector.detect(results[0], careful=True)[0]
    none, some, same = (align.cut(result, face.kps, LEAST_SIDE).image for result in results)
    assert detail_of(some) > 1.2 * detail_of(none)
    assert apart(some, same)[64:192, 64:192].mean() < 1 < apart(some, none)[64:192, 64:192].mean()


def test_targets_with_glasses_are_told_to_the_stage(pipeline: SwapPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    add = TrackDetail.add

    def recorded(self: TrackDetail, *given: Any) -> list[Swap]:
        told.extend(given[-1])
        return add(self, *given)

    monkeypatch.setattr(TrackDetail, "add", recorded)
    glasses = pipeline.stages.settings.glasses
    assert glasses is not None
    image = cv2.imread(str(IMAGES / "selfie.jpg"))
    assert image is not None
    pipeline.set_sources(IMAGES / "portrait.jpg")
    for bias in (-1000, 1000):
        always = replace(glasses, bias=np.full_like(glasses.bias, bias))
        for wanted in (True, False):
            settings = replace(pipeline.stages.settings, glasses=always, target_glasses=wanted)
            monkeypatch.setattr(pipeline.stages, "settings", settings)
            list(pipeline.run([Frame(image)]))
    assert np.allclose(told, [0, 0, 1, 1], atol=1e-3)
