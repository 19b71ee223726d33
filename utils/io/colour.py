"""Decoded video frames to BGR pictures and back, with the colours that their tags mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from utils.inference.types import Box, Pixels
from utils.io.layout import Layout, layout_of

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
_PLANES = {"nv12": "yuv420p", "p010le": "yuv420p10le", "nv16": "yuv422p", "yuyv422": "yuv422p", "uyvy422": "yuv422p",
           "p210le": "yuv422p10le"}  # fmt: skip
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
        """Tags of the encoded result: the same, except for those of pictures that are mapped when they are read."""
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
    """Whether what was decoded can go on to the encoder: planes of a known layout, even sides and colours that the
    result has as well."""
    even = frame.width % 2 == 0 and frame.height % 2 == 0
    return even and layout_of(frame.format.name) is not None and colour == colour.for_output()


def in_planes(frame: VideoFrame, converter: VideoReformatter) -> VideoFrame:
    """A decoded frame in three planes, of one or two with the same samples or of those with a fourth for transparency.

    converter: one for all frames of a video, since it prepares tables.
    """
    name = frame.format.name
    planes = _PLANES.get(name) or re.sub("^yuva|(?<=p1[0-6])be$", lambda part: {"yuva": "yuv"}.get(part[0], "le"), name)
    return frame if planes == name else converter.reformat(frame, format=planes)


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
    green, blue, red = (pixels_of(plane, Layout()) for plane in planes)
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


def _scales(colour: Colour, bits: int) -> list[tuple[float, float]]:
    """Factor and term, for Y, U and V, from bytes to samples of more bits; source: ITU-T H.273, 8.3."""
    factor = (2**bits - 1) / 255 if colour.full_range else 2.0 ** (bits - 8)
    return [(factor, 0.0), *[(factor, 2 ** (bits - 1) - 128 * factor)] * 2]


def joined(planes: Sequence[np.ndarray], colour: Colour, height: int, layout: Layout) -> np.ndarray:
    """The picture that three planes show, (H, W, 3) uint8 BGR.

    planes: of the layout's type, Y (H, W), then U and V, as large or smaller. height: of the video, for colours
    without a tag.
    """
    deep, size = layout.bits > 8, planes[0].shape[::-1]
    if deep:  # not rounded before they are BGR
        planes = [(plane - np.float32(term)) / np.float32(factor)
                  for plane, (factor, term) in zip(planes, _scales(colour, layout.bits), strict=True)]
    full = [plane if plane.shape[::-1] == size else cv2.resize(plane, size) for plane in planes]
    result = cv2.transform(cv2.merge(full), _bgr_from_yuv(colour, height))
    return cv2.convertScaleAbs(np.maximum(result, 0, out=result)) if deep else result


def _parted(image: np.ndarray, colour: Colour, height: int, layout: Layout) -> list[np.ndarray]:
    """Three planes, Y, U and V, of a picture (H, W, 3) uint8 BGR whose sides the layout divides."""
    deep = layout.bits > 8
    yuv = cv2.transform(image.astype(np.float32) if deep else image, _yuv_from_bgr(colour, height))
    size = image.shape[1] // layout.across, image.shape[0] // layout.down
    small = cv2.resize(yuv, size, interpolation=cv2.INTER_AREA)
    planes = [cv2.extractChannel(yuv, 0), cv2.extractChannel(small, 1), cv2.extractChannel(small, 2)]
    if not deep:
        return planes
    return [np.clip(np.rint(plane * factor + term), 0, 2**layout.bits - 1).astype(layout.dtype)
            for plane, (factor, term) in zip(planes, _scales(colour, layout.bits), strict=True)]


def from_bgr(image: np.ndarray, colour: Colour, layout: Layout) -> VideoFrame:
    """A picture as a tagged frame for an encoder.

    image: (H, W, 3) uint8 BGR whose sides the layout divides.
    """
    from av import VideoFrame

    result = VideoFrame(image.shape[1], image.shape[0], layout.name)
    for to, plane in zip(result.planes, _parted(image, colour, image.shape[0], layout), strict=True):
        pixels_of(to, layout)[:] = plane
    return _tagged(result, colour)


def updated(
    decoded: VideoFrame, layout: Layout, image: Pixels, changed: Iterable[Box], colour: Colour
) -> VideoFrame:
    """A copy of a decoded frame that `can_keep`, tagged, with the parts of a picture in which that has changed.

    image: (H, W, 3) uint8 BGR, of the same size.
    """
    from av import VideoFrame

    result = VideoFrame(decoded.width, decoded.height, layout.name)
    for to, plane in zip(result.planes, decoded.planes, strict=True):
        pixels_of(to, layout)[:] = pixels_of(plane, layout)
    for left, top, right, bottom in changed:
        left, top, right, bottom = left // 2 * 2, top // 2 * 2, -(-right // 2) * 2, -(-bottom // 2) * 2
        parts = _parted(image[top:bottom, left:right], colour, decoded.height, layout)
        for to, part, (down, across) in zip(result.planes, parts, layout.sides, strict=True):
            pixels_of(to, layout)[top // down : bottom // down, left // across : right // across] = part
    return _tagged(result, colour)


def in_layout(frame: VideoFrame, layout: Layout, full_range: bool, converter: VideoReformatter) -> VideoFrame:
    """A tagged frame with its samples in another layout or range.

    converter: one for all frames of a video, since it prepares tables.
    """
    from av.video.reformatter import Interpolation

    wanted = _FULL if full_range else _LIMITED
    result = converter.reformat(
        frame, format=layout.name, src_color_range=frame.color_range, dst_color_range=wanted,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND, threads=cv2.getNumThreads(),
    )  # fmt: skip
    result.color_range = wanted
    return result


def _tagged(frame: VideoFrame, colour: Colour) -> VideoFrame:
    frame.colorspace, frame.color_range = colour.matrix, _FULL if colour.full_range else _LIMITED
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame


def pixels_of(plane: VideoPlane, layout: Layout) -> np.ndarray:
    """A view of the samples of a plane, (H, W) of the layout's type."""
    memory: Any = plane
    samples = np.frombuffer(memory, layout.dtype)
    return samples.reshape(plane.height, plane.line_size // layout.dtype.itemsize)[:, : plane.width]
