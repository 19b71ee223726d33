"""Measures of pictures, pairs and reports of evaluate.py, on faces that are drawn by numbers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from evaluate import main
from tests.heads import face, rotation
from utils.errors import InputError, NoFaceInTargetError, OptionError, WeightsError
from utils.evaluation import features, measures, pixels, report, session, sheet, video
from utils.evaluation.config import SHARED, EvaluateConfig, command, parse, shown_people
from utils.evaluation.measures import Case, Identity
from utils.evaluation.models import PipelineSwap
from utils.evaluation.people import LabelledPhoto
from utils.evaluation.recognisers import arcface_crop, cosines
from utils.evaluation.run import Album, Evaluation, Gallery, Portrait
from utils.evaluation.video import jitter
from utils.inference.config import InferenceConfig
from utils.inference.types import Face
from utils.io.xmp import SOURCE_TYPE

KPS = np.array([[40, 50], [72, 50], [56, 68], [43, 87], [69, 87]], np.float32)


def test_psnr_and_ssim_count_inside_the_mask_only() -> None:
    picture = np.random.default_rng(0).integers(0, 200, (200, 200, 3)).astype(np.uint8)
    mask = pixels.face_mask(picture.shape, face())
    outside, inside = picture.copy(), picture.copy()
    outside[~mask] = 0
    inside[mask] += 10
    assert pixels.psnr(picture, outside, mask) == float("inf")
    assert pixels.psnr(picture, inside, mask) == pytest.approx(20 * np.log10(255 / 10))
    assert pixels.ssim(picture, picture, mask) == pytest.approx(1)
    assert pixels.ssim(picture, 255 - picture, mask) < 0.1
    for measure in (pixels.psnr, pixels.ssim):
        with pytest.raises(NoFaceInTargetError, match="outside of the picture"):
            measure(picture, picture, np.zeros_like(mask))


def test_angles_are_compared_the_short_way_around() -> None:
    seen = measures.attributes(face(rotation(0, 0, 178)), face(rotation(0, 0, -178)))
    assert seen["roll_degrees"] == pytest.approx(4) and seen["pose_degrees"] == pytest.approx(4)


def test_background_sees_what_is_outside_of_the_face() -> None:
    picture = np.zeros((400, 400, 3), np.uint8)
    changed = picture.copy()
    changed[pixels.face_mask(picture.shape, face())] = 99
    assert measures.background(changed, picture, face())["background_difference"] == 0
    changed[390:, :] = 10
    seen = measures.background(changed, picture, face())
    assert seen["background_difference"] > 0.1
    assert seen["background_changed_share"] > 0.01


def test_steady_motion_is_no_jitter() -> None:
    moving, short = [face() + 3.0 * i for i in range(5)], [face() + 99.0, face()]
    assert jitter([moving, short]) == pytest.approx(0, abs=1e-9) and jitter([short]) == jitter([]) == 0
    moving[2] += 1
    changes = np.linalg.norm([(1, 1), (2, 2), (1, 1)], axis=1)
    assert jitter([moving]) == pytest.approx(changes.mean())
    still = [face()] * 8
    assert jitter([moving, still]) == pytest.approx(changes.sum() / 9), "every moment counts alike"


def test_flicker_of_a_video(tmp_path: Path) -> None:
    """A result that flickers by 20 levels inside the face, made from a target that stays as it is."""
    still = np.full((200, 200, 3), 100, np.uint8)
    inside = pixels.face_mask(still.shape, face())
    for name, step in (("target", 0), ("result", 20)):
        (tmp_path / name).mkdir()
        for i in range(4):
            frame = still.copy()
            frame[inside] += np.uint8(step * (i % 2))
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), frame)
    seen = video.measure(tmp_path / "result", tmp_path / "target", Fixed(), Fixed())
    assert seen["flicker_target"] == 0
    assert 15 < seen["flicker"] <= 20
    assert seen["jitter"] == 0
    assert seen["frames"] == 4
    trembling = video.measure(tmp_path / "result", tmp_path / "target", Trembling(), Trembling())
    assert trembling["jitter"] == trembling["jitter_target"] == pytest.approx(1 / 32, rel=0.05)
    assert trembling["flicker_target"] < 2, "what enters the face's outline has not changed"
    (tmp_path / "target" / "0.png").unlink()
    cv2.imwrite(str(tmp_path / "target" / "0.png"), still[:100])
    with pytest.raises(InputError, match=r"size|another"):
        video.measure(tmp_path / "result", tmp_path / "target", Fixed(), Fixed())


class Colours:
    """A recogniser that knows people by the colour of their picture."""

    name, network, teacher = "colours", "mean colour", False

    def embed(self, image: np.ndarray, kps: np.ndarray) -> np.ndarray:
        return image.reshape(-1, 3).mean(axis=0)

    def distances(self, embedding: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.linalg.norm(others - embedding, axis=1)


class Fixed:
    """Detector and landmarker that see one face everywhere, but none in a black picture."""

    name, network = "fixed", "fixed"

    def detect(self, image: np.ndarray, careful: bool = False) -> list[Face]:
        return [Face(np.array([0, 0, 9, 9], np.float32), 1.0, KPS)] if image.any() else []

    def find(self, image: np.ndarray, kps: np.ndarray) -> np.ndarray:
        return face()


class Trembling(Fixed):
    """Landmarks that move by half a pixel to and fro, and key points whose distance is as unsure."""

    def __init__(self) -> None:
        self._seen = self._found = 0

    def detect(self, image: np.ndarray, careful: bool = False) -> list[Face]:
        self._seen += 1
        return [Face(np.array([0, 0, 9, 9], np.float32), 1.0, self._kps())]

    def _kps(self) -> np.ndarray:
        kps = KPS.copy()
        kps[0, 0] += 0.5 * (self._seen % 2)
        return kps

    def find(self, image: np.ndarray, kps: np.ndarray) -> np.ndarray:
        self._found += 1
        return face() + np.array([0.5 * ((self._found + 1) // 2 % 2), 0])


class Elsewhere(Fixed):
    """Landmarks that are elsewhere in bright frames."""

    def find(self, image: np.ndarray, kps: np.ndarray) -> np.ndarray:
        return super().find(image, kps) + 4.0 * (image.mean() > 110)


def test_what_happens_while_the_face_is_gone_is_no_flicker() -> None:
    steadiness = video.Steadiness(Elsewhere(), Elsewhere())
    for level in (0, 100, 100, 100, 0, 0, 0, 120, 120, 120, 0):
        frame = np.full((200, 200, 3), level, np.uint8)
        steadiness.add(frame, frame)
    assert steadiness.summary() == {"flicker": 0, "flicker_target": 0, "jitter": 0, "jitter_target": 0, "frames": 6}


COLOURS = {"red": (0, 0, 200), "green": (0, 200, 0), "blue": (200, 0, 0), "black": (0, 0, 0)}
PHOTOS = {name: LabelledPhoto(Path(f"{name}.png"), name) for name in COLOURS}


def evaluation(share: float) -> Evaluation:
    """Of a swap that moves the picture's colour by `share` of the way to the source's."""
    album = Album(lambda photo: np.full((200, 200, 3), COLOURS[photo.identity], np.uint8), Fixed())
    gallery = Gallery((album.portrait(PHOTOS[name]) for name in ("red", "green", "blue")), [Colours()])

    def swap(source: Portrait, target: Portrait) -> np.ndarray:
        return ((1 - share) * target.image.astype(float) + share * source.image).astype(np.uint8)

    return Evaluation(swap, album, gallery, Fixed())


@pytest.mark.parametrize(("share", "rank"), [(0.9, 1), (0.2, 2)])
def test_identity_is_found_only_where_it_moved(share: float, rank: int) -> None:
    (case,) = evaluation(share).cases([(PHOTOS["red"], PHOTOS["blue"])])
    seen = case.identity["colours"]
    assert seen.rank == rank
    assert (seen.to_source < seen.to_target) == (rank == 1)
    assert seen.source_to_target == pytest.approx(200 * np.sqrt(2))
    assert case.attributes["pose_degrees"] == pytest.approx(0, abs=1e-3)


def test_a_target_without_a_face_is_reported_and_the_rest_goes_on() -> None:
    cases = list(evaluation(0.9).cases([(PHOTOS["red"], PHOTOS["black"]), (PHOTOS["red"], PHOTOS["blue"])]))
    assert "no face" in cases[0].failure
    assert not cases[1].failure


def identity(gain: float) -> Identity:
    return Identity(0.8 - gain, 0.5, 0.8, 0.3, 0.6, 1)


def test_identity_summary() -> None:
    summary = measures.identity_summary([identity(0.1), identity(0.4)])
    assert summary["moved"] == pytest.approx(0.25)
    assert summary["nearer_to_source"] == 0.5
    assert measures.identity_summary([])["retrieval"] is None


def test_sheet_chooses_best_median_and_worst() -> None:
    cases = [Case(Path(f"{i}"), Path("t"), {"dlib": identity(0.1 * i)}) for i in range(5)]
    chosen = [(name, int(case.source.name)) for name, case in sheet.choose(cases, "dlib", 1)]
    assert chosen == [("best", 4), ("median", 2), ("worst", 0)]


def test_arcface_alignment_puts_keypoints_on_its_template() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    template = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])
    kps = template * 2 + [20, 30]
    for x, y in kps:
        cv2.circle(image, (round(x), round(y)), 5, (255, 255, 255), -1)
    crop = arcface_crop(image, kps)
    assert all(crop[round(y), round(x)].min() > 200 for x, y in template)


def test_cosines() -> None:
    np.testing.assert_allclose(cosines(np.array([2.0, 0]), np.array([[5.0, 0], [0, 1], [-1, 0]])), [1, 0, -1])


def test_what_cannot_be_swapped_is_left_out_of_fid_and_lpips() -> None:
    pairs = [(PHOTOS["red"], PHOTOS["black"]), (PHOTOS["red"], PHOTOS["green"])]
    crops = session._Crops()
    cases = list(evaluation(0.5).cases(pairs, crops.add))
    assert [bool(case.error) for case in cases] == [True, False]
    assert len(crops.made) == len(crops.originals) == 1 and (crops.made[0] != crops.originals[0]).any()
    assert len(list(evaluation(0.5).self_swaps([PHOTOS["green"], PHOTOS["black"]], crops.add))) == 1
    assert len(crops.made) == 2 and (crops.made[1] == crops.originals[1]).all()


def test_frechet_distance_of_known_normal_distributions() -> None:
    draw = np.random.default_rng(0).normal(size=(20000, 3))
    assert features.frechet_distance(draw, draw) == pytest.approx(0, abs=1e-6)
    assert features.frechet_distance(draw, 2 * draw + 1) == pytest.approx(3 + 3, rel=0.05)


class Means(torch.nn.Module):
    def forward(
        self, x: torch.Tensor, resize_images: bool = True, return_features: bool = False, return_lpips: bool = False
    ) -> torch.Tensor:
        return x.float().mean(dim=[2, 3]) / 255


def test_scripted_networks_give_fid_and_lpips(tmp_path: Path) -> None:
    path = tmp_path / "means.pt"
    torch.jit.script(Means()).save(str(path))
    network = features.load_script(path, "FID", torch.device("cpu"))
    white, black = [np.full((8, 8, 3), 255, np.uint8)] * 3, [np.zeros((8, 8, 3), np.uint8)] * 3
    assert features.lpips(network, white, black) == pytest.approx(3)
    assert features.fid(network, white, black) == pytest.approx(3)
    path.write_bytes(b"broken")
    for wrong in (path, tmp_path / "missing.pt"):
        with pytest.raises(WeightsError, match="LPIPS"):
            features.load_script(wrong, "LPIPS", torch.device("cpu"))


def test_fid_and_lpips_are_computed_where_the_networks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def script(pictures: torch.Tensor, **options: bool) -> torch.Tensor:
        assert not torch.backends.cudnn.allow_tf32
        seen.append(pictures.device.type)
        return torch.zeros(len(pictures), 3)

    def load(path: str, map_location: torch.device) -> Any:
        seen.append(map_location.type)
        return SimpleNamespace(eval=lambda: script)

    monkeypatch.setattr(torch.jit, "load", load)
    (tmp_path / "vgg.pt").touch()
    network = features.load_script(tmp_path / "vgg.pt", "LPIPS", torch.device("meta"))
    assert features.lpips(network, [np.zeros((8, 8, 3), np.uint8)], [np.zeros((8, 8, 3), np.uint8)]) == 0
    assert seen == ["meta"] * 4


@pytest.mark.parametrize(
    "argv",
    [[], ["--openpeople", "studio", "--faces", "x"], ["--faces", "x", "--pairs", "-1"], ["--video", "x"],
     ["--recogniser", "nobody", "--faces", "x"]],
)
def test_bad_options(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == OptionError.exit_code
    assert capsys.readouterr().err.startswith("error: ")


def test_options_of_inference_are_taken_over_whole() -> None:
    assert {"model", "glasses", "precision"} < set(SHARED) and "G_path" not in SHARED
    for name in SHARED:
        own, theirs = (config.__dataclass_fields__[name] for config in (EvaluateConfig, InferenceConfig))
        assert own.default == theirs.default and own.type == theirs.type
        assert all(own.metadata.get(fact) == theirs.metadata.get(fact) for fact in ("type", "choices", "metavar"))


def test_command_says_what_differs_from_the_defaults() -> None:
    argv = ["--openpeople", "studio", "--recogniser", "dlib", "sface"]
    assert command(parse(argv)) == "python evaluate.py " + " ".join(argv)
    assert command(EvaluateConfig()) == "python evaluate.py"


def test_a_generator_that_is_named_has_to_be_there(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    with pytest.raises(WeightsError, match="G_unet_2blocks"):
        PipelineSwap(EvaluateConfig(G_path="weights/G_unet_2blocks.pth", device="cpu"))


def test_missing_network_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--faces", str(tmp_path), "--recogniser", "sface", "--sface", "nowhere.onnx"]
    assert main(argv) == WeightsError.exit_code
    assert "nowhere.onnx" in capsys.readouterr().err


def test_the_whole_of_it_on_random_weights(
    tmp_path: Path, random_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openpeople")
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    faces = tmp_path / "faces"
    faces.mkdir()
    examples = Path(__file__).resolve().parents[1] / "examples" / "images"
    for name in ("portrait.jpg", "portrait_2.jpg"):
        (faces / name).write_bytes((examples / name).read_bytes())
    (faces / "grey.png").write_bytes(cv2.imencode(".png", np.full((90, 90, 3), 128, np.uint8))[1].tobytes())
    out = tmp_path / "out"
    argv = ["--faces", str(faces), "--recogniser", "embedded", "--self_swaps", "1", "--out", str(out), "--pairs", "0",
            "--device", "cpu", "--sheet_rows", "1", "--landmarks_against", "embedded",
            "--gallery", "openpeople:studio"]
    assert main(argv) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert len(metrics["cases"]) == 6
    assert sum("failure" in case for case in metrics["cases"]) == 4, "all with the grey picture"
    assert metrics["identity"]["embedded"]["teacher"] is True
    assert metrics["gallery"] == 2 + 10
    assert metrics["landmarks"]["error"] == 0
    assert metrics["pixels"]["background_difference"] < 5
    assert 5 < metrics["pixels"]["psnr"] < 40
    table = (out / "table.md").read_text()
    assert "embedded (a teacher)" in table
    assert "| portrait | portrait_2 |" in table
    assert cv2.imread(str(out / "sheet.png")) is not None
    assert SOURCE_TYPE.encode() in (out / "sheet.png").read_bytes()
    assert report.markdown(metrics).startswith("# Swaps of the faces in faces, 6 pairs\n")
    again = [*argv, "--beside", str(out / "metrics.json"), "--pairs", "4", "--sheet_rows", "0", "--self_swaps", "0"]
    assert main(again) == 0
    table = (out / "table.md").read_text()
    assert "| Measure | out | Value | Network |" in table
    assert f"The column out has the values of {out / 'metrics.json'}. They are of other photos" in table
    assert "ID retrieval" in capsys.readouterr().out


def test_another_evaluation_stands_beside() -> None:
    def measured(retrieval: float, **pixels: float) -> dict[str, Any]:
        empty = {"title": "T", "notes": [], "landmarker": "l", "attributes": {}, "landmarks": {}, "perceptual": {}}
        return empty | {"identity": {"dlib": {"teacher": False, "retrieval": retrieval}}, "pixels": pixels, "video": {}}

    table = report.markdown(measured(0.5, psnr=26.0), beside=measured(0.25), name="first")
    assert "| Measure | first | Value | Network |" in table
    assert "| ID retrieval | 25.0% | 50.0% | dlib |" in table
    assert "| self-swap PSNR in the face |  | 26.00 dB |" in table
    assert report.same_pairs(measured(0.5), measured(0.1))
    pair = {"cases": [{"source": "a.jpg", "target": "b.jpg"}]}
    assert not report.same_pairs(measured(0.5), measured(0.1) | pair)


@pytest.mark.parametrize("content", (None, "no json", "[]", '{"identity": {}}', '{"identity": null}'))
def test_what_stands_beside_must_be_metrics(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_text(content)
    assert main(["--openpeople", "studio", "--beside", str(path)]) == InputError.exit_code
    assert "metrics.json" in capsys.readouterr().err


@pytest.mark.parametrize(("argv", "words"), [
    (["--openpeople", "studio"], "the ten openpeople people (studio)"),
    (["--faces", "openpeople:selfie"], "the ten openpeople people (selfie)"),
    (["--faces", "data/tiles", "--names", "lists/some.txt"], "the faces listed in some.txt"),
    (["--sources", "a/me", "--targets", "a/you"], "the faces in me into those in you"),
])
def test_the_title_says_whose_faces_were_swapped(argv: list[str], words: str) -> None:
    assert shown_people(parse(argv)) == words


def test_closed_mouths_are_told() -> None:
    """A correlation over openings that hardly differ is noise."""
    closed, open_ = {"mouth_target": 0.01}, {"mouth_target": 0.2}
    assert measures.mouths_closed([closed] * 9 + [open_]) and not measures.mouths_closed([closed] * 8 + [open_] * 2)
    assert not measures.mouths_closed([]) and not measures.mouths_closed([{}])
