"""Bytes of a damaged or oddly encoded report -> bytes an XML parser reads, and a word on everything that was done.

Every repair here keeps all text. What cannot be repaired without loss is left to `normalize`, which marks the losses.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from xml.parsers import expat

from report_merge.junit.dialects import NO_TESTS
from report_merge.limits import Rejected

_DECLARATION = re.compile(r"\s*<\?xml\s[^>]*?\?>")
_ENCODING = re.compile(rb"<\?xml\s[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_VERSION_1_1 = re.compile(rb"<\?xml\s[^>]*?version\s*=\s*[\"']1\.1[\"']")
_PROLOG = re.compile(r"(?:\s+|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
_BYTES_PROLOG = re.compile(rb"(?:\s+|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
_HTML = re.compile(r"<!DOCTYPE\s+html\b", re.IGNORECASE)
_DOCTYPE = re.compile(r"<!DOCTYPE\s+([\w-]{1,60})")
_START = re.compile(r"<(?:\?xml\s|!DOCTYPE|testsuites?[\s>/]|testcase[\s>/])")
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_FORBIDDEN_REFERENCE = re.compile(r"&#(?:0*(?:[0-8]|1[124-9]|2\d|3[01])|x0*(?:[0-8bcef]|1[0-9a-f]));", re.IGNORECASE)
_BARE_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});)")
_VALUE = r"(?:\"[^\"]*\"|'[^']*')"
_MARKUP = re.compile(  # what is never closed reaches to the end: else every opening would be searched to the end again
    r"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)"
    rf"|<[A-Za-z_][\w:.-]*+(?:\s++[\w:.-]++\s*+=\s*+{_VALUE})++\s*+/?>",
    re.DOTALL,
)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class XmlFault:
    """Where strict parsing stopped."""

    offset: int
    line: int
    reason: str
    cases_before: int  # <testcase> elements opened before it
    in_case: bool
    root_closed: bool


def is_utf8(data: bytes) -> bool:
    """Whether the bytes say they are UTF-8 (or nothing) and XML 1.0: the fast path reads only these."""
    head = data[:200]
    if b"\x00" in head[:4] or head.startswith((b"\xfe\xff", b"\xff\xfe")) or _VERSION_1_1.search(head):
        return False
    declared = _ENCODING.search(head)
    return declared is None or declared[1].lower() in (b"utf-8", b"utf8", b"us-ascii", b"ascii")


def has_dtd(data: bytes) -> bool:
    """Whether something other than comments and instructions stands before the first element of UTF-8 bytes."""
    prolog = _BYTES_PROLOG.match(data)
    return prolog is None or data.startswith(b"<!", prolog.end())


def repaired(data: bytes) -> tuple[bytes, list[str]]:
    """UTF-8 without a declaration, well-formed unless it is cut or mismatched, and what was done to get there.

    Raises Rejected when this is no XML at all, or has a DTD in its prolog.
    """
    text, notes = _decoded(data)
    text = _from_first_tag(text, notes)
    prolog = _PROLOG.match(text)
    if prolog and text.startswith("<!DOCTYPE", prolog.end()):
        line = text.count("\n", 0, prolog.end()) + 1
        if _HTML.match(text, prolog.end()):
            raise Rejected("it is HTML, not JUnit: an error page?", line)
        name = _DOCTYPE.match(text, prolog.end())
        if name and (kind := NO_TESTS.get(name[1])) and "<testsuite" not in text:
            raise Rejected(f"it is {kind} (<{name[1]}>), not JUnit", line, no_tests=True)
        raise Rejected("it declares a DTD; reports never need one, attacks do: remove the <!DOCTYPE ...>", line)
    text = _DECLARATION.sub("", text, count=1)
    text = text.rstrip("\x00 \t\r\n")
    text, count = _FORBIDDEN.subn(_REPLACEMENT, text)
    if count:
        notes.append(f"{count} characters that XML forbids were replaced")
    if fault(text.encode()) is not None:
        text = _markup_repaired(text, notes)
    encoded = text.encode()
    problem = fault(encoded)
    if problem is not None and problem.root_closed and b"<test" in encoded[problem.offset :]:
        notes.append("it has several root elements")
        encoded = b"<testsuites>" + encoded + b"</testsuites>"
    elif problem is not None and problem.root_closed:
        notes.append(f"{len(encoded) - problem.offset} bytes after the end of the report were left out")
        encoded = encoded[: problem.offset]
    return encoded, notes


def _decoded(data: bytes) -> tuple[str, list[str]]:
    codec = "utf-8"
    for bom, its_codec in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if data.startswith(bom):
            data, codec = data[len(bom) :], its_codec
            break
    else:
        if data[:2] in (b"<\x00", b"\x00<"):
            codec = "utf-16-le" if data[0] else "utf-16-be"
        elif declared := _ENCODING.search(data[:200]):
            codec = _text_codec(declared[1].decode("ascii"))
    try:
        return data.decode(codec), []
    except UnicodeError:
        return data.decode(codec, "replace"), [f"bytes that are not {codec} were replaced"]


def _text_codec(name: str) -> str:
    """The declared encoding if Python knows it as one of text (not "zlib" and the like), else UTF-8."""
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return "utf-8"
    # A UTF-16 declaration in bytes that are visibly single-byte is a lie that some writers tell.
    return "utf-8" if name.lower().replace("-", "").startswith(("utf16", "utf32", "ucs")) else name


def _from_first_tag(text: str, notes: list[str]) -> str:
    stripped = text.lstrip("\ufeff \t\r\n")
    if not stripped.strip("\x00 \t\r\n"):
        raise Rejected("it is empty")
    if stripped.startswith("<"):
        return stripped
    if stripped.startswith(("{", "[")):
        raise Rejected("it is JSON, not JUnit XML")
    if stripped.startswith(("\x1f", "PK\x03\x04")):
        raise Rejected("it is a compressed file; unpack it, or name it .zip")
    start = _START.search(stripped)
    if start is None:
        raise Rejected("it is not XML")
    notes.append(f"{start.start()} characters before the report were left out")
    return stripped[start.start() :]


def _markup_repaired(text: str, notes: list[str]) -> str:
    text, count = _FORBIDDEN_REFERENCE.subn(_REPLACEMENT, text)
    if count:
        notes.append(f"{count} references to characters that XML forbids were replaced")
    escaped = 0
    parts: list[str] = []
    end = 0
    for match in _MARKUP.finditer(text):
        parts.append(_escape_ampersands(text[end : match.start()]))
        markup = match[0]
        if not markup.startswith(("<!", "<?")):
            markup = "<" + _escape_ampersands(markup[1:]).replace("<", "&lt;")
        parts.append(markup)
        end = match.end()
    parts.append(_escape_ampersands(text[end:]))
    fixed = "".join(parts)
    escaped = len(fixed) - len(text)
    if escaped:
        notes.append("raw < or & in attributes and text were escaped")
    return fixed


def _escape_ampersands(text: str) -> str:
    return _BARE_AMPERSAND.sub("&amp;", text) if "&" in text else text


def fault(data: bytes) -> XmlFault | None:
    """Where a strict parser stops reading UTF-8 bytes; None when it reads them all."""
    parser = expat.ParserCreate("utf-8")
    cases, open_cases, depth = 0, 0, 0

    def start(tag: str, _attributes: object) -> None:
        nonlocal cases, open_cases, depth
        depth += 1
        if tag == "testcase":
            cases += 1
            open_cases += 1

    def end(tag: str) -> None:
        nonlocal open_cases, depth
        depth -= 1
        if tag == "testcase":
            open_cases -= 1

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    try:
        parser.Parse(data, True)  # noqa: FBT003  expat takes it by position only
    except expat.ExpatError as error:
        root_closed = depth == 0 and error.code == expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]
        reason = expat.errors.messages[error.code]
        return XmlFault(parser.ErrorByteIndex, error.lineno, reason, cases, open_cases > 0, root_closed)
    return None
