"""Photos given as videos, videos given as photos, and folders of the wrong kind: what to change is said."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from PIL import Image

from tests.clips import make_clip, picture
from tests.conftest import Call, swap
from utils import errors
from utils.inference.config import parse
from utils.io.kind import is_still


def stills(path: Path, count: int) -> Path:
    first, *rest = (Image.fromarray(picture(i)[..., ::-1]) for i in range(count))
    first.save(path, save_all=True, append_images=rest) if rest else first.save(path)
    return path


def test_a_video_is_no_photo(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.MP4")
    code, result, said = call(*swap(photos["a"], str(clip), tmp_path / "o.png"))
    assert code == errors.OptionError.exit_code and "models:" not in said
    assert result["error"] == (f"{clip} is a video: give it as --target_video, with --out_video_name, and leave "
                               "--image_to_image out")


def test_a_photo_is_no_video(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    for target in (photos["b"], str(stills(tmp_path / "one.webp", 1)), str(stills(tmp_path / "one.jpg", 1))):
        code, result, said = call("--source_paths", photos["a"], "--target_video", target, "--out_video_name",
                                  tmp_path / "o.mp4")
        assert code == errors.OptionError.exit_code and "models:" not in said
        assert result["error"].startswith(f"{target} is a photo: give it as --target_image, with --out_image_name and "
                                          "--image_to_image True")
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_only_pictures_that_stand_still_are_photos(tmp_path: Path) -> None:
    for name in ("a.gif", "a.webp", "a.png"):
        assert not is_still(stills(tmp_path / name, 3)) and is_still(stills(tmp_path / name, 1))
    (tmp_path / "broken.jpg").write_text("no picture")
    make_clip(tmp_path / "clip.mp4").rename(tmp_path / "clip.png")
    no_more, nonsense = b"\0\0\0\0\x08\0\x08\0", b"\1\0\0\0\x08\0\x08\0"  # where a TIFF's next picture is
    for name, whole, damaged in (("a.avif", b"pitm", b"none"), ("a.tif", no_more, nonsense)):
        data = stills(tmp_path / name, 1).read_bytes()
        assert is_still(tmp_path / name) and whole in data
        (tmp_path / name).write_bytes(data.replace(whole, damaged, 1))
    for name in ("broken.jpg", "clip.png", "nowhere.jpg", "a.avif", "a.tif"):
        assert not is_still(tmp_path / name)


@pytest.mark.parametrize("image_to_image", [True, False])
def test_videos_of_a_folder_are_swapped_one_by_one(
    call: Call, photos: dict[str, str], tmp_path: Path, image_to_image: bool
) -> None:
    folder = tmp_path / "my clips"
    folder.mkdir()
    for name in ("a.mov", "b.mov", "c.avi", "._a.mov"):
        (folder / name).write_text("a video")
    target = ["--image_to_image", "--target_image", folder, "--out_image_name", tmp_path / "out"] if image_to_image \
        else ["--target_video", folder, "--out_video_name", tmp_path / "o.mp4"]
    code, result, said = call("--source_paths", photos["a"], *target)
    assert code == errors.InputError.exit_code and "models:" not in said
    assert f"{folder} has no pictures but 3 video(s), and videos are swapped one at a time" in result["error"]
    loop = result["error"].partition("in a shell: ")[2]
    assert shlex.split(loop)[:4] == ["for", "clip", "in", f"{folder}/*.mov;"] and '--target_video "$clip"' in loop
    (folder / "1.png").write_bytes(Path(photos["nobody"]).read_bytes())
    assert call("--source_paths", photos["a"], *target)[0] == errors.NoFaceInTargetError.exit_code


def test_the_other_target_alone_is_answered_with_what_to_change() -> None:
    for words, message in ((["--image_to_image", "--target_video", "b.mp4"], "leave --image_to_image out for your"),
                           (["--image_to_image"], "give --target_image$"),
                           (["--target_image", "b.jpg"], "--image_to_image True with your --target_image")):
        with pytest.raises(errors.OptionError, match=message):
            parse(["--source_paths", "a.jpg", *words])
