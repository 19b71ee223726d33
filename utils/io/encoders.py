"""Containers and encoders for results, and which of them work on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from utils.errors import OptionError, OutputError
from utils.io.layout import Layout, by_loss
from utils.io.stills import Note


@dataclass(frozen=True)
class Container:
    """A file format for results."""

    encoders: tuple[str, ...]  # the first is the default
    options: tuple[tuple[str, str], ...] = ()
    sound: bool = True
    muxer: str | None = None  # FFmpeg's name of the format; None: the one that the ending stands for
    most_counted: int | None = None  # frames a second that its time codes can count; None: any number
    says_aspect: bool = True  # whether PyAV writes into it how wide pixels are


@dataclass(frozen=True)
class _Encoder:
    """How an encoder wants to be told about quality and effort."""

    quality: str  # its name for --crf
    preset: str | None = "preset"  # its name for --preset
    fixed: tuple[tuple[str, str], ...] = ()
    software: str | None = None  # what stands in where the hardware is missing
    layouts: tuple[Layout, ...] = (Layout(),)  # of those it takes, the ones that players or editors of such files know
    of_preset: tuple[tuple[str, Layout], ...] = ()  # presets that are for one of the layouts alone
    says_range: bool = True  # whether its files say that samples have the full range
    says_aspect: bool = True  # whether its samples say how wide pixels are


_H264 = ("libx264", "h264_nvenc", "h264_qsv", "h264_amf")
_H265 = ("libx265", "hevc_nvenc", "hevc_qsv", "hevc_amf")
_AV1 = ("libsvtav1", "av1_nvenc", "av1_qsv", "av1_amf")
_FASTSTART, _A_BYTE = (("movflags", "+faststart"),), 255
CONTAINERS = {
    ".mp4": Container(_H264 + _H265 + _AV1, _FASTSTART, most_counted=_A_BYTE),
    # FFmpeg takes the ending for iPod's format, which holds neither H.265 nor most sound.
    ".m4v": Container(_H264 + _H265, _FASTSTART, muxer="mp4", most_counted=_A_BYTE),
    ".mov": Container((*_H264, *_H265, "prores_ks"), _FASTSTART, most_counted=_A_BYTE),
    ".mkv": Container((*_H264, *_H265, *_AV1, "libvpx-vp9", "prores_ks", "ffv1"), says_aspect=False),
    ".webm": Container(("libvpx-vp9", *_AV1), says_aspect=False),
    ".gif": Container(("gif",), sound=False),
}
_OR_DEEP = (Layout(), Layout(10))
_422, _444 = Layout(10, down=1), Layout(10, 1, 1)
_PROFILES = (*((name, _422) for name in ("proxy", "lt", "standard", "hq")), ("4444", _444), ("4444xq", _444))
_ALL = tuple(Layout(bits, *shared) for bits in (8, 10, 12, 16) for shared in ((2, 2), (2, 1), (1, 1)))
_VP9 = (("b", "0"), ("deadline", "good"), ("cpu-used", "4"), ("row-mt", "1"))
ENCODERS = {
    "libx264": _Encoder("crf"),
    "libx265": _Encoder("crf", fixed=(("x265-params", "log-level=none"),), layouts=_OR_DEEP),
    "libsvtav1": _Encoder("crf", layouts=_OR_DEEP, says_aspect=False),
    "libvpx-vp9": _Encoder("crf", preset=None, fixed=_VP9, says_aspect=False),
    # By default HQ or, for 4:4:4, 4444.
    "prores_ks": _Encoder("", "profile", layouts=(_422, _444), of_preset=_PROFILES, says_range=False,
                          says_aspect=False),
    "ffv1": _Encoder("", preset=None, fixed=(("level", "3"), ("g", "1"), ("slices", "4")), layouts=_ALL,
                     says_aspect=False),
    "gif": _Encoder("", preset=None),
    **{f"{codec}_{maker}": _Encoder(quality, fixed=fixed, software=software, says_aspect=codec != "av1")
       for codec, software in (("h264", "libx264"), ("hevc", "libx265"), ("av1", "libsvtav1"))
       for maker, quality, fixed in (("nvenc", "cq", (("rc", "vbr"),)), ("qsv", "global_quality", ()),
                                     ("amf", "qp_i", (("rc", "cqp"),)))},
}
_CRF = {"libx264": 20, "libx265": 20, "libsvtav1": 28, "libvpx-vp9": 28}  # about as good as one another
_WORST = {"libx264": 51, "libx265": 51, "libsvtav1": 63, "libvpx-vp9": 63}
_QUICK = {  # where nobody chose a preset, since the networks need the processor
    # B frames at fixed places: looking for better ones takes a tenth of x264's time and saves one per cent of the file.
    "libx264": {"preset": "superfast", "b_strategy": "0"},
    "libx265": {"preset": "veryfast"},
    "libsvtav1": {"preset": "10"},
}


@dataclass(frozen=True)
class EncodeOptions:
    """What people choose about the result."""

    encoder: str = "auto"
    crf: float | None = None  # None: a value that shows no loss at normal size
    preset: str | None = None
    threads: int = 0  # 0: as many as the encoder likes


def container_for(path: Path) -> Container:
    """The container that the output's name asks for; raises OutputError for unknown endings."""
    container = CONTAINERS.get(path.suffix.lower())
    if container is None:
        raise OutputError(f"cannot write {path}: unknown ending {path.suffix!r}; use one of {', '.join(CONTAINERS)}")
    return container


def holds_high_range(path: Path, choice: EncodeOptions) -> bool:
    """Whether the encoder of a choice that fits takes the bits that a high dynamic range needs."""
    name = container_for(path).encoders[0] if choice.encoder == "auto" else choice.encoder
    return any(layout.bits > 8 for layout in ENCODERS[name].layouts)


def _options(name: str, choice: EncodeOptions) -> dict[str, str]:
    encoder = ENCODERS[name]
    options = dict(encoder.fixed) | {"threads": str(choice.threads)}
    crf = choice.crf if choice.crf is not None else _CRF.get(encoder.software or name)
    if encoder.quality and crf is not None:
        options[encoder.quality] = f"{crf:g}"
    if choice.preset is None:
        options |= _QUICK.get(name, {})
    elif encoder.preset:
        options[encoder.preset] = choice.preset
    return options


def _opens(name: str, options: dict[str, str], layout: Layout) -> bool:
    """Whether an encoder really works here with these options: tried on one small frame."""
    import av

    if name == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors alone: it prints what it was told past all that FFmpeg silences
    try:
        trial: Any = av.CodecContext.create(name, "w")
        trial.width = trial.height = 256
        trial.pix_fmt, trial.time_base, trial.framerate = layout.name, Fraction(1, 25), Fraction(25)
        trial.options = options
        frame = av.VideoFrame(256, 256, layout.name)
        frame.pts = 0
        trial.encode(frame)
        trial.encode(None)
    except (av.FFmpegError, av.codec.codec.UnknownCodecError, ValueError):
        return False
    return True


def _layout(name: str, choice: EncodeOptions, wanted: Layout) -> Layout | None:
    """The layout that loses least of those with which the encoder works here; None where none does."""
    encoder = ENCODERS[name]
    offered = tuple(layout for preset, layout in encoder.of_preset if preset == choice.preset) or encoder.layouts
    options = _options(name, choice)
    return next((layout for layout in by_loss(wanted, offered) if _opens(name, options, layout)), None)


def _note_idle(name: str, choice: EncodeOptions, note: Note) -> None:
    """Say which choices an encoder has no use for."""
    encoder = ENCODERS[name]
    for option, given, known in (("crf", choice.crf, encoder.quality), ("preset", choice.preset, encoder.preset)):
        if given is not None and not known:
            note(f"{name} has no --{option}: {given} is left out")


def choose_encoder(
    path: Path, choice: EncodeOptions, note: Note, wanted: Layout | None = None
) -> tuple[str, dict[str, str], Layout]:
    """The encoder to use, its options and the layout it gets.

    Hardware that does not work here is replaced, with a note. wanted: the layout that would lose nothing.
    Raises OptionError for encoders that are unknown or do not fit the file, and for values that they refuse.
    """
    fitting = container_for(path).encoders
    name = fitting[0] if choice.encoder == "auto" else choice.encoder
    if name not in fitting:
        raise OptionError(f"--encoder {name} cannot write {path.suffix}; use one of: auto, {', '.join(fitting)}")
    worst = _WORST.get(ENCODERS[name].software or name, 51)
    if choice.crf is not None and ENCODERS[name].quality and not 0 <= choice.crf <= worst:
        raise OptionError(f"--crf of {name} is from 0 (lossless) to {worst} (worst), not {choice.crf:g}")
    _note_idle(name, choice, note)
    wanted = wanted or Layout()
    options = _options(name, choice)
    layout = Layout() if name == "gif" else _layout(name, choice, wanted)
    return (name, options, layout) if layout is not None else _software_instead(name, choice, note, wanted)


def _software_instead(
    name: str, choice: EncodeOptions, note: Note, wanted: Layout
) -> tuple[str, dict[str, str], Layout]:
    """What `choose_encoder` gives where an encoder does not work; raises OptionError."""
    software = ENCODERS[name].software
    if software is None and choice.preset is None:
        raise OptionError(f"the encoder {name} does not work with this PyAV; choose another --encoder, or install "
                          "requirements.txt anew")
    if software is None:
        raise OptionError(f"the encoder {name} refuses --preset {choice.preset}; leave it out or use one that it knows")
    note(f"the hardware encoder {name} does not work on this machine; using {software}")
    plain = replace(choice, encoder=software)
    layout = _layout(software, plain, wanted)
    if layout is None:  # presets of the hardware have names of their own
        plain = replace(plain, preset=None)
        layout = _layout(software, plain, wanted)
    if layout is None:
        raise OptionError(f"neither {name} nor {software} works with this PyAV; choose another --encoder")
    return software, _options(software, plain), layout
