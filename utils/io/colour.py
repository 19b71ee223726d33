"""Decoded video frames to BGR pictures and back, with the colours that their tags mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from utils.inference.types import Box, Pixels

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.plane import VideoPlane
    from av.video.reformatter import Colorspace, VideoReformatter

RGB, _BT709, _UNSPECIFIED = 0, 1, 2  # values of the tags, ITU-T H.273
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


def _matrix(colour: Colour, height: int) -> Colorspace:
    """The YUV matrix to compute with; players' convention where the tag is missing."""
    from av.video.reformatter import Colorspace

    known = {
        1: Colorspace.ITU709,
        4: Colorspace.FCC,
        5: Colorspace.ITU601,
        6: Colorspace.ITU601,
        7: Colorspace.SMPTE240M,
        9: Colorspace.BT2020,
        10: Colorspace.BT2020,
    }
    return known.get(colour.matrix, Colorspace.ITU709 if height >= _HD_HEIGHT else Colorspace.ITU601)


def to_bgr(frame: VideoFrame, colour: Colour, converter: VideoReformatter, height: int) -> np.ndarray:
    """Convert a decoded frame; high dynamic range is mapped to BT.709 with diffuse white (203 cd/m²) as white.

    converter: one for all frames of a video, since it prepares tables. height: of the video, for colours without a tag.
    Returns (H, W, 3) uint8 BGR.
    """
    from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation

    if colour.matrix == RGB:
        return frame.to_ndarray(format="bgr24")
    mapped = {}
    if colour.high_dynamic_range:
        mapped = {"dst_color_trc": ColorTrc.BT709, "dst_color_primaries": ColorPrimaries.BT709}
    planes: Any = converter.reformat(
        frame,
        format="gbrp",  # FFmpeg has fast code for separate planes only
        src_colorspace=_matrix(colour, height),
        src_color_range=_FULL if colour.full_range else _LIMITED,
        dst_color_range=_FULL,
        interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
        threads=cv2.getNumThreads(),
        **mapped,
    ).planes
    green, blue, red = (pixels_of(plane) for plane in planes)
    return cv2.merge([blue, green, red])


def from_bgr(image: np.ndarray, colour: Colour, pixel_format: str, converter: VideoReformatter) -> VideoFrame:
    """Convert a picture to a tagged frame for an encoder.

    image: (H, W, 3) uint8 BGR, sides even where `pixel_format` halves its colour channels.
    converter: one for all frames of a video.
    """
    return _tagged(_converted(image, _matrix(colour, image.shape[0]), colour, pixel_format, converter), colour)


def updated(
    decoded: VideoFrame, image: Pixels, changed: Iterable[Box], colour: Colour, converter: VideoReformatter
) -> VideoFrame:
    """A copy of a decoded frame that `can_keep`, tagged, with the parts of a picture in which that has changed.

    image: (H, W, 3) uint8 BGR, of the same size. converter: one for all frames of a video.
    """
    from av import VideoFrame

    result = VideoFrame(decoded.width, decoded.height, _KEPT[0])
    for to, plane in zip(result.planes, decoded.planes, strict=True):
        pixels_of(to)[:] = pixels_of(plane)
    matrix = _matrix(colour, decoded.height)
    for left, top, right, bottom in changed:
        left, top, right, bottom = left // 2 * 2, top // 2 * 2, -(-right // 2) * 2, -(-bottom // 2) * 2
        part = _converted(image[top:bottom, left:right], matrix, colour, _KEPT[0], converter)
        for to, plane, side in zip(result.planes, part.planes, (1, 2, 2), strict=True):
            pixels_of(to)[top // side : bottom // side, left // side : right // side] = pixels_of(plane)
    return _tagged(result, colour)


def _converted(
    image: np.ndarray, matrix: Colorspace, colour: Colour, pixel_format: str, converter: VideoReformatter
) -> VideoFrame:
    from av import VideoFrame
    from av.video.reformatter import Interpolation

    height, width = image.shape[:2]
    # A copy into FFmpeg's own memory, which is padded: its fast code reads a little past the end.
    source = VideoFrame(width, height, "bgr24")
    _rows(source.planes[0])[:, : 3 * width].reshape(height, width, 3)[:] = image
    return converter.reformat(
        source,
        format=pixel_format,
        dst_colorspace=matrix,
        src_color_range=_FULL,
        dst_color_range=_FULL if colour.full_range else _LIMITED,
        interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND,
        threads=cv2.getNumThreads(),
    )


def _tagged(frame: VideoFrame, colour: Colour) -> VideoFrame:
    frame.colorspace, frame.color_range = colour.matrix, _FULL if colour.full_range else _LIMITED
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame


def pixels_of(plane: VideoPlane) -> np.ndarray:
    """A view of the pixels of a plane of one byte each, (H, W) uint8."""
    return _rows(plane)[:, : plane.width]


def _rows(plane: VideoPlane) -> np.ndarray:
    """A view of a plane's bytes, (H, bytes of a row with its padding) uint8."""
    memory: Any = plane
    return np.frombuffer(memory, np.uint8).reshape(plane.height, plane.line_size)
