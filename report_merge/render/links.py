"""Addresses that a page may link to: of the web, or of a file beside the page."""

from __future__ import annotations

import re
from urllib.parse import quote

from report_merge.model import Attachment, AttachmentKind
from report_merge.sanitize import one_line

VIEWER = "https://trace.playwright.dev/?trace="


def attachment_href(attachment: Attachment) -> str:
    """Raw, for a page's own folder; empty when it is nowhere. Never another scheme than http and https."""
    if is_web(attachment.name):
        return one_line(attachment.name, 2000)
    if not attachment.path:
        return ""
    relative = quoted(attachment.path.replace("\\", "/"))
    return relative if relative.startswith("/") else f"./{relative}"


def quoted(path: str) -> str:
    """A path of this computer in an address: a name that is no text is the bytes that it is."""
    return quote(path, errors="surrogateescape")


def viewer_href(attachment: Attachment) -> str:
    """Playwright's viewer for a trace that it can fetch; empty for one that is only a file."""
    if attachment.kind is not AttachmentKind.TRACE or not is_web(attachment.name):
        return ""
    return VIEWER + quote(one_line(attachment.name, 2000), safe="")


def is_web(address: str) -> bool:
    return re.match(r"https?://[^\s]+$", address, re.IGNORECASE) is not None
