"""C2PA manifests: signed statements, inside a finished file, of what was done to it.

The key is made for the one file and thrown away, since a lasting one would tell anybody which files come from the same
person. So a signature shows that a file is as it was written, and not who wrote it. Nothing is ever fetched.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.io.atomic import signed_beside
from utils.io.xmp import SOURCE_TYPE
from utils.paths import is_file
from utils.version import NAME, VERSION

if TYPE_CHECKING:
    from c2pa import Context, Signer
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

NOT_INSTALLED = "c2pa is not installed: pip install -r requirements.txt"
_FORMS = {name: name for name in ("jpg", "jpeg", "png", "webp", "avif", "heic", "heif", "tif", "tiff", "gif", "mp4",
                                  "m4v", "mov")}
_FORMS |= {"jpe": "jpg", "jfif": "jpg", "mpo": "jpg", "hif": "heif"}
_IN_MEMORY = 8  # MiB of a file that c2pa works on in memory; it copies larger ones to the system's folder for such
_COPIES, _LARGEST = 3, 2 * 10**9  # that c2pa makes of those; bytes
_SETTINGS = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": False},
    # Videos are hashed in pieces, since c2pa would read them whole, or half a gigabyte at once.
    "core": {"allowed_network_hosts": [], "backing_store_memory_threshold_in_mb": _IN_MEMORY,
             "merkle_tree_chunk_size_in_kb": 2**14, "merkle_tree_max_proofs": 0},
    "builder": {"thumbnail": {"enabled": False}},
}
_TARGET = "target"  # by which the actions name the ingredient
# Neither tells when the file was made: whoever sets a clock could say anything, too.
_VALID = datetime(2020, 1, 1), datetime(9999, 12, 31, 23, 59, 59)


def is_installed() -> bool:
    """Whether there is the library c2pa."""
    try:
        import c2pa  # noqa: F401
    except ImportError:
        return False
    return True


def sign(file: Path, target: Path | None, note: Callable[[str], None]) -> bool:
    """Give a finished file a manifest, by a signed copy that takes its place; returns whether it has one.

    target: what was changed, whose own manifests go along. note: told what is in the way, but for a format without
    manifests.
    """
    form = _FORMS.get(file.suffix[1:].lower())
    if form is None:
        return False
    if not is_installed():
        note(f"the result carries no C2PA manifest, since {NOT_INSTALLED}")
        return False
    if not _has_room(file, note):
        return False
    from c2pa import C2paError

    signed = signed_beside(file)
    try:
        # Ctrl-C inside of c2pa's callbacks would be taken for the end of a file; it comes to the main thread alone.
        with ThreadPoolExecutor(1) as aside:
            aside.submit(_sign, file, signed, form, target, note).result()
        os.replace(signed, file)
    except (C2paError, OSError) as error:
        note(f"the result carries no C2PA manifest, since it could not be signed: {error}")
        return False
    finally:
        signed.unlink(missing_ok=True)
    return True


def stored_in(file: Path) -> dict[str, Any] | None:
    """The manifests of a file as c2pa's Reader gives them, None where it has none; raises ValueError that says why they
    cannot be read."""
    from c2pa import C2paError, Reader

    try:
        with _context() as context, file.open("rb") as source, Reader(None, source, context=context) as reader:
            return json.loads(reader.json())
    except (C2paError.ManifestNotFound, C2paError.NotSupported):
        return None
    except C2paError as error:
        raise ValueError(str(error)) from error


def _has_room(file: Path, note: Callable[[str], None]) -> bool:
    """Whether a file is small enough to be signed."""
    size = file.stat().st_size
    if size <= _IN_MEMORY * 2**20:
        return True
    free = min(shutil.disk_usage(folder).free for folder in (file.parent, tempfile.gettempdir()))
    if size <= _LARGEST and _COPIES * size <= free:
        return True
    note(f"the result carries no C2PA manifest, since it has {size / 1e9:.1f} GB: c2pa copies what it signs "
         f"{_COPIES} times, which is done up to {_LARGEST / 1e9:g} GB where the disk has room")
    return False


def _context() -> Context:
    from c2pa import Context

    return Context.from_dict(_SETTINGS)


def _sign(file: Path, signed: Path, form: str, target: Path | None, note: Callable[[str], None]) -> None:
    """Write a signed copy, with the target's own manifests where they can be kept; raises C2paError, OSError."""
    from c2pa import C2paError

    try:
        own = stored_in(target) if target is not None and is_file(target) else None  # it may be a folder of pictures
        if own is not None:
            _write(file, signed, form, target, sorted(_pictures_in(own)))
            return
    except (ValueError, C2paError) as error:
        note(f"{target}: its C2PA manifest cannot be kept and was left out ({error})")
    _write(file, signed, form, None, [])


def _write(file: Path, signed: Path, form: str, target: Path | None, redactions: list[str]) -> None:
    """Write a signed copy; target: whose manifests it takes over, but for what stands at the addresses `redactions`."""
    from c2pa import Builder

    ingredient = {"relationship": "parentOf", "label": _TARGET}
    definition = _definition(redactions) | ({"ingredients": [ingredient]} if target is None else {})
    with _context() as context, Builder(definition, context=context) as builder, _signer() as signer:
        if target is not None:
            ending = target.suffix[1:].lower()
            with target.open("rb") as source:
                builder.add_ingredient(ingredient, _FORMS.get(ending, ending), source)
        with file.open("rb") as source, signed.open("w+b") as result:
            builder.sign(signer, form, source, result)


def _definition(redactions: list[str]) -> dict[str, Any]:
    """A manifest without its ingredient; redactions: addresses of what is left out of the ingredient's own."""
    agent = {"name": NAME, "version": VERSION}
    actions: list[dict[str, Any]] = [
        {"action": "c2pa.opened", "parameters": {"ingredientIds": [_TARGET]}},
        {"action": "c2pa.edited", "digitalSourceType": SOURCE_TYPE, "softwareAgent": agent,
         "description": "Faces were replaced by a generative network."},
        *({"action": "c2pa.redacted", "reason": "c2pa.PII.present", "parameters": {"redacted": address}}
          for address in redactions),
    ]
    return {"claim_generator_info": [agent], "redactions": redactions,
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}]}


def _pictures_in(stored: Any) -> set[str]:
    """Addresses of the thumbnails in manifests, which show the face before."""
    if isinstance(stored, list):
        return {address for entry in stored for address in _pictures_in(entry)}
    if not isinstance(stored, dict):
        return set()
    thumbnail = stored.get("thumbnail")
    own = {thumbnail["identifier"]} if isinstance(thumbnail, dict) and "identifier" in thumbnail else set()
    return own | _pictures_in(list(stored.values()))


def _signer() -> Signer:
    """One that signs with a key which nobody has besides."""
    from c2pa import C2paSignerInfo, Signer
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    chain = _certificate(key, root, False).public_bytes(pem) + _certificate(root, root, True).public_bytes(pem)
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    return Signer.from_info(C2paSignerInfo("es256", chain, private, None))  # None: no authority that tells the time


def _certificate(key: EllipticCurvePrivateKey, root: EllipticCurvePrivateKey, authority: bool) -> Certificate:
    """A certificate by `root` as C2PA wants it: for the key that signs files, or (authority) for the root itself, since
    the former must not stand alone."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    def name(own: bool) -> x509.Name:
        parts = {x509.NameOID.ORGANIZATION_NAME: f"{NAME} (nobody vouches for this key)",
                 x509.NameOID.COMMON_NAME: f"{NAME}, {'root' if own else 'key'} of this file alone"}
        return x509.Name([x509.NameAttribute(part, text) for part, text in parts.items()])

    unused = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign",
                            "encipher_only", "decipher_only"), False)
    usage = x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, **unused)
    builder = x509.CertificateBuilder(
        name(True), name(authority), key.public_key(), x509.random_serial_number(), *_VALID
    ).add_extension(x509.BasicConstraints(authority, None), True).add_extension(usage, True)
    if not authority:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key())
        purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(issuer, False).add_extension(purpose, False)
    return builder.sign(root, hashes.SHA256())
