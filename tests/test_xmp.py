"""A photo's own XMP goes along, but for what holds no longer, and the statement comes in."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from utils.io import xmp
from utils.io.image import read_photo, write_photo
from utils.io.mark import Mark
from utils.version import TOOL

OWN = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 <r:Description r:about="uuid:1" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
   xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dcterms="http://purl.org/dc/terms/"
   xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmp:CreatorTool="Old Camera" xmp:Rating="4"
   tiff:Orientation="6" dcterms:provenance="http://nowhere.invalid/old.c2pa">
  <dc:creator><r:Seq><r:li>Anna &amp; Бо</r:li></r:Seq></dc:creator>
  <e:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture</e:DigitalSourceType>
  <xmp:Thumbnails><r:Alt><r:li>a small picture</r:li></r:Alt></xmp:Thumbnails>
 </r:Description>
 <r:Description r:about="uuid:1" xmlns:m="http://www.metadataworkinggroup.com/schemas/regions/">
  <m:Regions r:parseType="Resource"><m:RegionList>Anna's face</m:RegionList></m:Regions>
 </r:Description>
</r:RDF></x:xmpmeta>
<?xpacket end="w"?>""".encode()
GONE = (b"Old Camera", b"Orientation=", b"nowhere.invalid", b"digitalCapture", b"a small picture", b"Anna's face")


def photo_file(path: Path, packet: bytes) -> Path:
    """A small picture with XMP."""
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8))
    options = {"tiffinfo": {700: packet}} if path.suffix == ".tif" else {"xmp": packet}
    if path.suffix == ".png":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        options = {"pnginfo": info}
    image.save(path, **options)
    return path


@pytest.mark.parametrize("after", ["o.jpg", "o.png", "o.webp", "o.avif", "o.tif"])
@pytest.mark.parametrize("before", ["in.jpg", "in.png", "in.webp", "in.avif", "in.tif"])
def test_it_goes_along_with_the_statement(tmp_path: Path, before: str, after: str) -> None:
    photo = read_photo(photo_file(tmp_path / before, OWN))
    assert photo.notes == () and not write_photo(tmp_path / after, photo, mark=Mark("metadata"))
    with Image.open(tmp_path / after) as picture:
        found = picture.info["xmp"]
    assert xmp.statement_of(found) == {"tool": TOOL, "source_type": xmp.SOURCE_TYPE}
    assert "Anna &amp; Бо".encode() in found and b'xmp:Rating="4"' in found
    assert not [text for text in GONE if text in (tmp_path / after).read_bytes()]
    (rdf,) = ElementTree.fromstring(found.rstrip(b"\0").decode())
    assert [part.get(f"{{{xmp._RDF}}}about") for part in rdf] == ["uuid:1", "uuid:1"]


def test_the_statement_comes_once(tmp_path: Path) -> None:
    assert xmp.strip(xmp.add_statement(None)) is None
    once = xmp.add_statement(xmp.strip(OWN))
    twice = xmp.add_statement(xmp.strip(once))
    assert twice.count(TOOL.encode()) == once.count(TOOL.encode()) == 1


def test_off_keeps_it_without_any_statement(tmp_path: Path) -> None:
    photo = read_photo(photo_file(tmp_path / "in.jpg", OWN))
    write_photo(tmp_path / "o.jpg", photo, mark=Mark("off"))
    with Image.open(tmp_path / "o.jpg") as picture:
        assert xmp.statement_of(picture.info["xmp"]) == {} and b'xmp:Rating="4"' in picture.info["xmp"]


@pytest.mark.parametrize(("packet", "what"), [
    (OWN[:-300], "damaged"), (b"no XML", "damaged"), (OWN + b"\xff", "damaged"), (b"<a/>", "damaged"),
    (b"<!DOCTYPE a [<!ENTITY b 'bb'>]>" + OWN, "damaged"), (b"<a>" * 50_000 + b"</a>" * 50_000, "damaged"),
    (OWN.replace(b"Anna &amp;", b"A" * 2**16), "too large"), (b" " * 2**21, "too large"),
], ids=["cut", "text", "bytes", "other", "entities", "deep", "large", "huge"])
def test_what_cannot_be_kept_is_said(tmp_path: Path, packet: bytes, what: str) -> None:
    path = tmp_path / "in.tif"
    photo = read_photo(photo_file(path, packet))
    assert photo.xmp is None and photo.notes == (f"{path}: its XMP is {what} and was left out",)
    assert not write_photo(tmp_path / "o.jpg", photo, mark=Mark("metadata"))
    with Image.open(tmp_path / "o.jpg") as picture:
        assert picture.info["xmp"] == xmp.add_statement(None)
