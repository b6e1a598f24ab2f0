"""Draws docs/images/terminal.png and slack.png from the made-up run: `python -m tests.pictures`.

The terminal's is what pyte shows of the bytes we send, the Slack one our blocks in Slack's manner; a headless Chromium
takes both.
"""

from __future__ import annotations

import subprocess
import tempfile
from html import escape
from pathlib import Path
from typing import Any

import pyte

from ci_dispatch.core.events import AttemptOutput
from ci_dispatch.demo.recording import demo_events
from ci_dispatch.reporters.slack import messages
from ci_dispatch.reporters.slack.transitions import LastNotified, compare
from ci_dispatch.reporters.terminal import last_lines
from ci_dispatch.reporters.terminal.cells import UNICODE
from ci_dispatch.reporters.terminal.reporter import LiveReporter
from ci_dispatch.reporters.terminal.screen import Screen
from ci_dispatch.run.run_report import report
from ci_dispatch.run.state import RunState
from report_merge import failures
from report_merge.model import RunContext
from tests.components import chromium
from tests.recorded_runs import play, steps

IMAGES = Path(__file__).parents[1] / "docs" / "images"
COLUMNS, ROWS = 122, 14
COLOURS = {"red": "#ff7b72", "green": "#56d364", "brown": "#e3b341", "default": "#e6edf3"}

TERMINAL = """<!doctype html><meta charset=utf-8><style>
body{margin:0;padding:28px;background:linear-gradient(135deg,#5b6ee1,#8957e5);width:fit-content}
.window{background:#0d1117;border-radius:12px;box-shadow:0 18px 50px #0008;overflow:hidden}
.bar{background:#21262d;padding:11px 14px;display:flex;gap:8px;align-items:center;color:#8b949e;font:13px DejaVu Sans}
.bar i{width:12px;height:12px;border-radius:50%;display:block}
.bar span{flex:1;text-align:center;margin-right:52px}
pre{margin:0;padding:18px 22px 22px;color:#e6edf3;font:14px/1.5 DejaVu Sans Mono}
b{font-weight:700}
</style><div class=window><div class=bar><i style="background:#ff5f57"></i><i style="background:#febc2e"></i>
<i style="background:#28c840"></i><span>ci-dispatch run</span></div><pre>{content}</pre></div>"""

SLACK = """<!doctype html><meta charset=utf-8><style>
body{margin:0;padding:26px 30px;background:#fff;width:780px;color:#1d1c1d;font:15px/1.47 DejaVu Sans}
.message{display:flex;gap:12px;margin-bottom:14px}
.avatar{width:40px;height:40px;border-radius:9px;background:linear-gradient(135deg,#5b6ee1,#8957e5);flex:none;color:#fff;
 font:700 15px/40px DejaVu Sans;text-align:center}
.who{font-weight:700}
.app{background:#e8e8e8;color:#616061;font-size:10px;border-radius:3px;padding:1px 4px;margin:0 6px}
.time{color:#616061;font-size:12px}.body{flex:1;min-width:0}
h1{font-size:18px;margin:6px 0 4px}
.dot{display:inline-block;width:.8em;height:.8em;border-radius:50%;margin-right:.45em}
.context{color:#616061;font-size:12.5px;margin:2px 0 8px}
pre{background:#f8f8f8;border:1px solid #ddd;border-radius:5px;padding:8px 10px;font:12.5px/1.5 DejaVu Sans Mono;
 margin:6px 0;white-space:pre-wrap}
code{background:#f4f4f6;border:1px solid #ddd;border-radius:3px;padding:1px 4px;color:#c01343;
 font:12.5px DejaVu Sans Mono}
.fields{display:grid;grid-template-columns:1fr 1fr;gap:4px 20px;margin:8px 0}
ul{margin:8px 0;padding-left:24px}li{margin:5px 0;line-height:1.65}
.button{display:inline-block;border:1px solid #bbb;border-radius:4px;padding:5px 12px;font-weight:700;font-size:13px;
 margin:6px 8px 0 0}
.mention{background:#fff3c4;color:#1264a3;border-radius:3px;padding:0 3px}
.thread{margin:0 0 0 52px;border-left:3px solid #e8e8e8;padding-left:14px}
</style>{content}"""


class Pixels:
    """A terminal of pyte's, as lines of HTML."""

    busy = False

    def __init__(self) -> None:
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.Stream(self.screen)

    def write(self, text: str) -> None:
        text = text.replace("\x1b[2m", "\x1b[3m")  # pyte has no dim; nothing else is italic
        self._stream.feed(text.replace("\n", "\r\n"))

    def close(self) -> None:
        pass

    def html(self) -> str:
        rows = []
        for y in range(ROWS):
            row = self.screen.buffer[y]
            rows.append("".join(_cell(row[x]) for x in range(COLUMNS)).rstrip())
        return "\n".join(rows).strip("\n")


def _cell(char: Any) -> str:
    style = f"color:{COLOURS.get(char.fg, '#e6edf3')}"
    style += ";opacity:.55" if char.italics else ""
    text = f"<b>{escape(char.data)}</b>" if char.bold else escape(char.data)
    return text if style == "color:#e6edf3" else f'<span style="{style}">{text}</span>'


def terminal(until: float) -> str:
    pixels, state = Pixels(), RunState()
    reporter = LiveReporter(pixels, Screen(colour=True, reflows=False), size=lambda: (COLUMNS, ROWS + 6),
                            glyphs=UNICODE, final=last_lines)  # fmt: skip
    for now, stamped in steps(demo_events(), state):
        if now > until:
            break
        if stamped is None:
            reporter.tick(now, state)
        elif not isinstance(stamped.event, AttemptOutput):
            reporter.handle(stamped, state)
    return TERMINAL.replace("{content}", pixels.html())


def slack() -> str:
    context = RunContext(
        title="shop e2e", repository="acme/shop", branch="main", sha="a1b2c3d4", url="https://github.com/acme/shop",
        report_url="https://acme.example/report", reproduce="ci-dispatch run -- --last-failed",
    )  # fmt: skip
    state = play(demo_events())
    ended = report(state, context)
    groups = failures.group(ended.cases)
    change = compare(LastNotified(bad=False, since=0.0), bad=True)
    parts = [_message(messages.final(state, ended, groups, change).blocks)]
    replies = [messages.mention_reply(context, ("U0ADA",)), messages.replies(groups, context, change)[0]]
    parts += [f'<div class="thread">{_message(reply.blocks)}</div>' for reply in replies]
    return SLACK.replace("{content}", "".join(parts))


def _message(blocks: tuple[dict[str, Any], ...]) -> str:
    who = '<span class="who">ci-dispatch</span><span class="app">APP</span><span class="time">9:41 AM</span>'
    body = "".join(_block(block) for block in blocks)
    return f'<div class="message"><div class="avatar">cd</div><div class="body"><div>{who}</div>{body}</div></div>'


def _block(block: dict[str, Any]) -> str:
    match block["type"]:
        case "header":
            return f"<h1>{_dots(block['text']['text'])}</h1>"
        case "context":
            return f'<div class="context">{_dots(block["elements"][0]["text"])}</div>'
        case "section":
            fields = (field["text"].split("\n", 1) for field in block["fields"])
            cells = "".join(f"<div><b>{label.strip('*')}</b><br>{value}</div>" for label, value in fields)
            return f'<div class="fields">{cells}</div>'
        case "actions":
            return "".join(f'<span class="button">{one["text"]["text"]}</span>' for one in block["elements"])
        case "rich_text":
            return "".join(_rich(element) for element in block["elements"])
    raise ValueError(block["type"])


def _rich(element: dict[str, Any]) -> str:
    match element["type"]:
        case "rich_text_section":
            return f"<div>{''.join(_text(one) for one in element['elements'])}</div>"
        case "rich_text_preformatted":
            return f"<pre>{''.join(_text(one) for one in element['elements'])}</pre>"
        case "rich_text_list":
            items = ("".join(_text(one) for one in item["elements"]) for item in element["elements"])
            return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"
    raise ValueError(element["type"])


def _text(element: dict[str, Any]) -> str:
    if element["type"] == "user":
        return '<span class="mention">@Ada</span>'
    text = escape(element["text"]).replace("\n", "<br>" if "style" not in element else "\n")
    style = element.get("style", {})
    text = f"<code>{text}</code>" if style.get("code") else text
    return f"<b>{text}</b>" if style.get("bold") else text


def _dots(text: str) -> str:
    """Slack draws its own emoji; here there may be no font for them."""
    text = escape(text)
    for sign, colour in {"🔴": "#e01e5a", "🟢": "#2eb67d", "🟡": "#ecb22e", "🟣": "#8957e5", "🟠": "#f2952f"}.items():
        text = text.replace(f"{sign} ", f'<span class="dot" style="background:{colour}"></span>')
    return text


def take(html: str, picture: Path, width: int, height: int) -> None:
    """A screenshot of a page at twice its pixels."""
    browser = chromium()
    assert browser, "needs chromium: apt-get install chromium-headless-shell"
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(html, encoding="utf-8")
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={picture}",
             "--force-device-scale-factor=2", f"--window-size={width},{height}", f"file://{page}"],
            check=True, capture_output=True, timeout=60, cwd=folder,
        )  # fmt: skip


if __name__ == "__main__":
    take(terminal(9.4), IMAGES / "terminal.png", 1127, 345)
    take(slack(), IMAGES / "slack.png", 840, 955)
