"""Decoded video frames to BGR pictures and back, with the colours that their tags mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from utils.io.frame import Box, Pixels
from utils.io.hdr import HLG, PQ, from_display, to_display
from utils.io.layout import Layout, layout_of
from utils.io.upright import Upright

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.plane import VideoPlane
    from av.video.reformatter import VideoReformatter

RGB, _BT709, _UNSPECIFIED, _BT601 = 0, 1, 2, 5  # values of the tags, ITU-T H.273
_LUMA = {  # shares of red and blue in brightness, by the tag
    _BT709: (0.2126, 0.0722), 4: (0.30, 0.11), _BT601: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593),
}
_LIMITED, _FULL = 1, 2
# Those of 16 bits come from NVIDIA cards, which decode no more than 12.
_PLANES = {"nv12": "yuv420p", "p010le": "yuv420p10le", "p012le": "yuv420p12le", "p016le": "yuv420p12le",
           "nv16": "yuv422p", "yuyv422": "yuv422p", "uyvy422": "yuv422p",
           "p210le": "yuv422p10le", "p212le": "yuv422p12le", "p216le": "yuv422p12le",
           "yuv444p10msble": "yuv444p10le", "yuv444p12msble": "yuv444p12le"}
_OF_LIGHT = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DYNAMIC_HDR_PLUS", "DYNAMIC_HDR_VIVID",
             "DOVI_RPU_BUFFER", "DOVI_METADATA")
_MARGIN = 2  # pixels around a part that its colours are interpolated from
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
        return self.transfer in (PQ, HLG)

    def of_result(self, deep: bool) -> Colour:
        """Tags of the result: the same, except for RGB and, unless it is `deep`, for a high dynamic range."""
        if self.matrix == RGB or (self.high_dynamic_range and not deep):
            return Colour(_BT709, _BT709, _BT709)
        return self

    def said(self, height: int) -> Colour:
        """With the matrix that players take for granted without a tag, which depends on the picture's height."""
        return replace(self, matrix=_matrix(self, height)) if self.matrix == _UNSPECIFIED else self


def colour_of(frame: VideoFrame) -> Colour:
    """The colour tags of a decoded frame."""
    full = frame.color_range == _FULL or frame.format.name.startswith("yuvj")
    matrix = RGB if frame.format.is_rgb else int(frame.colorspace)
    return Colour(matrix, int(frame.color_primaries), int(frame.color_trc), full)


def describes_light(frame: VideoFrame) -> bool:
    """Whether a decoded frame comes with data on the light of its high dynamic range."""
    try:
        kinds: Any = frame.side_data
    except ValueError:  # PyAV refuses frames with side data that it has no name for
        return True
    return any(kind.type.name in _OF_LIGHT for kind in kinds)


def bit_depth(frame: VideoFrame) -> int:
    """Bits per colour channel of a decoded frame."""
    return max((component.bits for component in frame.format.components), default=8)


def can_keep(frame: VideoFrame, upright: Upright) -> bool:
    """Whether what was decoded can go on to the encoder, upright: planes of a known layout and even sides."""
    layout = layout_of(frame.format.name)
    if layout is None or frame.width % 2 or frame.height % 2:
        return False
    return layout.across == layout.down or not upright.swaps_sides


def to_upright(frame: VideoFrame, upright: Upright) -> VideoFrame:
    """A decoded frame that `can_keep`, upright, with its tags."""
    from av import VideoFrame

    if not upright:
        return frame
    layout = layout_of(frame.format.name) or Layout()
    sides = (frame.height, frame.width) if upright.swaps_sides else (frame.width, frame.height)
    result = VideoFrame(*sides, layout.name)
    for to, plane in zip(result.planes, frame.planes, strict=True):
        pixels_of(to, layout)[:] = upright.applied(pixels_of(plane, layout))
    return _tagged(result, colour_of(frame))


def to_planar(frame: VideoFrame, upright: Upright, converter: VideoReformatter) -> VideoFrame:
    """A decoded frame in three planes, of one or two with the same samples or of those with a fourth for transparency;
    with whole colours where rows with halved ones are to become columns.

    converter: one for all frames of a video, since it prepares tables.
    """
    name = frame.format.name
    planes = _PLANES.get(name) or re.sub("^yuva|(?<=p1[0-6])be$", lambda part: {"yuva": "yuv"}.get(part[0], "le"), name)
    layout = layout_of(planes)
    if upright.swaps_sides and layout is not None and layout.across != layout.down:
        planes = "yuvj444p" if name.startswith("yuvj") else Layout(layout.bits, 1, 1).name
    return frame if planes == name else converter.reformat(frame, format=planes)


def to_bgr(
    frame: VideoFrame, colour: Colour, converter: VideoReformatter, height: int, mapped_range: bool = True
) -> np.ndarray:
    """Convert a decoded frame of any form.

    converter: one for all frames of a video, since it prepares tables. height: of the video, for colours without a tag.
    mapped_range: map high dynamic range to BT.709 with diffuse white (203 cd/m²) as white; else as `yuv_to_bgr`.
    Returns (H, W, 3) uint8 BGR.
    """
    from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, Interpolation

    mapping = colour.high_dynamic_range and mapped_range
    if colour.matrix == RGB and not mapping:
        return to_display(frame.to_ndarray(format="bgr24"), colour.transfer, colour.primaries)
    mapped: dict[str, Any] = {}
    kind = Interpolation.BILINEAR | Interpolation.ACCURATE_RND
    if mapping:
        mapped = {"dst_color_trc": ColorTrc.BT709, "dst_color_primaries": ColorPrimaries.BT709}
    else:
        kind |= Interpolation.FULL_CHR_H_INT  # with which FFmpeg 8 confuses the colours of what it maps
    planes: Any = converter.reformat(
        frame,
        format="gbrp",  # FFmpeg has fast code for separate planes only
        src_colorspace=None if colour.matrix == RGB else Colorspace(_matrix(colour, height)),
        src_color_range=_FULL if colour.full_range else _LIMITED,
        dst_color_range=_FULL,
        interpolation=kind,
        threads=cv2.getNumThreads(),
        **mapped,
    ).planes
    green, blue, red = (pixels_of(plane, Layout()) for plane in planes)
    bgr = cv2.merge([blue, green, red])
    return bgr if mapped else to_display(bgr, colour.transfer, colour.primaries)


def _matrix(colour: Colour, height: int) -> int:
    """The tag of the YUV matrix to compute with; players' convention where it is missing."""
    matrix = {6: 5, 10: 9}.get(colour.matrix, colour.matrix)  # other names of the same numbers
    return matrix if matrix in _LUMA else _BT709 if height >= _HD_HEIGHT else _BT601


@lru_cache(maxsize=8)
def _bgr_to_yuv_matrix(colour: Colour, height: int) -> np.ndarray:
    """Affine map (3, 4) float64 from the bytes of BGR to those of YUV; source: ITU-T H.273, 8.3."""
    red, blue = _LUMA[_matrix(colour, height)]
    luma = np.array([blue, 1 - red - blue, red])
    u, v = (np.array([1, 0, 0]) - luma) / (2 - 2 * blue), (np.array([0, 0, 1]) - luma) / (2 - 2 * red)
    if colour.full_range:
        return np.column_stack([np.stack([luma, u, v]), (0, 128, 128)])
    return np.column_stack([np.stack([luma * 219, u * 224, v * 224]) / 255, (16, 128, 128)])


@lru_cache(maxsize=8)
def _yuv_to_bgr_matrix(colour: Colour, height: int) -> np.ndarray:
    """Affine map (3, 4) float64 from the bytes of YUV to those of BGR."""
    forth = _bgr_to_yuv_matrix(colour, height)
    back = np.linalg.inv(forth[:, :3])
    return np.column_stack([back, -back @ forth[:, 3]])


def _scales(colour: Colour, bits: int) -> list[tuple[float, float]]:
    """Factor and term, for Y, U and V, from bytes to samples of more bits; source: ITU-T H.273, 8.3."""
    factor = (2**bits - 1) / 255 if colour.full_range else 2.0 ** (bits - 8)
    return [(factor, 0.0), *[(factor, 2 ** (bits - 1) - 128 * factor)] * 2]


def yuv_to_bgr(planes: Sequence[np.ndarray], colour: Colour, height: int, layout: Layout) -> np.ndarray:
    """The picture that three planes show, (H, W, 3) uint8 BGR.

    planes: of the layout's type, Y (H, W), then U and V, as large or smaller. height: of the video, for colours
    without a tag. High dynamic range keeps its samples' order, and BT.2020 becomes BT.709, as utils.io.hdr says.
    """
    deep, size = layout.bits > 8, planes[0].shape[::-1]
    if deep:  # not rounded before they are BGR
        planes = [(plane - np.float32(term)) / np.float32(factor)
                  for plane, (factor, term) in zip(planes, _scales(colour, layout.bits), strict=True)]
    full = [plane if plane.shape[::-1] == size else cv2.resize(plane, size) for plane in planes]
    result = cv2.transform(cv2.merge(full), _yuv_to_bgr_matrix(colour, height))
    return to_display(result, colour.transfer, colour.primaries)


def region_to_bgr(frame: VideoFrame, layout: Layout, colour: Colour, box: Box) -> np.ndarray:
    """A part of a decoded frame that `can_keep`, (H, W, 3) uint8 BGR, with even sides at an even place."""
    left, top = (max(value - _MARGIN, 0) for value in box[:2])
    right, bottom = min(box[2] + _MARGIN, frame.width), min(box[3] + _MARGIN, frame.height)
    parts = [pixels_of(plane, layout)[top // down : bottom // down, left // across : right // across]
             for plane, (down, across) in zip(frame.planes, layout.sides, strict=True)]
    bgr = yuv_to_bgr(parts, colour, frame.height, layout)
    return bgr[box[1] - top : box[3] - top, box[0] - left : box[2] - left]


def _bgr_to_yuv(image: np.ndarray, colour: Colour, height: int, layout: Layout) -> list[np.ndarray]:
    """Three planes, Y, U and V, of a picture (H, W, 3) uint8 BGR whose sides the layout divides."""
    deep = layout.bits > 8
    coded = from_display(image, colour.transfer, colour.primaries)
    yuv = cv2.transform(coded.astype(np.float32) if deep else coded, _bgr_to_yuv_matrix(colour, height))
    size = image.shape[1] // layout.across, image.shape[0] // layout.down
    small = cv2.resize(yuv, size, interpolation=cv2.INTER_AREA)
    planes = [cv2.extractChannel(yuv, 0), cv2.extractChannel(small, 1), cv2.extractChannel(small, 2)]
    if yuv.dtype == np.uint8:
        return planes
    return [np.clip(np.rint(plane * factor + term), 0, 2**layout.bits - 1).astype(layout.dtype)
            for plane, (factor, term) in zip(planes, _scales(colour, layout.bits), strict=True)]


def from_bgr(image: np.ndarray, colour: Colour, layout: Layout) -> VideoFrame:
    """A picture as a tagged frame for an encoder.

    image: (H, W, 3) uint8 BGR whose sides the layout divides.
    """
    from av import VideoFrame

    result = VideoFrame(image.shape[1], image.shape[0], layout.name)
    for to, plane in zip(result.planes, _bgr_to_yuv(image, colour, image.shape[0], layout), strict=True):
        pixels_of(to, layout)[:] = plane
    return _tagged(result, colour)


def copy_with_changes(
    decoded: VideoFrame, layout: Layout, before: Pixels, image: Pixels, changed: Iterable[Box], colour: Colour
) -> VideoFrame:
    """A copy of a decoded frame that `can_keep`, tagged, with what has changed of its picture in these parts.

    Samples stay where the picture shows them as it did: from colours and back, most of a noisy picture's would differ.
    before, image: (H, W, 3) uint8 BGR, of the same size, what the decoded frame shows and what the result is to show.
    """
    from av import VideoFrame

    result = VideoFrame(decoded.width, decoded.height, layout.name)
    for to, plane in zip(result.planes, decoded.planes, strict=True):
        pixels_of(to, layout)[:] = pixels_of(plane, layout)
    for left, top, right, bottom in changed:
        left, top, right, bottom = left // 2 * 2, top // 2 * 2, -(-right // 2) * 2, -(-bottom // 2) * 2
        picture = image[top:bottom, left:right]
        fresh = _differences(before[top:bottom, left:right], picture)
        parts = _bgr_to_yuv(picture, colour, decoded.height, layout)
        for to, part, (down, across) in zip(result.planes, parts, layout.sides, strict=True):
            place = pixels_of(to, layout)[top // down : bottom // down, left // across : right // across]
            cv2.copyTo(part, cv2.resize(fresh, part.shape[::-1], interpolation=cv2.INTER_AREA), place)
    return _tagged(result, colour)


def _differences(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where two pictures (H, W, 3) uint8 differ, (H, W) uint8: 0 where they do not, else so much that the mean of any
    such pixel with three others is not 0 either."""
    return cv2.cvtColor(cv2.compare(one, other, cv2.CMP_NE), cv2.COLOR_BGR2GRAY)


def to_pixel_format(frame: VideoFrame, layout: Layout, full_range: bool, converter: VideoReformatter) -> VideoFrame:
    """A tagged frame with its samples in another layout or range.

    converter: one for all frames of a video, since it prepares tables.
    """
    from av.video.reformatter import Interpolation

    wanted = _FULL if full_range else _LIMITED
    result = converter.reformat(
        frame, format=layout.name, src_color_range=frame.color_range, dst_color_range=wanted,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND, threads=cv2.getNumThreads(),
    )
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
