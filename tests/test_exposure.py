"""Faces in the dark, in fog and in fades are swapped in a light that the generator knows."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.test_tone import picture
from utils.inference import mask
from utils.inference.exposure import Exposure, exposure_of
from utils.inference.pipeline import load_pipeline
from utils.io.frame import Frame
from utils.io.image import read_photo

IMAGES = Path(__file__).resolve().parents[1] / "examples" / "images"
LEAST = 26.0


def in_light(image: np.ndarray, gain: float | np.ndarray, offset: float = 0) -> np.ndarray:
    return np.clip(np.rint(image * np.asarray(gain, np.float32) + np.float32(offset)), 0, 255).astype(np.uint8)


def face() -> np.ndarray:
    """Of a common brightness, contrast and colour."""
    image = picture(0).astype(np.float32)
    image += np.array([-8, 0, 12]) - image[32:96, 32:96].mean((0, 1)) + image[32:96, 32:96].mean()
    return in_light((image - image[32:96, 32:96].mean()) * 2 + 110, 1)


def colours(image: np.ndarray) -> np.ndarray:
    """Logarithms of blue and red over green in the middle."""
    blue, green, red = np.log(image[32:96, 32:96].mean((0, 1)) + 4)
    return np.array([blue - green, red - green])


def seen(image: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of the middle's brightness."""
    middle = cv2.cvtColor(image[32:96, 32:96], cv2.COLOR_BGR2GRAY)
    return float(middle.mean()), float(middle.std())


def test_common_light_stays() -> None:
    image = face()
    assert exposure_of(image, LEAST) == Exposure()
    assert Exposure().applied(image) is image and Exposure().undone(image) is image
    assert exposure_of(in_light(image, 0.1), 0) == Exposure()


@pytest.mark.parametrize(("gain", "offset"), [(0.3, 0), (0.1, 0), (0.2, 100), (0.15, 210), (0.3, 178)])
def test_dark_bright_and_faint_faces_come_into_the_range_and_back(gain: float, offset: float) -> None:
    image = in_light(face(), gain, offset)
    exposure = exposure_of(image, LEAST)
    mean, spread = seen(exposure.applied(image))
    assert 55 < mean < 180 and spread > 0.9 * LEAST
    apart = np.abs(exposure.undone(exposure.applied(image)).astype(int) - image)
    assert np.percentile(apart, 95) <= 1, "all but what is far from the rest comes back"


def test_dim_and_bright_light_is_a_gain() -> None:
    for gain in (0.5, 0.3, 1.75):
        exposure = exposure_of(in_light(face(), gain), LEAST)
        assert (exposure.gain > 1) == (gain < 1) and abs(exposure.offset) < 5


def test_levels_end_at_black_and_white() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for gain, offset in ((2.0, -100.0), (1.0, 200.0), (1.5, 0.0)):
        wanted = np.clip(np.rint(levels * gain + offset), 0, 255)
        assert np.array_equal(Exposure(gain, offset).applied(levels), wanted)
        back = Exposure(1 / gain, -offset / gain)  # undone, it is what this one does
        assert np.array_equal(back.undone(levels), wanted)


@pytest.mark.parametrize("lamp", [(0.4, 1, 0.5), (1.6, 0.7, 0.6), (0.3, 0.4, 1.4), (1.6, 0.8, 1)])
def test_faces_in_coloured_light_come_into_white_light_and_back(lamp: tuple[float, float, float]) -> None:
    image = in_light(face(), np.array(lamp))
    exposure = exposure_of(image, LEAST)
    white = exposure.applied(image)
    assert np.abs(colours(white) - colours(face())).max() < 0.5 < np.abs(colours(image) - colours(face())).max()
    assert abs(seen(white)[0] - seen(image)[0]) < 25
    assert np.percentile(np.abs(exposure.undone(white).astype(int) - image), 95) <= 2


def test_a_toned_picture_of_one_hue_becomes_grey() -> None:
    grey = cv2.cvtColor(face(), cv2.COLOR_BGR2GRAY)
    sepia = in_light(cv2.merge([grey] * 3), np.array([0.7, 0.9, 1.1]))
    exposure = exposure_of(sepia, LEAST)
    shown = exposure.applied(sepia).astype(int)
    assert np.ptp(shown, axis=2).mean() < 2
    assert np.abs(exposure.undone(shown.astype(np.uint8)).astype(int) - sepia).mean() < 1


def test_colours_change_without_a_jump() -> None:
    casts = np.array([exposure_of(in_light(face(), np.array([1, 1, red])), LEAST).cast
                      for red in np.arange(1, 0.3, -0.02)])
    assert (casts[0] == 1).all() and casts[-1, 2] > 1.2 and np.abs(np.diff(np.log(casts), axis=0)).max() < 0.06


def test_a_strong_lamps_colour_does_not_end_at_white() -> None:
    red = in_light(face(), np.array([0.02, 0.02, 1.0]))
    exposure = exposure_of(red, LEAST)
    back = exposure.undone(exposure.applied(red))[32:96, 32:96, 2]
    assert abs(float(back.mean()) - red[32:96, 32:96, 2].mean()) < 5


def test_next_to_nothing_is_not_blown_up() -> None:
    assert exposure_of(np.full((128, 128, 3), 7, np.uint8), LEAST).gain <= 16


def test_the_light_changes_without_a_jump() -> None:
    gains = np.array([exposure_of(in_light(face(), gain), LEAST).gain for gain in np.arange(1, 0.3, -0.02)])
    assert gains[0] == 1 < gains[-1] and (gains[1:] / gains[:-1]).max() < 1.08


@pytest.mark.parametrize("detail", [0.0, 1.0])
@pytest.mark.parametrize(("gain", "offset"), [(0.15, 0), (0.2, 100)])
def test_a_swap_in_the_dark_is_the_swap_in_the_dark(gain: float, offset: float, detail: float, tmp_path: Path) -> None:
    photo = read_photo(IMAGES / "selfie.jpg").image
    pipeline, swaps = load_pipeline(device="cpu", detail=detail), []
    for name, light in (("full", (1, 0)), ("faint", (gain, offset))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), in_light(photo, *light))
        pipeline.swap_photo(IMAGES / "portrait_2.jpg", tmp_path / f"{name}.png", tmp_path / f"{name}_swap.png")
        swaps.append(cv2.imread(str(tmp_path / f"{name}_swap.png")))
    full, faint = swaps
    changed = (in_light(photo, 1) != full).any(axis=2)
    assert changed.mean() > 0.01
    apart = np.abs(faint.astype(int) - in_light(full, gain, offset))[changed]
    # A source's detail may be half as much again as the target's, in any light.
    assert apart.mean() < 2.5 + 0.5 * detail and np.percentile(apart, 99) < 12 + 3 * detail


def test_swaps_do_not_pump_with_the_light() -> None:
    """How far brightness and fine detail of swaps are from what the light alone makes of them, logarithms."""
    photo = cv2.resize(read_photo(IMAGES / "selfie.jpg").image, (400, 400), interpolation=cv2.INTER_AREA)
    gains = (1, 0.6, 0.3, 0.1)
    pipeline = load_pipeline(device="cpu")
    pipeline.set_sources([IMAGES / "portrait_2.jpg"])
    frames = [Frame(in_light(photo, gain), 0) for gain in gains]
    shown = [next(pipeline.run([frame], careful=True)).image.astype(np.float32) for frame in frames]
    inside = np.abs(shown[0] - photo).max(axis=2) > 8
    fine = [np.abs(image - cv2.GaussianBlur(image, (0, 0), 1.5))[inside].mean() for image in shown]
    means = [image[inside].mean() for image in shown]
    for found, most in ((fine[:3], 0.25), (fine, 0.42), (means, 0.01)):
        assert np.abs(np.log(np.array(found) / (np.array(gains[: len(found)]) * found[0]))).max() < most


@pytest.mark.parametrize("lamp", [(0.35, 1, 0.45), (1, 0.45, 0.6)])
def test_a_swap_in_coloured_light_is_the_swap_in_that_light(lamp: tuple[float, float, float], tmp_path: Path) -> None:
    photo = read_photo(IMAGES / "selfie.jpg").image
    pipeline, swaps = load_pipeline(device="cpu"), []
    for name, light in (("white", np.ones(3)), ("lamp", np.array(lamp))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), in_light(photo, light))
        pipeline.swap_photo(IMAGES / "portrait_2.jpg", tmp_path / f"{name}.png", tmp_path / f"{name}_swap.png")
        swaps.append(cv2.imread(str(tmp_path / f"{name}_swap.png")))
    white, coloured = swaps
    changed = (in_light(photo, 1) != white).any(axis=2)
    assert np.abs(coloured.astype(int) - in_light(white, np.array(lamp)))[changed].mean() < 6


def test_masks_in_the_dark_and_under_a_lamp_are_those_of_white_light(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, pipeline, chosen = read_photo(IMAGES / "selfie.jpg").image, load_pipeline(device="cpu"), []
    choose = mask.choose_params
    monkeypatch.setattr(mask, "choose_params", lambda *a: chosen.append(choose(*a)) or chosen[-1])
    for light in (1, 0.1, np.array([0.35, 1, 0.45])):
        cv2.imwrite(str(tmp_path / "target.png"), in_light(photo, light))
        pipeline.swap_photo(IMAGES / "portrait.jpg", tmp_path / "target.png", tmp_path / "swap.png")
    assert len(chosen) == 3 and len(set(chosen)) == 1
