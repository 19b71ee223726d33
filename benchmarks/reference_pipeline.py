"""The published method, written straightforwardly, as the measure of what the pipeline gains.

All frames are read first; then come, frame by frame and in float32: detection, identity of every face, smoothing, the
generator as it was trained, tone, sharpening, detail, blur, the rim of the mask and what covers the face as its JSON
asks for, landmarks of the swap, a mask, warps and blending of whole frames; what comes out is kept and encoded at the
end. Grain, and what is done to embeddings, are left out. Networks, detector and encoder settings are those of the
pipeline; every step has all cores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from utils.inference import align, mask, rim
from utils.inference.blur import TrackBlur
from utils.inference.embeddings import normalise
from utils.inference.exposure import Exposure
from utils.inference.keypoints import yaw
from utils.inference.people import KnownPerson
from utils.inference.pipeline import SwapPipeline
from utils.inference.pixels import to_images, to_tensor
from utils.inference.sharpen import sharpen
from utils.inference.smooth import smooth
from utils.inference.tone import match_tone
from utils.inference.track_detail import TrackDetail
from utils.inference.types import Swap, TrackedFace
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.frame import Frame
from utils.io.span import Span
from utils.io.video import open_video


def swap_video(pipeline: SwapPipeline, generator: nn.Module, source: KnownPerson, target: Path, output: Path) -> int:
    """Swap the person of the first frame; returns the number of frames that were changed.

    pipeline: lends its detector, identity encoder and landmarks. generator: AEI-Net in float32, as it was trained.
    """
    with open_video(target, Span(0.0, None), print) as video:
        frames = [Frame(frame.image, frame.index, frame.time) for frame in video.frames]
        info = video.info
    kps = _person(pipeline, frames)
    steady = [None if points is None else smooth(kps[max(0, i - 2) : i + 3], min(2, i)) for i, points in enumerate(kps)]
    results, changed, params = [], 0, None
    settings = pipeline.stages.settings
    detail = TrackDetail([source.detail], settings.detail, pipeline.stages.swapper.size, align.BASE)
    blur = TrackBlur(settings.match_blur)
    for frame, points in zip(frames, steady, strict=True):
        image = frame.image
        if points is not None:
            image, params = _swap(pipeline, generator, source.z_id, detail, blur, image, points, params)
            changed += 1
        results.append(image)
    with video_writer(output, info, EncodeOptions(), print) as writer:
        for frame, image in zip(frames, results, strict=True):
            writer.write(Frame(image, frame.index, frame.time))
    return changed


def _person(pipeline: SwapPipeline, frames: list[Frame]) -> list[np.ndarray | None]:
    """Key points (5, 2) of the first face in each frame, where it is the person of the first frame."""
    reference: np.ndarray | None = None
    result: list[np.ndarray | None] = []
    for frame in frames:
        faces = pipeline.stages.detector.detect(frame.image)
        looks = normalise(pipeline.stages.identifier.embed(frame.image, faces)) if faces else np.zeros((0, 1))
        reference = looks[0] if reference is None and len(looks) else reference
        likeness = looks @ reference if reference is not None and len(looks) else np.zeros(0)
        found = len(likeness) and likeness.max() > pipeline.stages.threshold
        result.append(faces[int(likeness.argmax())].kps if found else None)
    return result


@torch.inference_mode()
def _swap(pipeline: SwapPipeline, generator: nn.Module, z_id: np.ndarray, detail: TrackDetail, blur: TrackBlur,
          image: np.ndarray, kps: np.ndarray, params: mask.MaskParams | None) -> tuple[np.ndarray, mask.MaskParams]:
    """One frame with the face at the key points swapped, and the parameters of its mask."""
    size, settings = pipeline.stages.swapper.size, pipeline.stages.settings
    crop = align.cut(image, kps, size)
    M_frame2mask, template = align.estimate(kps, align.BASE)
    swap = to_images(generator(to_tensor([crop.image]), torch.from_numpy(z_id)[None])[0])[0]
    swap = sharpen(match_tone(swap, crop.image, settings.tone), crop.image, settings.sharpen)
    find: Any = pipeline.stages.landmarks.find
    after = find([cv2.resize(swap, (align.BASE, align.BASE))])[0]
    params = params or mask.choose_params(after, find([align.cut(image, kps, align.BASE).image])[0])
    soft = mask.draw(after, params, align.BASE)
    if settings.rim_contrast:
        soft = rim.limit_mask(soft, after, swap, crop.image, settings.rim_contrast, yaw(kps))
    if pipeline.stages.occlusion is not None:
        (soft,) = pipeline.stages.occlusion.uncovered([crop.image], [soft])
    faces = [(Frame(image), TrackedFace(kps, person=0, track=0, template=template))]
    detailed = detail.add(faces, [Swap(swap, crop.M_frame2crop, crop.image)], [Exposure()], [after], np.zeros(1))
    (placed,) = blur.match(faces, detailed)
    shape = image.shape[1::-1]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    shown = cv2.warpAffine(placed.image.astype(np.float32), placed.M_frame2crop, shape, flags=flags)
    alpha = cv2.warpAffine(soft, M_frame2mask, shape, flags=flags)[..., None]
    return np.rint(alpha * shown + (1 - alpha) * image.astype(np.float32)).astype(np.uint8), params
