"""What a photo's XMP says, for the photo that it becomes: what holds no longer is left out, and the statement that it
was changed by a generative network comes in.

Left out is what shows or names who was there before (thumbnails, regions of faces), what describes the file's pixels,
and what points to data or manifests that do not go along.
"""

from __future__ import annotations

from xml.dom import minidom
from xml.parsers.expat import ExpatError

from utils.version import TOOL

# IPTC's term for pictures edited by generative AI (NewsCodes, digital source type).
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_RDF, _XMLNS = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://www.w3.org/2000/xmlns/"
_XMP, _IPTC = "http://ns.adobe.com/xap/1.0/", "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_SAID_ANEW = ((_XMP, "CreatorTool"), (_IPTC, "DigitalSourceType"))
_NOT_KEPT = {
    *_SAID_ANEW, (_XMP, "Thumbnails"), (_IPTC, "ImageRegion"),
    (_TIFF, "Orientation"), (_TIFF, "ImageWidth"), (_TIFF, "ImageLength"),
    (_EXIF, "PixelXDimension"), (_EXIF, "PixelYDimension"),
    ("http://ns.adobe.com/xap/1.0/mm/", "InstanceID"), ("http://ns.adobe.com/xmp/note/", "HasExtendedXMP"),
    ("http://purl.org/dc/terms/", "provenance"),
}
_NAMESPACES_NOT_KEPT = {
    # Regions of faces, with names.
    "http://www.metadataworkinggroup.com/schemas/regions/", "http://ns.microsoft.com/photo/1.2/",
    "http://ns.acdsee.com/regions/", "http://ns.apple.com/faceinfo/1.0/",
    # Second pictures, depths, gains and films inside the file.
    *(f"http://ns.google.com/photos/1.0/{name}/" for name in ("image", "depthmap", "audio", "container", "camera")),
    "http://ns.google.com/photos/dd/1.0/device/", "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.apple.com/HDRGainMap/1.0/", "http://ns.apple.com/pixeldatainfo/1.0/",
}
_MOST_READ, _MOST_KEPT = 2**20, 2**16 - 2**11  # bytes; a JPEG holds little more than the latter
_PACKET = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{}\n<?xpacket end="w"?>'
_STATEMENT = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{_RDF}">
  <rdf:Description rdf:about=""
    xmlns:rdf="{_RDF}"
    xmlns:xmp="{_XMP}"
    xmlns:Iptc4xmpExt="{_IPTC}"
    xmp:CreatorTool="{TOOL}"
    Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/>
 </rdf:RDF>
</x:xmpmeta>"""


def strip(packet: bytes) -> bytes | None:
    """What of a photo's XMP goes along, None where that is nothing; raises ValueError that says what the XMP is."""
    if len(packet) > _MOST_READ:
        raise ValueError("is too large")
    try:
        rdf = _rdf(packet)
        for description in _descriptions(rdf):
            _strip_description(description)
        for description in [node for node in rdf.childNodes if isinstance(node, minidom.Element) and _is_empty(node)]:
            rdf.removeChild(description)
        result = _written(rdf)
    except (ExpatError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("is damaged") from error
    if len(result) > _MOST_KEPT:
        raise ValueError("is too large")
    return result if _descriptions(rdf) else None


def add_statement(packet: bytes | None) -> bytes:
    """A packet from `strip`, if there is any, with the statement."""
    if packet is None:
        return _PACKET.format(_STATEMENT).encode()
    rdf = _rdf(packet)
    (statement,) = _descriptions(_rdf(_STATEMENT.encode()))
    statement.setAttributeNS(_RDF, "rdf:about", _descriptions(rdf)[0].getAttributeNS(_RDF, "about"))
    rdf.appendChild(statement)
    return _written(rdf)


def statement_of(packet: bytes) -> dict[str, str]:
    """What a packet says of its making, as far as it does: `tool` and `source_type`; raises ValueError where it is
    damaged."""
    try:
        descriptions = _descriptions(_rdf(packet))
        tool, source_type = (_value(descriptions, *key) for key in _SAID_ANEW)
    except (ExpatError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("is damaged") from error
    return {name: value for name, value in (("tool", tool), ("source_type", source_type)) if value}


def _rdf(packet: bytes) -> minidom.Element:
    text = packet.decode().strip("\ufeff\0 \t\r\n")
    if "<!DOCTYPE" in text:  # entities in there can grow without end
        raise ValueError("is damaged")
    found = minidom.parseString(text.encode()).getElementsByTagNameNS(_RDF, "RDF")
    if not found:
        raise ValueError("is damaged")
    return found[0]


def _descriptions(rdf: minidom.Element) -> list[minidom.Element]:
    return list(rdf.getElementsByTagNameNS(_RDF, "Description"))


def _written(rdf: minidom.Element) -> bytes:
    document = rdf.ownerDocument
    assert document is not None and document.documentElement is not None
    return _PACKET.format(document.documentElement.toxml()).encode()


def _is_dropped(node: minidom.Attr | minidom.Element) -> bool:
    return (node.namespaceURI, node.localName) in _NOT_KEPT or node.namespaceURI in _NAMESPACES_NOT_KEPT


def _strip_description(description: minidom.Element) -> None:
    for attribute in [node for node in description.attributes.values() if _is_dropped(node)]:
        description.removeAttributeNode(attribute)
    for child in [node for node in description.childNodes if isinstance(node, minidom.Element) and _is_dropped(node)]:
        description.removeChild(child)


def _is_empty(description: minidom.Element) -> bool:
    """Whether a description describes nothing."""
    said = [node for node in description.attributes.values() if node.namespaceURI not in (None, _RDF, _XMLNS)]
    return not said and not any(isinstance(node, minidom.Element) for node in description.childNodes)


def _value(descriptions: list[minidom.Element], namespace: str, name: str) -> str:
    """A property's text, "" where there is none."""
    for description in descriptions:
        if value := description.getAttributeNS(namespace, name):
            return value
        for node in description.getElementsByTagNameNS(namespace, name):
            return "".join(part.data for part in node.childNodes if isinstance(part, minidom.Text)).strip()
    return ""
