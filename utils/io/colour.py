"""Decoded video frames to BGR pictures and back, with the colours that their tags mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from utils.inference.types import Box, Pixels

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.plane import VideoPlane
    from av.video.reformatter import VideoReformatter

RGB, _BT709, _UNSPECIFIED, _BT601 = 0, 1, 2, 5  # values of the tags, ITU-T H.273
_LUMA = {  # shares of red and blue in brightness, by the tag
    _BT709: (0.2126, 0.0722), 4: (0.30, 0.11), _BT601: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593),
}  # fmt: skip
_LIMITED, _FULL = 1, 2
_PQ, _HLG = 16, 18  # transfer functions of high dynamic range
_KEPT = ("yuv420p", "yuvj420p")  # what encoders get; the second name says by itself that the range is full
_HD_HEIGHT = 720  # players take untagged video of at least this height for BT.709, smaller for BT.601


@dataclass(frozen=True)
class Colour:
    """Colour tags of a video, in the numbers of ITU-T H.273."""

    matrix: int = _UNSPECIFIED
    primaries: int = _UNSPECIFIED
    transfer: int = _UNSPECIFIED
    full_range: bool = False

    @property
    def high_dynamic_range(self) -> bool:
        """Whether the transfer function is PQ or HLG."""
        return self.transfer in (_PQ, _HLG)

    def for_output(self) -> Colour:
        """Tags of the encoded result: the same, except for what 8-bit video cannot mean."""
        if self.high_dynamic_range or self.matrix == RGB:
            return Colour(_BT709, _BT709, _BT709)
        return self


def colour_of(frame: VideoFrame) -> Colour:
    """The colour tags of a decoded frame."""
    full = frame.color_range == _FULL or frame.format.name.startswith("yuvj")
    matrix = RGB if frame.format.is_rgb else int(frame.colorspace)
    return Colour(matrix, int(frame.color_primaries), int(frame.color_trc), full)


def bit_depth(frame: VideoFrame) -> int:
    """Bits per colour channel of a decoded frame."""
    return max((component.bits for component in frame.format.components), default=8)


def can_keep(frame: VideoFrame, colour: Colour) -> bool:
    """Whether an encoder can take what was decoded: 8 bits, halved colour channels, even sides and colours that the
    result has as well."""
    even = frame.width % 2 == 0 and frame.height % 2 == 0
    return even and frame.format.name in _KEPT and colour == colour.for_output()


def to_bgr(frame: VideoFrame, colour: Colour, converter: VideoReformatter, height: int) -> np.ndarray:
    """Convert a decoded frame of any form; high dynamic range is mapped to BT.709 with diffuse white (203 cd/m²) as
    white.

    converter: one for all frames of a video, since it prepares tables. height: of the video, for colours without a tag.
    Returns (H, W, 3) uint8 BGR.
    """
    from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, Interpolation

    if colour.matrix == RGB:
        return frame.to_ndarray(format="bgr24")
    mapped = {}
    if colour.high_dynamic_range:
        mapped = {"dst_color_trc": ColorTrc.BT709, "dst_color_primaries": ColorPrimaries.BT709}
    planes: Any = converter.reformat(
        frame,
        format="gbrp",  # FFmpeg has fast code for separate planes only
        src_colorspace=Colorspace(_matrix(colour, height)),
        src_color_range=_FULL if colour.full_range else _LIMITED,
        dst_color_range=_FULL,
        interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
        threads=cv2.getNumThreads(),
        **mapped,
    ).planes
    green, blue, red = (pixels_of(plane) for plane in planes)
    return cv2.merge([blue, green, red])


def _matrix(colour: Colour, height: int) -> int:
    """The tag of the YUV matrix to compute with; players' convention where it is missing."""
    matrix = {6: 5, 10: 9}.get(colour.matrix, colour.matrix)  # other names of the same numbers
    return matrix if matrix in _LUMA else _BT709 if height >= _HD_HEIGHT else _BT601


@lru_cache(maxsize=8)
def _yuv_from_bgr(colour: Colour, height: int) -> np.ndarray:
    """Affine map (3, 4) float64 from the bytes of BGR to those of YUV; source: ITU-T H.273, 8.3."""
    red, blue = _LUMA[_matrix(colour, height)]
    luma = np.array([blue, 1 - red - blue, red])
    u, v = (np.array([1, 0, 0]) - luma) / (2 - 2 * blue), (np.array([0, 0, 1]) - luma) / (2 - 2 * red)
    if colour.full_range:
        return np.column_stack([np.stack([luma, u, v]), (0, 128, 128)])
    return np.column_stack([np.stack([luma * 219, u * 224, v * 224]) / 255, (16, 128, 128)])


@lru_cache(maxsize=8)
def _bgr_from_yuv(colour: Colour, height: int) -> np.ndarray:
    """Affine map (3, 4) float64 from the bytes of YUV to those of BGR."""
    forth = _yuv_from_bgr(colour, height)
    back = np.linalg.inv(forth[:, :3])
    return np.column_stack([back, -back @ forth[:, 3]])


def joined(planes: Sequence[np.ndarray], colour: Colour, height: int) -> np.ndarray:
    """The picture that three planes show, (H, W, 3) uint8 BGR.

    planes: uint8, Y (H, W), then U and V, as large or halved along both sides. height: of the video, for colours
    without a tag.
    """
    size = planes[0].shape[::-1]
    full = [plane if plane.shape[::-1] == size else cv2.resize(plane, size) for plane in planes]
    return cv2.transform(cv2.merge(full), _bgr_from_yuv(colour, height))


def _parted(image: np.ndarray, colour: Colour, height: int) -> list[np.ndarray]:
    """Three planes of a picture (H, W, 3) uint8 BGR with even sides: Y (H, W), U and V (H/2, W/2)."""
    yuv = cv2.transform(image, _yuv_from_bgr(colour, height))
    halved = cv2.resize(yuv, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return [cv2.extractChannel(yuv, 0), cv2.extractChannel(halved, 1), cv2.extractChannel(halved, 2)]


def from_bgr(image: np.ndarray, colour: Colour) -> VideoFrame:
    """A picture as a tagged frame for an encoder, with halved colour channels.

    image: (H, W, 3) uint8 BGR with even sides.
    """
    from av import VideoFrame

    result = VideoFrame(image.shape[1], image.shape[0], _KEPT[0])
    for to, plane in zip(result.planes, _parted(image, colour, image.shape[0]), strict=True):
        pixels_of(to)[:] = plane
    return _tagged(result, colour)


def updated(decoded: VideoFrame, image: Pixels, changed: Iterable[Box], colour: Colour) -> VideoFrame:
    """A copy of a decoded frame that `can_keep`, tagged, with the parts of a picture in which that has changed.

    image: (H, W, 3) uint8 BGR, of the same size.
    """
    from av import VideoFrame

    result = VideoFrame(decoded.width, decoded.height, _KEPT[0])
    for to, plane in zip(result.planes, decoded.planes, strict=True):
        pixels_of(to)[:] = pixels_of(plane)
    for left, top, right, bottom in changed:
        left, top, right, bottom = left // 2 * 2, top // 2 * 2, -(-right // 2) * 2, -(-bottom // 2) * 2
        parts = _parted(image[top:bottom, left:right], colour, decoded.height)
        for to, part, side in zip(result.planes, parts, (1, 2, 2), strict=True):
            pixels_of(to)[top // side : bottom // side, left // side : right // side] = part
    return _tagged(result, colour)


def _tagged(frame: VideoFrame, colour: Colour) -> VideoFrame:
    frame.colorspace, frame.color_range = colour.matrix, _FULL if colour.full_range else _LIMITED
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame


def pixels_of(plane: VideoPlane) -> np.ndarray:
    """A view of the pixels of a plane of one byte each, (H, W) uint8."""
    memory: Any = plane
    return np.frombuffer(memory, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
