"""The statement, for programs, that a picture was changed by a generative network.

It stands in a photo's XMP and in a video's comment, says nothing of who is shown, and does not survive every tool: it
serves those who want to tell, and stops nobody who does not.
"""

from __future__ import annotations

from utils.version import TOOL

# IPTC's term for pictures edited by generative AI (NewsCodes, digital source type).
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
COMMENT = f"Faces were replaced by generative AI ({TOOL}). Digital source type: {SOURCE_TYPE}"
XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmp:CreatorTool="{TOOL}"
    Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()
