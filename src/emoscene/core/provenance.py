"""What an image file says of its origin, so that machines and people can tell what a model made from what a lens saw.

    XMP, Iptc4xmpExt:DigitalSourceType =
        trainedAlgorithmicMedia                   a diffusion model made it from words
        compositeWithTrainedAlgorithmicMedia      a diffusion model changed an image
        algorithmicMedia                          a program rendered it: the miniature's world

The values are the NewsCodes of the IPTC, which Google, Meta, Adobe and others read. The European Union asks makers of
generators for such a mark (AI Act, Article 50). Photographs and charts get none. Every mark is written here, and
`core.images`, `core.image_origin` and `core.content_credentials` (signatures) take it from here.

JPEG and WebP have no text chunks. So their XMP also holds what a PNG has in two chunks: the row, and the parameters in
A1111's words; these stand in the EXIF field UserComment too, where A1111 writes and reads them. A mark proves nothing:
whoever saves an image anew can take it away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree  # nosec B405  # what declares entities is refused first
from xml.sax.saxutils import escape, quoteattr  # nosec B406  # these write

from PIL import Image
from PIL.PngImagePlugin import PngInfo

import emoscene

PROVENANCES = ("xmp", "c2pa", "none")
"""What a caller may ask for: the mark; the mark and a signature; nothing."""
TRAINED, COMPOSITE, RENDERED = (
    "trainedAlgorithmicMedia",
    "compositeWithTrainedAlgorithmicMedia",
    "algorithmicMedia",
)
SYNTHETIC = (COMPOSITE, TRAINED, "compositeSynthetic", RENDERED, "algorithmicallyEnhanced")
"""The values that say that no lens alone saw it; where several images make one, the first of these counts."""
NEWSCODES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "emoscene": "urn:emoscene:row:1/",
}
"""The names of XMP's name spaces. Whoever reads looks at the addresses alone."""
PNG_KEY = "XML:com.adobe.xmp"
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
LONGEST = 1_000_000  # bytes of XMP that are read
EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
UNICODE, ASCII = b"UNICODE\0", b"ASCII\0\0\0"
"""How a UserComment begins, by its encoding."""


@dataclass(frozen=True)
class Statement:
    """What an image file says in its XMP.

    Attributes:
        source_type: The digital source type without its address; empty where there is none.
        tool: The program that wrote it.
        row: The row of the image, as JSON.
        parameters: The parameters in A1111's words.
    """

    source_type: str = ""
    tool: str = ""
    row: str = ""
    parameters: str = ""

    @property
    def is_synthetic(self) -> bool:
        """Whether it says that a program made or changed the image."""
        return self.source_type in SYNTHETIC


def choose_source_type(is_edit: bool) -> str:
    """Choose the digital source type of an image that a diffusion model made.

    Args:
        is_edit: Whether it was made from another image.

    Returns:
        The type.
    """
    if is_edit:
        return COMPOSITE
    return TRAINED


def join_source_types(images: Iterable[Image.Image]) -> str:
    """Choose the type of an image that others are put together in, such as a contact sheet.

    Args:
        images: The others.

    Returns:
        The type; empty where none of them is marked.
    """
    types = [read_statement(image).source_type for image in images]
    marked = [name for name in SYNTHETIC if name in types]
    if not marked:
        return ""
    if marked[0] == TRAINED and not set(types) <= set(SYNTHETIC):
        return COMPOSITE  # generated images beside photographs
    return marked[0]


def encode_xmp(source_type: str, row: str = "", parameters: str = "") -> bytes:
    """Write a packet of XMP.

    Args:
        source_type: The digital source type; empty for none.
        row: The row of the image, as JSON; only for formats without text chunks.
        parameters: The parameters in A1111's words; likewise.

    Returns:
        The packet; empty where there is nothing to say.
    """
    parts = []
    if source_type:
        parts.append(f"<Iptc4xmpExt:DigitalSourceType>{NEWSCODES}{source_type}</Iptc4xmpExt:DigitalSourceType>")
    if parameters:
        text = f'<rdf:li xml:lang="x-default">{_escape(parameters)}</rdf:li>'
        parts.append(f"<exif:UserComment><rdf:Alt>{text}</rdf:Alt></exif:UserComment>")
    if row:
        parts.append(f"<emoscene:row>{_escape(row)}</emoscene:row>")
    if not parts:
        return b""
    tool = quoteattr(f"emoscene {emoscene.__version__}")
    spaces = [f'xmlns:{name}="{address}"' for name, address in SPACES.items()]
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {spaces[0]}>'
        f'<rdf:Description rdf:about="" {" ".join(spaces[1:])} xmp:CreatorTool={tool}>{"".join(parts)}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def encode_exif_comment(parameters: str) -> bytes:
    """Write EXIF data whose UserComment holds the parameters, as A1111 writes it.

    Args:
        parameters: The parameters in A1111's words.

    Returns:
        The EXIF data.
    """
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD)[USER_COMMENT] = UNICODE + parameters.encode("utf-16-be")
    return exif.tobytes()


def save_words(xmp: bytes, exif: bytes = b"", chunks: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
    """Make the arguments of Pillow's `save` that write XMP and other data into a PNG, JPEG or WebP.

    Args:
        xmp: The packet, as `encode_xmp` wrote it; empty for none.
        exif: EXIF data; empty for none.
        chunks: Text chunks of a PNG, which other formats do not get.

    Returns:
        Keyword arguments; each format takes its own.
    """
    info = PngInfo()
    for name, text in chunks:
        info.add_text(name, text)
    words: dict[str, Any] = {}
    if xmp:
        info.add_itxt(PNG_KEY, xmp.decode())
        words["xmp"] = xmp
    if info.chunks:
        words["pnginfo"] = info
    if exif:
        words["exif"] = exif
    return words


def read_statement(image: Image.Image) -> Statement:
    """Read what an image says of itself in XMP, whoever wrote it.

    Args:
        image: The image; of a PNG, Pillow may find the XMP behind the pixels only once they are loaded.

    Returns:
        The statement; an empty one where there is no XMP, or what there is cannot be read.
    """
    packet = image.info.get("xmp", b"")
    if isinstance(packet, str):
        packet = packet.encode("utf8", "replace")
    if not isinstance(packet, bytes) or len(packet) > LONGEST:
        return Statement()
    root = _parse(packet)
    if root is None:
        return Statement()
    source = _find_value(root, "Iptc4xmpExt", "DigitalSourceType").rstrip("/")
    return Statement(
        source.rpartition("/")[2],
        _find_value(root, "xmp", "CreatorTool"),
        _find_value(root, "emoscene", "row"),
        _find_value(root, "exif", "UserComment"),
    )


def read_exif_comment(image: Image.Image) -> str:
    """Read the UserComment of an image, where A1111 keeps parameters in a JPEG or WebP.

    Args:
        image: The image.

    Returns:
        The text; empty where there is none, or the EXIF data is damaged.
    """
    try:
        comment = image.getexif().get_ifd(EXIF_IFD).get(USER_COMMENT, b"")
    except Exception:  # of damaged EXIF, Pillow raises SyntaxError, struct.error, TypeError and more
        return ""
    if not isinstance(comment, bytes):
        return ""
    if comment.startswith(UNICODE):
        text = comment.removeprefix(UNICODE)
        encoding = "utf-16-be"
        if text[1::2].count(0) > text[0::2].count(0):  # Latin letters of some programs stand the other way round
            encoding = "utf-16-le"
        return text.decode(encoding, "replace").strip("\0")
    return comment.removeprefix(ASCII).strip(b"\0").decode("utf8", "replace")


def _escape(text: str) -> str:
    """A text inside XML; what XML cannot hold is written as JSON writes it."""
    text = NOT_XML.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text)
    return escape(text, {"\r": "&#13;"})


def _parse(packet: bytes) -> ElementTree.Element | None:
    """The XML of a packet, which may be a stranger's; None for what declares entities or cannot be read."""
    if b"<!" in packet:  # a declaration of entities can unfold to gigabytes; XMP has none
        return None
    try:
        return ElementTree.fromstring(packet.strip(b"\0 \n\r\t"))  # nosec B314  # no entities
    except (ElementTree.ParseError, ValueError, LookupError):
        return None


def _find_value(root: ElementTree.Element, space: str, name: str) -> str:
    """The value of a property, in any of the forms that XMP allows: attribute, element, resource, alternatives."""
    key, resource = f"{{{SPACES[space]}}}{name}", f"{{{SPACES['rdf']}}}resource"
    for element in root.iter():
        if key in element.attrib:
            return element.attrib[key]
        if element.tag == key:
            return element.attrib.get(resource) or "".join(element.itertext())
    return ""
