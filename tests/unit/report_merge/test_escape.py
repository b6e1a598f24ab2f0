"""Foreign text is only text, wherever it is shown: a hostile corpus and hypothesis look for a way out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from report_merge import failures
from report_merge.render import escape
from report_merge.sanitize import one_line, printable

HOSTILE = [
    "</summary></details><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a | b | c",
    "`code` ``` ```` fence",
    "**bold** __init__ ~~gone~~ *a* _b_",
    "[link](http://evil.example) ![img](http://evil.example/x.png)",
    "http://evil.example www.evil.example me@evil.example",
    "@acme/team fails, see #123, GH-7, acme/shop#9 :boom:",
    "::error file=x::gotcha",
    "  ::set-output name=a::b",
    "##[error]gotcha",
    "\r::add-mask::x",
    "line\nbreak\u2028and\u0085more",
    "\x1b[2J\x1b]0;title\x07\x9b31m\x1bP1$r\x1b\\",
    "\u202egnp.exe\u2066",
    "# heading",
    "- item",
    "1. item",
    "> quote",
    "--- ",
    "===",
    "| a |",
    "$x$ $$y$$",
    "&lt; &amp; &#64;acme",
    "<!channel> <@U123> <http://evil.example|click>",
    'quote" and \' and \\ and \\"',
    "{{ jinja }} {% raw %}",
    "\ud800 lone",
    "]]> <!-- -->",
    "",
    " ",
    "x" * 5000,
    "`" * 2000,
]
foreign = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(max_size=60),
    st.text(alphabet="`~*_[]()<>|#@:!&;$\\-+=.0123456789ab \n\r\t\x1b\"'%{}/w", max_size=40),
    st.lists(st.sampled_from(HOSTILE), max_size=4).map("".join),
)


def hostile(test: Callable[..., None]) -> Callable[..., None]:
    """The whole corpus each time; hypothesis adds what nobody thought of."""
    for text in HOSTILE:
        test = example(text)(test)
    return test


MARKDOWN = MarkdownIt("gfm-like", {"html": True, "linkify": False})


def shown(text: str) -> str:
    """What a reader sees of one line of foreign text."""
    return one_line(text)


def visible(text: str) -> str:
    return text.replace(escape.ZERO_WIDTH_SPACE, "")


class Elements(HTMLParser):
    """Every element and the text outside them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_comment(self, data: str) -> None:
        self.tags.append("comment")

    def handle_decl(self, decl: str) -> None:
        self.tags.append("declaration")

    def handle_data(self, data: str) -> None:
        self.text += data


@hostile
@given(foreign)
@example("1) a")
@example("a\\|b")
def test_markdown_stays_in_its_paragraph(text: str) -> None:
    for source in (escape.markdown(text), f"see {escape.markdown(text)} there"):
        page = Elements(MARKDOWN.render(source))
        assert set(page.tags) <= {"p"}, (source, page.tags)
    assert (
        visible(Elements(MARKDOWN.render(f"x{escape.markdown(text)}")).text).strip()
        == visible(f"x{shown(text)}").strip()
    )


@hostile
@given(foreign)
def test_markdown_stays_in_its_cell(one: str) -> None:
    other = one[::-1]
    table = f"| a | b |\n|-|-|\n| {escape.markdown(one)} | {escape.markdown(other)} |\n"
    html = MARKDOWN.render(table)
    assert html.count("<tr") == 2
    cells = [visible(Elements(cell).text).strip() for cell in re.findall(r"<td>(.*?)</td>", html, re.DOTALL)]
    assert cells == [visible(shown(one)).strip(), visible(shown(other)).strip()]


@hostile
@given(foreign)
def test_markdown_means_the_same_inside_an_html_block(text: str) -> None:
    html = MARKDOWN.render(f"<details><summary>{escape.markdown(text)}</summary>\n\nbody\n\n</details>\n")
    page = Elements(html)
    assert page.tags == ["details", "summary", "p"]
    assert visible(page.text).startswith(visible(shown(text)))


@hostile
@given(foreign)
def test_markdown_pings_nobody_and_links_nothing(text: str) -> None:
    page = Elements(MARKDOWN.render("x " + escape.markdown(text)))
    emoji = r":(?:[\w+-]*[a-z][\w+-]*|100|1234|[+-]1):"
    assert not re.search(rf"@\w|#\d|\bGH-\d|{emoji}", page.text, re.IGNORECASE | re.ASCII)
    assert not re.search(r"://|www\.", escape.markdown(text), re.IGNORECASE)


@hostile
@given(foreign)
def test_nothing_inside_closes_a_fence(text: str) -> None:
    source = f"{escape.fence(text)}\n\nafter\n"
    tokens = [token for token in MARKDOWN.parse(source) if token.level == 0 and token.nesting >= 0]
    assert [token.type for token in tokens] == ["fence", "paragraph_open"]
    assert tokens[0].content.strip("\n") == printable(text).replace("\x00", "\ufffd").strip("\n")


@hostile
@given(foreign)
def test_html_text_and_attributes(text: str) -> None:
    page = Elements(f"<p title=\"{escape.html(text)}\" data-x='{escape.html(text)}'>{escape.html(text)}</p>")
    assert page.tags == ["p"]
    assert page.text == printable(text)
    assert page.attributes == [("title", printable(text)), ("data-x", printable(text))]


@hostile
@given(foreign)
def test_json_in_a_script_element_cannot_end_it(text: str) -> None:
    source = escape.script_json(json.dumps(text, ensure_ascii=False))
    assert not re.search(r"[<>&\u2028\u2029]", source)
    assert json.loads(source) == text


@hostile
@given(foreign)
def test_a_workflow_command_has_one_line_and_no_property_of_the_texts_making(text: str) -> None:
    command = f"::error file={escape.workflow_property(text)}::{escape.workflow_data(text)}"
    assert len(re.split(r"[\r\n]", command)) == 1
    properties, data = command.removeprefix("::error ").split("::", 1)
    assert "," not in properties
    assert data.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%") == printable(text)


@hostile
@given(foreign)
def test_a_log_line_is_never_a_workflow_command(text: str) -> None:
    for shown_text in (
        escape.workflow_log(text),
        escape.workflow_log("  " + text),
        escape.terminal_name(text),
        escape.no_workflow_command(text),
        escape.no_workflow_command("\x1b[1mours\x1b[0m\n" + text),
    ):
        for line in re.split(r"[\r\n]", shown_text):
            assert not line.strip().startswith("::")
            assert "##[" not in line


@hostile
@given(foreign)
def test_json_in_a_log_is_no_command_and_means_the_same(text: str) -> None:
    shown = escape.json_log(json.dumps({text: [text]}, ensure_ascii=False, indent=1))
    assert json.loads(shown) == {text: [text]}
    for line in shown.split("\n"):
        assert not line.strip().startswith("::")
        assert "##[" not in line


@hostile
@given(foreign)
def test_a_terminal_gets_only_characters(text: str) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", escape.terminal(text))


@hostile
@given(foreign)
def test_a_github_output_ends_where_it_should(text: str) -> None:
    delimiter = "delimiter_0123456789"
    lines = escape.github_output("result", text, delimiter).split("\n")
    assert (lines[0], lines[-2:]) == (f"result<<{delimiter}", [delimiter, ""])
    assert "\n".join(lines[1:-2]) == text.encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    ("name", "value", "delimiter"),
    [
        ("a b", "", "d" * 16),
        ("a", "d" * 16, "d" * 16),
        ("a", "", "short"),
        ("a\nb", "", "d" * 16),
        ("a", "", "d\n" * 16),
    ],
)
def test_a_github_output_that_could_end_early_is_refused(name: str, value: str, delimiter: str) -> None:
    with pytest.raises(ValueError, match=r"output|delimiter"):
        escape.github_output(name, value, delimiter)


@pytest.mark.parametrize("piece", ["\n", " ", "`", ":", "\x1b[", "\x1b]", "_", "a/", "<", "\r", "@", "\u2028", "::\n"])
def test_a_quarter_of_a_megabyte_of_anything_is_escaped_in_linear_time(piece: str) -> None:
    """No clock here: what is not linear would take minutes and meet the time limit of every test."""
    text = piece * (256 * 1024 // len(piece))
    for escaper in (escape.markdown, escape.fence, escape.html, escape.workflow_log, escape.terminal):
        escaper(text)
    failures.fingerprint(failures.classify(text), "", text, text)


@hostile
@given(foreign)
def test_names_are_one_short_line(text: str) -> None:
    assert len(one_line(text)) <= escape.NAME_LIMIT
    assert not re.search(r"[\n\r\t]", one_line(text))


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "", "https://a b", "/relative", "http://x\ny"]
)
def test_only_web_addresses_become_links(url: str) -> None:
    assert escape.markdown_url(url) == ""
    assert escape.html_url(url) == ""


def test_two_texts_are_never_one_hidden_marker() -> None:
    texts = ["unit/a-b", "unit/a--b", "unit/a b", "unit/ab", "测试", "构建", "", "x" * 300, "x" * 301, "<!--", "-->"]
    markers = [escape.html_comment(text) for text in texts]
    assert len(set(markers)) == len(texts)
    assert markers[0] == "<!-- unit/a-b -->"
    assert all(re.fullmatch(r"<!-- (?:[\w./:]|-(?!-))* -->", marker) for marker in markers)


def test_file_and_line_can_be_copied() -> None:
    assert escape.markdown("src/main.cpp:72:10: error") == "src/main.cpp:72:10: error"
    assert escape.markdown("12.5 s, snake_case, C++, a-b") == "12.5 s, snake_case, C++, a-b"


def test_a_web_address_stays_one() -> None:
    assert escape.markdown_url("https://x.example/a(b)?c=d&e=f#g") == "https://x.example/a%28b%29?c=d&e=f#g"
    assert escape.html_url('https://x.example/"') == "https://x.example/&quot;"


def test_plain_keeps_what_readers_see() -> None:
    text = "Grüße 👩‍👩‍👧 ✓\ttab\nline"
    assert printable(text) == text
    assert printable("a\x1b[31mred\x1b[0m\r\nb\x00") == "ared\nb"


def test_plain_leaves_no_character_that_could_command_a_terminal_or_turn_the_text_around() -> None:
    """Also where the quick way out for printable text is taken."""
    dangerous = [chr(n) for n in (*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F),
                                  *range(0x2066, 0x206A), 0xFEFF, *range(0xD800, 0xE000))]  # fmt: skip
    for character in set(dangerous) - {"\t", "\n"}:
        assert character not in printable(f"a{character}b"), hex(ord(character))
