"""Each piece of a message within Slack's own limit, whatever goes in."""

from __future__ import annotations

import pytest

from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import Stamped, Warned
from ci_dispatch.reporters.slack import blocks as b
from ci_dispatch.reporters.slack import messages
from ci_dispatch.reporters.slack.transitions import LastNotified, Transition, VerdictChange, compare
from ci_dispatch.run.run_report import report
from report_merge import failures
from report_merge.failures import FailureGroup
from report_merge.model import RunContext
from tests.recorded_runs import play, recorded

LONG = "word " * 5000


def groups() -> tuple[FailureGroup, ...]:
    return failures.group(report(play(recorded("troubled")), RunContext()).cases)


def test_pieces_keep_their_limits() -> None:
    assert len(b.header(LONG)["text"]["text"]) <= 150
    assert len(b.context([LONG, LONG])["elements"][0]["text"]) <= 2000
    assert len(b.fields([(str(n), LONG) for n in range(20)])["fields"]) == 8
    assert all(len(field["text"]) <= 2000 for field in b.fields([("a", LONG)])["fields"])
    assert len(b.name(LONG)["text"]) <= 150
    assert len(b.sentence(LONG)) <= 1000


@pytest.mark.parametrize("empty", ["", " ", "\x1b[0m", "\n"])
def test_nothing_is_never_sent_as_an_empty_text(empty: str) -> None:
    assert b.header(empty)["text"]["text"]
    assert b.context([empty])["elements"][0]["text"]
    assert b.text_of(empty)["text"]
    assert b.name(empty)["text"]
    assert b.preformatted(empty)["elements"][0]["text"]


def test_only_addresses_that_slack_takes_become_buttons() -> None:
    buttons = b.links([("a", "https://x/"), ("b", "javascript:alert(1)"), ("c", ""), ("d", "https://x/" + "y" * 3000)])
    assert buttons is not None
    assert [one["url"] for one in buttons["elements"]] == ["https://x/"]
    assert b.links([("a", "")]) is None


def test_mentions_are_by_kind() -> None:
    kinds = [one["type"] for one in b.mentions(("U1", "W2", "S3", "here"))["elements"]]
    assert kinds == ["user", "text", "user", "text", "usergroup", "text", "broadcast", "text"]


def test_a_sample_is_whole_lines_within_its_limit() -> None:
    group = groups()[0]
    text = "\n".join(f"{number:02} {'x' * 180}" for number in range(40))
    sent = messages.replies(
        [replace(group, sample=replace(group.sample, text=text))], RunContext(), compare(None, bad=True)
    )
    (sample,) = [e for e in sent[0].blocks[0]["elements"] if e["type"] == "rich_text_preformatted"]
    *lines, more = sample["elements"][0]["text"].split("\n")
    assert sum(len(line) + 1 for line in lines) <= messages.SAMPLE_CHARACTERS
    assert lines == text.split("\n")[: len(lines)]
    assert (len(lines), more) == (13, "… 27 more lines")


def test_more_causes_than_replies_are_counted() -> None:
    sent = messages.replies([groups()[0]] * 12, RunContext(), compare(None, bad=True))
    assert len(sent) == messages.REPLIES + 1
    assert "5 more causes" in sent[-1].text


def test_more_warnings_than_are_shown_are_counted() -> None:
    state = play(recorded("troubled"))
    for number in range(5):
        warned = Warned(source="here", text=f"mind {number}")
        state.apply(Stamped(seq=state.seq + 1, at=state.now, event=warned))
    ended = report(state, RunContext())
    final = messages.final(state, ended, failures.group(ended.cases), compare(None, bad=True))
    (notes,) = [block for block in final.blocks[3:] if block["type"] == "context"]
    assert notes["elements"][0]["text"].endswith("here: mind 3 · here: mind 4 · and 3 more warnings")


def test_blame() -> None:
    product, flaky = groups()
    fine, known = LastNotified(bad=False, since=0), LastNotified(bad=True, since=0, fingerprints=(product.fingerprint,))
    assert messages.blame(product, compare(None, bad=True)) == "product"
    assert messages.blame(product, compare(fine, bad=True)) == "new"
    assert messages.blame(product, compare(known, bad=True)) == "as before"
    assert messages.blame(flaky, compare(known, bad=True)) == "flaky"


@pytest.mark.parametrize(
    ("seconds", "words"), [(1, "1 s"), (89, "89 s"), (180, "3 min"), (3600 * 3.2, "3 h"), (86_400 * 4, "4 days")]
)
def test_a_repair_says_how_long_it_took(seconds: float, words: str) -> None:
    change = VerdictChange(transition=Transition.FIXED, bad=False, before=LastNotified(bad=True, since=1000.0))
    text = messages.fixed_reply(RunContext(sha="a1b2c3d4"), change, 1000.0 + seconds).text
    assert text == f"🟢 Fixed by a1b2c3d after {words}."
