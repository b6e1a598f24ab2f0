"""Where to look: the file and line of a failed test, what it expected and got, what it left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.codec import replace
from report_merge.cli import MergeExitCode, run
from report_merge.failures.frames import StackFrame, frames
from report_merge.failures.values import Values, values
from report_merge.files.attachments import roots, with_attachments
from report_merge.files.checkout import Checkout
from report_merge.model import Attachment, AttachmentKind, Attempt, Case, CaseKey, Outcome, Report, count
from report_merge.render import markdown
from report_merge.triage.locate import located
from tests.unit.report_merge import sample_reports as sample
from tests.unit.report_merge.test_escape import HOSTILE
from tests.unit.report_merge.test_render_markdown import check_structure

RUNNER = "/home/runner/work/shop/shop"
PYTHON = """Traceback (most recent call last):
  File "/usr/lib/python3.11/unittest/case.py", line 57, in testPartExecutor
    yield
  File "/home/runner/work/shop/shop/tests/test_cart.py", line 12, in test_total
    total(cart)
  File "/home/runner/work/shop/shop/shop/cart.py", line 7, in total
    raise ValueError("no prices")
ValueError: no prices"""
PYTEST = """
    def test_total():
>       assert total([1]) == 2
E       assert 1 == 2

tests/test_cart.py:12: AssertionError"""
JAVA = """java.lang.AssertionError: no
\tat org.junit.Assert.fail(Assert.java:88)
\tat com.acme.cart.CartTest.total(CartTest.java:41)
\tat java.base/jdk.internal.reflect.Method.invoke(Method.java:580)"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PYTHON, [StackFrame(f"{RUNNER}/shop/cart.py", 7), StackFrame(f"{RUNNER}/tests/test_cart.py", 12)]),
        (PYTEST, [StackFrame("tests/test_cart.py", 12)]),
        (sample.ASSERTION, [StackFrame("/repo/e2e/cart.spec.ts", 41)]),
        (JAVA, [StackFrame("com/acme/cart/CartTest.java", 41)]),
        ("    cart_test.go:41: got 1, want 2", [StackFrame("cart_test.go", 41)]),
        ("thread 'main' panicked at src/cart.rs:10:5:\nboom", [StackFrame("src/cart.rs", 10)]),
        ("   at Shop.Cart.Total() in C:\\src\\shop\\Cart.cs:line 12", [StackFrame("C:/src/shop/Cart.cs", 12)]),
        ("/app/tests/CartTest.php:21", [StackFrame("/app/tests/CartTest.php", 21)]),
        ("# ./spec/cart_spec.rb:9:in `block'", [StackFrame("spec/cart_spec.rb", 9)]),
        ("at f (file:///r/a.mjs:3:9)\nat g (node:internal/a.js:1:1)", [StackFrame("/r/a.mjs", 3)]),
        ("at h (/r/node_modules/x/y.js:2:2)", []),
        ("[x] › a.ts:11:3 › pays\n  no\n    at /r/a.ts:14:7", [StackFrame("/r/a.ts", 14), StackFrame("a.ts", 11)]),
        ("see https://docs.example/a.html, 12:30:45 and 1.2.3:4", []),
    ],
)  # fmt: skip
def test_frames_of_many_languages(text: str, expected: list[StackFrame]) -> None:
    assert frames(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Expected string: "a"\nReceived string: "b"', Values('"a"', '"b"')),
        ("Expected: 1\n  But was:  2", Values("1", "2")),
        ("Assert.Equal() Failure\nExpected: 1\nActual:   2", Values("1", "2")),
        ("Error:\n\texpected: 1\n\tactual  : 2", Values("1", "2")),
        ("expected:<[a]> but was:<[b]>", Values("[a]", "[b]")),
        ("org.opentest4j.AssertionFailedError: expected: <1> but was: <2>", Values("1", "2")),
        ("Failed asserting that 1 matches expected 2.\n\n/app/T.php:3", Values("2", "1")),
        ("AssertionError: expected 1 to equal 2", Values("2", "1")),
        (sample.ASSERTION, Values("19.00 €", "20.00 €")),
        ("- Expected  - 2\n+ Received  + 2\n\n- a\n- b\n+ c\n+ d\n", None),
        ("TypeError: x is undefined", None),
    ],
)
def test_expected_and_received(text: str, expected: Values | None) -> None:
    assert values("", text) == expected


@given(
    st.lists(st.sampled_from([*HOSTILE, PYTHON, JAVA, "a" * 5000, "(" * 500, "/x" * 500, "at ", ".py:"])).map("".join)
)
def test_hostile_texts_sink_nothing(text: str) -> None:
    assert all(frame.line >= 0 and "\\" not in frame.file for frame in frames(text))
    values(text, text)


CHECKOUT = Checkout(
    ["e2e/cart.spec.ts", "web/cart.spec.ts", "tests/test_cart.py", "src/test/java/com/acme/CartTest.java"]
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("tests/test_cart.py", "tests/test_cart.py"),
        ("./tests\\test_cart.py", "tests/test_cart.py"),
        ("test_cart.py", "tests/test_cart.py"),
        ("/home/x/checkout/tests/test_cart.py", "tests/test_cart.py"),
        ("com/acme/CartTest.java", "src/test/java/com/acme/CartTest.java"),
        ("cart.spec.ts", ""),  # two could be meant
        ("e2e/cart.spec.ts", "e2e/cart.spec.ts"),
        ("other/test_cart.py", ""),
        ("", ""),
    ],
)
def test_the_repository_s_name_for_a_file(path: str, expected: str) -> None:
    assert CHECKOUT.find(path) == expected


def test_without_a_checkout_only_names_that_need_no_search_are_found() -> None:
    nothing = Checkout()
    assert nothing.find("tests/test_cart.py") == "tests/test_cart.py"
    assert nothing.find("/home/runner/work/shop/shop/tests/test_cart.py") == "tests/test_cart.py"
    for elsewhere in ("/etc/passwd", "../secret", "C:\\x.py", "a\nb"):
        assert nothing.find(elsewhere) == ""


def failed(text: str, **key: str) -> Case:
    bad = Attempt(outcome=Outcome.FAILED, text=text, source="reports/a.xml")
    return Case(key=CaseKey(name="t", **key), attempts=(bad,))  # type: ignore[arg-type]


def report(*cases: Case) -> Report:
    return Report(cases=cases, totals=count(cases))


@pytest.mark.parametrize(
    ("case", "place"),
    [
        (failed(PYTHON, classname="tests.test_cart"), ("tests/test_cart.py", 12)),  # the test, not what it calls
        (failed(PYTEST, classname="tests.test_cart.TestCart"), ("tests/test_cart.py", 12)),
        (failed(JAVA, classname="com.acme.CartTest"), ("src/test/java/com/acme/CartTest.java", None)),
        (failed(sample.ASSERTION, file="cart.spec.ts"), ("e2e/cart.spec.ts", 41)),
        (replace(failed("boom", file="e2e/cart.spec.ts"), line=3), ("e2e/cart.spec.ts", 3)),
        (failed("at /r/e2e/cart.spec.ts:5:1", file="gone.spec.ts"), ("e2e/cart.spec.ts", 5)),
        (failed("boom", classname="Cart total"), ("", None)),
    ],
)
def test_the_line_to_look_at(case: Case, place: tuple[str, int | None]) -> None:
    (found,) = located(report(case), CHECKOUT.find).cases
    assert (found.source, found.line) == place


def test_attachments_are_found_inside_and_never_opened_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports" / "results").mkdir(parents=True)
    (tmp_path / "reports" / "results" / "shot.png").write_bytes(b"x")
    (tmp_path / "reports" / "secret.txt").symlink_to("/etc/passwd")
    names = [
        "results/shot.png",
        "secret.txt",
        "/etc/passwd",
        "../../etc/passwd",
        "gone/trace.zip",
        "https://x.example/v.webm",
    ]
    said = "\n".join(f"[[ATTACHMENT|{name}]]" for name in names)
    case = failed("boom")
    case = replace(case, attempts=(replace(case.attempts[0], stdout=said),))
    (found,) = with_attachments(report(case), [tmp_path / "reports"]).cases
    told = {one.name: (one.kind, one.path) for one in found.attempts[0].attachments}
    assert told == {
        "results/shot.png": (AttachmentKind.IMAGE, "reports/results/shot.png"),
        "secret.txt": (AttachmentKind.FILE, ""),
        "/etc/passwd": (AttachmentKind.FILE, ""),
        "../../etc/passwd": (AttachmentKind.FILE, ""),
        "gone/trace.zip": (AttachmentKind.TRACE, ""),
        "https://x.example/v.webm": (AttachmentKind.VIDEO, ""),
    }


def test_the_whole_disk_is_no_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports").mkdir()
    assert roots(["reports", "/", "gone.xml"]) == [Path("reports"), tmp_path]


def test_the_summary_shows_line_values_output_and_attachments() -> None:
    first, second = (sample.attempt(Outcome.FAILED, 1, sample.ASSERTION, machine) for machine in ("moruk", "pi"))
    second = replace(
        second,
        stdout="\n".join(f"line {n}" for n in range(40)) + "\n[[ATTACHMENT|test-results/trace.zip]]\n",
        attachments=(
            Attachment(name="test-results/trace.zip", kind=AttachmentKind.TRACE),
            Attachment(name="https://x.example/a/shot.png", kind=AttachmentKind.IMAGE),
        ),
    )
    run = sample.report(sample.case("pays", first, second))
    run = replace(run, context=replace(run.context, files_url="https://github.com/o/r/blob/abc/"))
    text = markdown.job_summary(located(run, CHECKOUT.find))
    check_structure(text)
    assert "[e2e/cart.spec.ts:41](https://github.com/o/r/blob/abc/e2e/cart.spec.ts#L41)" in text
    assert "expected <code>19.00 €</code>, received <code>20.00 €</code>" in text
    assert "**Where:** failed 2 times: 1 on moruk, 1 on pi" in text
    assert "line 39\n```" in text
    assert "line 20\n" not in text
    assert "test-results/trace.zip · [shot.png](https://x.example/a/shot.png)" in text
    assert "[artifacts](https://ci.example/runs/8123#artifacts)" in text


def test_a_place_that_cannot_be_linked_is_text() -> None:
    case = replace(failed("boom", file="a]b(c).py"), line=3)
    text = markdown.job_summary(sample.report(case))
    check_structure(text)
    assert "a&#93;b(c).py:3" in text


def test_the_files_of_the_repository_around_a_folder(tmp_path: Path) -> None:
    for name in (".git/HEAD", "web/tests/cart.py", "web/node_modules/x/other.py", "web/reports/a.xml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = Checkout.around(tmp_path / "web" / "reports")
    assert found.find("tests/cart.py") == "web/tests/cart.py"
    assert found.find("other.py") == ""


def test_a_folder_whose_name_is_no_text_is_linked_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    (folder / "tests").mkdir(parents=True)
    (folder / "tests/t.py").touch()
    (folder / "shot.png").write_bytes(b"no picture")
    (folder / "a.xml").write_text(
        '<testsuite name="s"><testcase classname="c" name="t" file="tests/t.py" line="3">'
        "<failure>[[ATTACHMENT|shot.png]]</failure></testcase></testsuite>"
    )
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    here = {"GITHUB_REPOSITORY": "o/r", "GITHUB_SHA": "abc"}
    options = ("--html", "r.html", "--summary", "s.md", "--json", "r.json", "-o", "m.xml", "--annotations")
    assert run([str(folder), *options], here) == MergeExitCode.FAILED
    page = Path("r.html").read_text(encoding="utf-8")
    assert 'href="./caf%E9/shot.png"' in page
    assert 'href="https://github.com/o/r/blob/abc/caf%E9/tests/t.py#L3"' in page


def test_no_name_of_another_machine_is_looked_up(tmp_path: Path) -> None:
    """On Windows asking whether such a file is there tells that machine who asks."""
    (tmp_path / "shot.png").touch()
    for name in (f"/{tmp_path}/shot.png", str(tmp_path / "shot.png").replace("/", "\\\\", 1)):
        case = failed(f"[[ATTACHMENT|{name}]]")
        (found,) = with_attachments(report(case), [tmp_path]).cases[0].attempts[0].attachments
        assert found == Attachment(name=name, kind=AttachmentKind.IMAGE)
