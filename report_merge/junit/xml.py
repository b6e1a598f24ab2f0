"""The edge to lxml: hardened parsing, recovery, serialising. No other file here imports lxml.

Hardened means: no entities are expanded, no network, no DTD is loaded, bytes only (a path could be a gzip bomb:
https://bugs.launchpad.net/lxml/+bug/1969706), and never more than the caller has already capped.
"""

from __future__ import annotations

import re
from functools import cache

from lxml import etree

Element = etree._Element  # noqa: SLF001  lxml-stubs has no public name for it
_XML = "{http://www.w3.org/XML/1998/namespace}"  # xml:space, xml:lang: always declared
_JUNIT_TAGS = frozenset({"testsuites", "testsuite", "testcase", "failure", "error", "skipped"})
XmlError = etree.XMLSyntaxError
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def _parser(*, recover: bool) -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=True,  # a 12 MB system-out is a legitimate report; our own limits come first
        strip_cdata=False,
        recover=recover,
    )


_STRICT = _parser(recover=False)  # making one costs as much as parsing a test


def parse(data: bytes) -> Element:
    """The root element. Raises XmlError."""
    return etree.fromstring(data, _STRICT)


def recover(data: bytes) -> tuple[Element | None, list[int]]:
    """What can be saved of a damaged document, and the lines of its errors."""
    parser = _parser(recover=True)
    try:
        root = etree.fromstring(data, parser)
    except XmlError:
        return None, []
    return root, [entry.line for entry in parser.error_log]


def new(tag: str, **attributes: str) -> Element:
    return etree.Element(tag, {name: xml_text(value) for name, value in attributes.items()})


def to_bytes(element: Element, *, declaration: bool = False) -> bytes:
    """UTF-8, without the text that follows the element."""
    return etree.tostring(element, encoding="utf-8", xml_declaration=declaration, with_tail=False)


def local_name(element: Element) -> str:
    """The tag without its namespace; empty for comments and processing instructions."""
    tag: object = element.tag  # the stubs do not know that comments have a function here
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


@cache
def _deeper_than(depth: int) -> etree.XPath:
    return etree.XPath("/*" * (depth + 1))


def line_below(root: Element, depth: int) -> int | None:
    """The line of an element nested deeper than `depth`, the root being 1 deep; None when there is none."""
    found: object = _deeper_than(depth)(root)
    return line_of(found[0]) if isinstance(found, list) and found else None


def line_of(element: Element) -> int:
    line: object = element.sourceline
    return line if isinstance(line, int) else 0


def without_namespaces(root: Element) -> Element:
    """The same tree with tags and attributes reduced to their local names, and no declaration left.

    A recovered tree may hold prefixes that nothing declares, or declarations nobody accepts: none could be read again.
    """
    for element in root.iter():
        name = local_name(element)
        if name and len(set(element.keys())) < len(element.keys()):
            _each_attribute_once(element)
        if ":" in name:
            last = name.rpartition(":")[2]
            name = last if last in _JUNIT_TAGS else name.replace(":", "_")
        if name and name != element.tag:
            element.tag = name
        for key in [str(key) for key in element.attrib if _is_foreign(str(key))]:
            value = str(element.attrib.pop(key))
            plain = key.rpartition("}")[2].replace(":", "_")
            element.set(plain, element.get(plain, value))
    etree.cleanup_namespaces(root)
    _without_markup_of_a_prolog(root)
    return root


def _without_markup_of_a_prolog(root: Element) -> None:
    """Recovery keeps declarations within the document, and entities that nothing declares: no parser reads them."""
    if any(str(getattr(node, "target", "")).lower() == "xml" for node in root.iter(etree.ProcessingInstruction)):
        etree.strip_elements(root, etree.ProcessingInstruction, with_tail=False)
    for entity in list(root.iter(etree.Entity)):
        parent, before = entity.getparent(), entity.getprevious()
        text = f"{entity.text}{entity.tail or ''}"
        if before is not None:
            before.tail = (before.tail or "") + text
        elif parent is not None:
            parent.text = (parent.text or "") + text
        if parent is not None:
            parent.remove(entity)


def _each_attribute_once(element: Element) -> None:
    """Recovery keeps an attribute that is there twice, which no parser reads again: the first one counts."""
    items = element.items()
    for name in {name for name, _ in items}:
        while name in element.attrib:
            del element.attrib[name]
    for name, value in reversed(items):
        element.set(name, value)


def _is_foreign(key: str) -> bool:
    return (":" in key or key.startswith("{")) and not key.startswith(_XML)


def text_of(element: Element) -> str:
    """All text below an element, in document order."""
    if len(element) == 0:
        return element.text or ""
    return "".join(str(part) for part in element.itertext())


def xml_text(text: str) -> str:
    """Text as XML 1.0 can hold it: what it forbids becomes U+FFFD (https://www.w3.org/TR/xml/#charsets)."""
    if text.isprintable():  # as most attributes are; a forbidden character never is
        return text
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def set_text(element: Element, text: str) -> None:
    """The text of an element, as XML can hold it; the parser's own check is faster than ours."""
    try:
        element.text = text or None
    except ValueError:
        element.text = xml_text(text)
