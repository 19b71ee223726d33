"""What a file says of its making: the statement in a photo's XMP or a video's comment, and its C2PA manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from utils.errors import InputError
from utils.io import manifest, mark, xmp
from utils.io.container import open_container
from utils.io.image import DAMAGED, check_input, identified

_UNTRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True)
class Statement:
    """What metadata say."""

    place: str  # "XMP" or "comment"
    tool: str | None  # that wrote them
    source_type: str | None  # IPTC's term for how the picture came to be


@dataclass(frozen=True)
class Signed:
    """What a C2PA manifest says, and whether it can be relied on."""

    state: str  # of c2pa: Valid, Trusted, Invalid
    problems: list[str]  # codes of C2PA, but for a signer whom nobody vouches for
    tool: str | None
    signer: str | None
    actions: list[dict[str, str]]  # `action` and, where it is said, `source_type`, in order
    earlier: int  # manifests of what the file was made from


@dataclass
class Provenance:
    """All of it."""

    statement: Statement | None = None
    manifest: Signed | None = None
    notes: list[str] = field(default_factory=list)  # what could not be looked at


def look(path: Path) -> Provenance:
    """What a photo or a video says of itself; raises InputError for what is neither or cannot be read."""
    check_input(path)
    found = Provenance()
    try:
        with identified(path) as picture:
            packet = picture.info.get("xmp")
    except UnidentifiedImageError:
        found.statement = _statement("comment", mark.said_in(_comment(path)))
    except (*DAMAGED, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is damaged and cannot be read: {error}") from error
    else:
        found.statement = _xmp(packet, found.notes)
    found.manifest = _manifest(path, found.notes)
    return found


def _xmp(packet: object, notes: list[str]) -> Statement | None:
    try:
        return _statement("XMP", xmp.statement_of(packet)) if isinstance(packet, bytes) else None
    except ValueError as error:
        notes.append(f"its XMP {error}")
        return None


def _statement(place: str, said: dict[str, str]) -> Statement | None:
    return Statement(place, said.get("tool"), said.get("source_type")) if said else None


def _comment(path: Path) -> str:
    import av

    try:
        with open_container(path) as container:
            tags = {name.lower(): value for name, value in container.metadata.items()}
            # What cannot be decoded has no width here.
            shown = any(not stream.codec_context or stream.width for stream in container.streams.video)
    except av.FFmpegError as error:
        raise InputError(f"{path} is neither a picture nor a video that can be read: {error.strerror}") from error
    if not shown:
        raise InputError(f"{path} is neither a picture nor a video that can be read: it shows nothing")
    return tags.get("comment", "")


def _manifest(path: Path, notes: list[str]) -> Signed | None:
    if not manifest.is_installed():
        notes.append(f"no C2PA manifest was looked for, since {manifest.NOT_INSTALLED}")
        return None
    try:
        stored = manifest.stored_in(path)
    except ValueError as error:
        notes.append(f"its C2PA manifest cannot be read: {error}")
        return None
    return _signed(stored) if stored else None


def _signed(stored: dict[str, Any]) -> Signed:
    active = stored["manifests"][stored["active_manifest"]]
    agents = [f"{agent.get('name', '')} {agent.get('version', '')}".strip()
              for agent in active.get("claim_generator_info", [])]
    actions = [entry for assertion in active.get("assertions", []) if assertion["label"].startswith("c2pa.actions")
               for entry in assertion["data"]["actions"]]
    problems = {entry["code"] for entry in stored.get("validation_status", [])} - {_UNTRUSTED}
    signer = active.get("signature_info", {}).get("issuer")
    return Signed(stored.get("validation_state", "Invalid"), sorted(problems), next(iter(agents), None), signer,
                  [_action(entry) for entry in actions], len(stored["manifests"]) - 1)


def _action(entry: dict[str, Any]) -> dict[str, str]:
    source_type = entry.get("digitalSourceType")
    return {"action": entry["action"]} | ({"source_type": source_type} if source_type else {})
