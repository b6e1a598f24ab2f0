"""One escaper for each place that shows foreign text. Everything a renderer shows goes through exactly one of them.

All of them first make the text plain (no escape sequences, control characters, bidirectional controls), and none but
`github_output` raises. Names are one line of at most 300 code points; `fence`, `html` and the log escapers keep lines.
"""

from __future__ import annotations

import hashlib
import html as _html
import re

from report_merge.sanitize import one_line, printable

NAME_LIMIT = 300  # code points
ZERO_WIDTH_SPACE = "\u200b"

# Character references cannot start any Markdown structure (https://spec.commonmark.org/0.31.2/#entity-and-numeric-character-references)
# and mean the same inside HTML blocks, where backslashes would be shown. So one escaper serves both.
_MARKDOWN = str.maketrans({char: f"&#{ord(char)};" for char in "\\`*[]<>|~$!{}"} | {"&": "&amp;"})
_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LINE_START = re.compile(r"^(?:[-+=#:](?!\w)|\d{1,9}(?=[.)](?:\s|$)))")
# What GitHub makes of plain text after Markdown is done: mentions, issues, GH-1, emoji names, bare addresses.
_REFERENCE = re.compile(
    r"@(?=\w)|#(?=\d)|\bGH-(?=\d)|:(?=(?:[\w+-]{0,50}[a-z][\w+-]{0,50}|100|1234|[+-]1):)", re.IGNORECASE
)
_ADDRESS = re.compile(r"://|\bwww\.", re.IGNORECASE)

# https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts
_COMMAND_DATA = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_COMMAND_PROPERTY = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"})
# The runner's lines end at \n and at \r. It trims each before it looks for `::`, and finds `##[` anywhere in it
# (actions/runner, ActionCommand.cs and OutputManager.cs); colour codes it leaves where they are.
_COMMAND_START = re.compile(r"(?:^|(?<=\r))([^\S\n\r]*):(?=:)", re.MULTILINE)

_SCRIPT = (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029"))


def markdown(text: str, limit: int = NAME_LIMIT) -> str:
    """One line of text inside GitHub Markdown: a paragraph, a table cell, or an HTML element such as <summary>.

    It starts no markup and ends none, mentions nobody, links nothing. Zero-width spaces break what has no other escape.
    """
    line = _REFERENCE.sub(lambda match: match[0] + ZERO_WIDTH_SPACE, one_line(text, limit)).translate(_MARKDOWN)
    line = _UNDERSCORE.sub("&#95;", line)
    line = _ADDRESS.sub(lambda match: "&#58;//" if match[0] == "://" else match[0][:3] + "&#46;", line)
    return _LINE_START.sub(lambda match: "".join(f"&#{ord(char)};" for char in match[0]), line)


def markdown_url(url: str) -> str:
    """An address for `[text](<here>)`: http and https only, anything else becomes empty and must not be linked."""
    url = one_line(url, 2000)
    if not re.match(r"https?://[^\s]+$", url, re.IGNORECASE):
        return ""
    return re.sub(r"[<>()\[\]\\`|\"'*_~$ ]", lambda match: f"%{ord(match[0]):02X}", url)


def fence(text: str, info: str = "") -> str:
    """A fenced code block that no run of backticks inside can close; without a newline at its end."""
    body = printable(text).strip("\n")
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{info}\n{body}\n{ticks}"


def html(text: str) -> str:
    """Text between tags, and in attributes within either kind of quotation marks."""
    return _html.escape(printable(text), quote=True)


def html_name(text: str) -> str:
    """A name between tags or in an attribute: one line, at most 300 code points."""
    return _html.escape(one_line(text, NAME_LIMIT), quote=True)


def html_url(url: str) -> str:
    """An address for `href`: http and https only, anything else becomes empty and must not be linked."""
    url = one_line(url, 2000)
    return _html.escape(url, quote=True) if re.match(r"https?://[^\s]+$", url, re.IGNORECASE) else ""


def html_comment(text: str) -> str:
    """An invisible marker: only letters, digits, single ``-`` and ``._/:`` of `text` are kept.

    Where that loses something a digest stands for it, so that two texts are never one marker.
    """
    safe = re.sub(r"-+", "-", re.sub(r"[^A-Za-z0-9._/:-]", "", text[:200]))
    if safe != text:
        safe += f":{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:12]}"
    return f"<!-- {safe} -->"


def script_json(json: str) -> str:
    """JSON inside <script type="application/json">: it cannot end the element, and means the same."""
    for character, escaped in _SCRIPT:
        json = json.replace(character, escaped)  # several times as fast as `translate`
    return json


def workflow_data(text: str) -> str:
    """The message of a workflow command: `::error::HERE`."""
    return printable(text).translate(_COMMAND_DATA)


def workflow_property(text: str) -> str:
    """A property of a workflow command: `::error file=HERE::`."""
    return printable(text).translate(_COMMAND_PROPERTY)


def workflow_log(text: str) -> str:
    """Text printed into the log of a GitHub job: no line of it is a workflow command."""
    return no_workflow_command(printable(text))


def no_workflow_command(text: str) -> str:
    """The same for output of our own, whose colours and cursor movements stay."""
    text = _COMMAND_START.sub(rf"\1:{ZERO_WIDTH_SPACE}", text)
    return text.replace("##[", f"##{ZERO_WIDTH_SPACE}[")


def json_log(json: str) -> str:
    """JSON printed into the log of a GitHub job: no line of it is a workflow command, and it means the same."""
    return json.replace("##[", "#\\u0023[")


def terminal(text: str) -> str:
    """Lines printed to a terminal: they move no cursor, set no title, change no colour, reverse no direction."""
    return printable(text).expandtabs(4)


def terminal_name(text: str) -> str:
    """A name printed to a terminal or a log: one line, at most 300 code points, never a workflow command."""
    return workflow_log(one_line(text, NAME_LIMIT))


def github_output(name: str, value: str, delimiter: str) -> str:
    """One entry of the GITHUB_OUTPUT or GITHUB_ENV file; a random `delimiter` keeps the value from ending it early.

    Raises ValueError when the name is no identifier or the delimiter occurs in the value.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
        raise ValueError(f"{name!r} cannot be the name of an output")
    if len(delimiter) < 16 or not re.fullmatch(r"[A-Za-z0-9_-]+", delimiter):
        raise ValueError("the delimiter must be at least 16 random letters and digits")
    value = value.encode("utf-8", "replace").decode("utf-8")
    if delimiter in value:
        raise ValueError(f"the value of {name} contains the delimiter: use another random one")
    return f"{name}<<{delimiter}\n{value}\n{delimiter}\n"
