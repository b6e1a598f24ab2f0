"""Why something failed: rules in order, evidence, fingerprints, groups, mass failures."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_merge import failures
from report_merge.failures import FailureVerdict, MachineTally, RetryAdvice
from report_merge.failures.classify import EVIDENCE_CHARACTERS, SCANNED_CHARACTERS
from report_merge.model import Attempt, Case, CaseKey, Outcome
from report_merge.render import html, markdown, text, workflow_commands
from tests.unit.report_merge import sample_reports as sample

SAMPLES: list[dict[str, Any]] = tomllib.loads(
    (Path(__file__).parents[2] / "data/failures/samples.toml").read_text(encoding="utf-8")
)["sample"]
CORPUS = Path(os.environ.get("TEST_CORPUS", Path(__file__).parents[4] / "shared" / "corpus")) / "failures"


def classify_sample(sample: dict[str, Any]) -> failures.Finding:
    return failures.classify(
        sample.get("text", ""),
        exit_code=sample.get("exit"),
        signal=sample.get("signal"),
        source=sample.get("source", ""),
    )


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s["rule"] or "unknown")
def test_each_sample_gets_its_rule_and_the_words_that_say_so(sample: dict[str, Any]) -> None:
    finding = classify_sample(sample)
    assert (finding.rule, finding.category) == (sample["rule"], sample["category"]), finding
    if finding.offset is not None:
        lines = sample["text"].splitlines()
        assert finding.line is not None
        assert finding.evidence in " ".join(lines[finding.line - 1].split())


def test_every_shipped_rule_has_a_sample() -> None:
    unproven = {rule.id for rule in failures.load_rules().rules} - {sample["rule"] for sample in SAMPLES}
    assert not unproven


def test_colours_do_not_hide_a_message_and_neither_does_a_long_log() -> None:
    noise = "line of a log\n" * 50_000
    finding = failures.classify(f"{noise}\x1b[31mError: listen \x1b[1mEADDRINUSE\x1b[0m: in use\x1b[0m")
    assert finding.rule == "address-in-use"
    assert finding.evidence == "Error: listen EADDRINUSE: in use"
    assert finding.line == 50_001


def test_only_the_end_of_a_long_text_is_scanned() -> None:
    assert failures.classify("EADDRINUSE\n" + "x" * SCANNED_CHARACTERS).rule == ""


def test_words_match_whole() -> None:
    assert failures.classify("ModuleNotFoundError: x").rule == "module-missing"  # holds the letters of ENOTFOUND
    assert failures.classify("XEADDRINUSE").rule == failures.classify("EADDRINUSEX").rule == ""


@pytest.mark.parametrize(
    "quoted",
    [
        ">       assert 'ENOSPC' in log\nE       AssertionError",
        "AssertionError\n  11 | foo\n> 12 |   expect(log).toContain('ENOSPC')\n     |  ^",
    ],
)
def test_source_code_quoted_in_a_trace_is_no_evidence(quoted: str) -> None:
    assert failures.classify(quoted).rule == "assertion"


def test_words_beat_exit_codes() -> None:
    assert failures.classify("Host key verification failed.", exit_code=127).rule == "ssh-host-key"


def test_explain_lists_every_match_in_order() -> None:
    text = "Target page, context or browser has been closed\n...\nRunning as root without --no-sandbox"
    assert [f.rule for f in failures.explain(text, exit_code=1)] == ["browser-sandbox", "browser-crash"]


def test_the_evidence_of_a_long_line_is_cut_around_the_match() -> None:
    finding = failures.classify("x " * 5000 + "EADDRINUSE" + " y" * 5000)
    assert "EADDRINUSE" in finding.evidence
    assert len(finding.evidence) <= EVIDENCE_CHARACTERS


@given(st.text(max_size=500), st.text(max_size=50), st.none() | st.integers(), st.none() | st.text(max_size=9))
def test_never_raises(text: str, message: str, exit_code: int | None, signal: str | None) -> None:
    finding = failures.classify(text, message=message, exit_code=exit_code, signal=signal)
    failures.fingerprint(finding, message, message, text)
    assert finding.category


# ------------------------------------------------------------------------------------------------ rules


USER_RULES = """
[[rule]]
id = "licence-server"
category = "env.licence"
retry = "backoff"
text = ["No floating licence * available", "LICENCE-#"]
hint = "All licences are taken."

[[rule]]
id = "dns"
category = "env.vpn"
retry = "never"
text = ["ENOTFOUND"]
"""


def test_user_rules_come_first_and_replace_shipped_ones_of_their_name() -> None:
    rules = failures.load_rules(USER_RULES)
    assert failures.classify("Error: No floating licence for CAD available", rules=rules).category == "env.licence"
    assert failures.classify("x LICENCE-42 y", rules=rules).verdict is FailureVerdict.ENVIRONMENT
    assert failures.classify("getaddrinfo ENOTFOUND a", rules=rules).category == "env.vpn"
    assert failures.classify("getaddrinfo EAI_AGAIN a", rules=rules).rule == ""  # the shipped `dns` is gone
    assert failures.classify("EADDRINUSE", rules=rules).rule == "address-in-use"


def test_every_page_uses_the_users_rules() -> None:
    rules = failures.load_rules(USER_RULES)
    report = sample.report(sample.failing("a", "Error: No floating licence for CAD available"))
    pages = [
        markdown.job_summary(report, rules=rules),
        markdown.pr_comment(report, marker="m", rules=rules),
        html.page(report, rules=rules),
        "\n".join(text.final_lines(report, rules=rules, program="ci-dispatch")),
        "\n".join(workflow_commands.annotations_of(report, rules=rules)),
    ]
    for page in pages[:4]:
        assert "env.licence" in page
    assert "title=environment" in pages[4]


def test_all_problems_of_a_rules_file_are_told_at_once() -> None:
    with pytest.raises(failures.RulesError) as caught:
        failures.load_rules(
            """
            surprise = 1
            [[rule]]
            id = "a"
            category = "weather.rain"
            retry = "maybe"
            text = ["***"]
            [[rule]]
            category = "test.x"
            retry = "once"
            exit = ["1"]
            regex = "x"
            [[rule]]
            id = "c"
            category = "test.x"
            retry = "once"
            [[rule]]
            id = "d"
            category = "test.x"
            retry = "once"
            text = ["* *"]
            """
        )
    told = "\n".join(caught.value.problems)
    for expected in (
        "unknown key 'surprise'",
        "rule 1 (a): category must start with",
        "rule 1 (a): retry must be never,",
        "rule 2 (no id): unknown field 'regex'",
        'rule 2 (no id): needs id = "..."',
        "rule 2 (no id): exit must be a list of numbers",
        "rule 3 (c): needs at least one of text, exit, signal",
        "rule 4 (d): the phrase '* *' has no literal text",
    ):
        assert expected in told, told


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[[rule", "not valid TOML"),
        ("rule = 3", "[[rule]] tables"),
        ("rule = [3]", "must be a table"),
        ('[[rule]]\nid="a"\ncategory="test"\nretry="once"\nexit=[true]', "exit must be a list of numbers"),
        ('[[rule]]\nid="a"\ncategory="test"\nretry="once"\nexit=[1]\n' * 2, "used twice"),
        ('[[rule]]\nid="a"\ncategory="test"\nretry="once"\ntext=["a*b*c*d"]', "more than two *"),
    ],
)
def test_a_bad_rules_file_says_what_is_wrong(toml: str, problem: str) -> None:
    with pytest.raises(failures.RulesError, match=re.escape(problem)):
        failures.load_rules(toml)


@pytest.mark.parametrize(
    ("phrase", "text", "matches"),
    [
        ("port # taken", "port 8080 taken", True),
        ("port # taken", "port x taken", False),
        ("^Killed$", "a\nKilled\nb", True),
        ("^Killed$", "Killed by", False),
        ("a*b", "a" + "-" * 201 + "b", False),
        ("a*b", "a\nb", False),
        (r"2 \* 3 \# 4", "2 * 3 # 4", True),
        ("(publickey", "denied (publickey,password)", True),
    ],
)
def test_phrases(phrase: str, text: str, matches: bool) -> None:
    toml = f"[[rule]]\nid='x'\ncategory='test'\nretry='once'\ntext=['{phrase}']"
    assert (failures.classify(text, rules=failures.load_rules(toml)).rule == "x") is matches


# ------------------------------------------------------------------------------------------------ fingerprints


def print_of(message: str, text: str = "", kind: str = "") -> str:
    return failures.fingerprint(failures.classify(text, message=message), kind, message, text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("worker 'gw0' crashed while running 'a'", "worker 'gw3' crashed while running 'a'"),
        ("Error: connect ECONNREFUSED 127.0.0.1:5432", "Error: connect ECONNREFUSED 127.0.0.1:41007"),
        ("order 4f1c2b9e-1111-4222-8333-444455556666 lost", "order 00000000-1111-4222-8333-44445555aaaa lost"),
        ("took 523 ms too long", "took 1804 ms too long"),
        ("at 2026-11-20T10:00:00Z: no cart", "at 2026-11-21 23:59:59.123: no cart"),
        ("cannot read /home/a/x/data.json", "cannot read /srv/b/data.json"),
        ("object Foo@1a2b3c4d is stale", "object Foo@99ff00aa is stale"),
        ("\x1b[31mno cart\x1b[0m", "no cart"),
        ("runner-12 gone", "runner-7 gone"),
    ],
)
def test_one_cause_has_one_fingerprint(one: str, other: str) -> None:
    assert print_of(one) == print_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("expected 200 got 500", "expected 200 got 404"),
        ("process ended with exit code 1", "process ended with exit code 2"),
        ("TypeError: no cart", "KeyError: no cart"),
        ("no cart", "no basket"),
    ],
)
def test_different_causes_have_different_fingerprints(one: str, other: str) -> None:
    assert print_of(one) != print_of(other)


def test_the_frame_tells_code_apart_but_not_line_numbers_and_not_an_outage() -> None:
    def trace(function: str, line: int) -> str:
        return (
            f'Traceback (most recent call last):\n  File "/repo/shop/cart.py", line {line}, in {function}\n'
            '  File "/usr/lib/python3.11/json/decoder.py", line 9, in decode\nValueError: bad'
        )

    assert print_of("ValueError: bad", trace("total", 4)) == print_of("ValueError: bad", trace("total", 40))
    assert print_of("ValueError: bad", trace("total", 4)) != print_of("ValueError: bad", trace("discount", 4))
    down = "Error: connect ECONNREFUSED 127.0.0.1:5432"
    assert print_of(down, f"{down}\n    at a (/r/a.ts:1:1)") == print_of(down, f"{down}\n    at b (/r/b.ts:2:2)")


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("  at expect (/r/node_modules/x/i.js:1:2)\n  at async Cart.total (/r/cart.ts:4:1)", "cart.ts:Cart.total"),
        ("  at org.junit.Assert.fail(Assert.java:89)\n  at shop.CartTest.total(C.java:2)", "shop.CartTest:total"),
        ("tests/test_cart.py:9: in test_total\n    x\nshop/cart.py:3: ValueError", "cart.py:"),
        ("no stack here", ""),
    ],
)  # fmt: skip
def test_the_top_frame_is_the_projects_own(text: str, frame: str) -> None:
    from report_merge.failures.fingerprint import top_frame

    assert top_frame(text) == frame


def test_loose_fingerprints_join_variations() -> None:
    one, other = failures.classify("TypeError: a is undefined"), failures.classify("TypeError: b is null")
    assert failures.loose_fingerprint(one, "", "TypeError: a is undefined", "") == failures.loose_fingerprint(
        other, "TypeError", "b", ""
    )


# ------------------------------------------------------------------------------------------------ groups


def case(name: str, *attempts: Attempt) -> Case:
    return Case(key=CaseKey(name=name), attempts=attempts)


def bad(message: str, machine: str = "local", number: int = 1) -> Attempt:
    return Attempt(number=number, outcome=Outcome.FAILED, message=message, machine=machine)


def good(number: int = 1) -> Attempt:
    return Attempt(number=number, outcome=Outcome.PASSED)


def test_one_cause_is_one_group_and_what_needs_a_person_comes_first() -> None:
    down = "Error: connect ECONNREFUSED 127.0.0.1:5432"
    cases = [
        *(case(f"db {i}", bad(down, machine=f"m{i % 2}")) for i in range(40)),
        case("flaky", bad(down), good(2)),
        case("fine", good()),
        case("cart", bad("AssertionError: 19 != 20")),
    ]
    groups = failures.group(cases)
    assert [(g.verdict, len(g.cases)) for g in groups] == [
        (FailureVerdict.PRODUCT, 1),
        (FailureVerdict.ENVIRONMENT, 40),
        (FailureVerdict.FLAKY, 1),
    ]
    assert groups[1].title == down
    assert groups[1].machines == ("m0", "m1")
    assert groups[2].finding.retry is RetryAdvice.BACKOFF
    assert groups[2].fingerprint == groups[1].fingerprint


def test_the_last_failed_attempt_says_why() -> None:
    (found,) = failures.group([case("a", bad("EADDRINUSE"), bad("AssertionError: x", number=2))])
    assert found.finding.rule == "assertion"


def test_a_failure_without_words_is_a_group_too() -> None:
    (found,) = failures.group([case("a", Attempt(outcome=Outcome.BROKEN))])
    assert (found.verdict, found.title) == (FailureVerdict.UNKNOWN, "no message")


# ------------------------------------------------------------------------------------------------ mass failures


def test_a_machine_that_fails_everything_while_others_do_well_is_suspect() -> None:
    tallies = [
        MachineTally("pi", 2, {"aaa": 8, "bbb": 1}),
        MachineTally("local", 30, {"bbb": 2}),
        MachineTally("few", 0, {"aaa": 2}),
    ]
    assert failures.suspect_machines(tallies) == {"pi": "aaa"}
    assert failures.outage(tallies) is None


def test_when_every_machine_fails_for_one_cause_no_machine_is_suspect_but_it_is_an_outage() -> None:
    tallies = [MachineTally(name, 1, {"aaa": 9}) for name in ("a", "b", "c")]
    assert failures.suspect_machines(tallies) == {}
    assert failures.outage(tallies) == "aaa"
    assert failures.outage(tallies[:1]) is None  # one machine cannot tell an outage from itself
    assert failures.outage([*tallies, MachineTally("d", 10, {})]) is None  # 75 % of the machines
    assert failures.outage([]) is None


# ------------------------------------------------------------------------------------------------ the corpus


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus at {CORPUS} (set TEST_CORPUS)")
def test_every_real_failure_text_is_known() -> None:
    unknown = []
    for path in sorted(CORPUS.glob("*.txt")):
        text = path.read_text(encoding="utf-8", errors="replace")
        ending = re.search(r"^exit=(\d+)\s*\Z", text, re.MULTILINE)
        exit_code = int(ending[1]) if ending else None
        finding = failures.classify(text[: ending.start()] if ending else text, exit_code=exit_code)
        if not finding.rule:
            unknown.append(path.name)
    assert not unknown
