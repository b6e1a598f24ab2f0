"""Judging a machine: texts of probes in, one judgement a dimension out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import MachineName
from ci_dispatch.run import probe_output as reading
from ci_dispatch.run.health import DIMENSIONS, Grade, HealthPolicy, HealthReport, ProbeResult, judge, summary
from ci_dispatch.run.probe_output import Disk, ProbeOutput

DATA = Path(__file__).parents[2] / "data" / "health"
NOW = 1790000000.0
FIT = ProbeOutput(complete=True, clock=NOW, cores=4, load=0.4, memory_used=0.23, disks=(Disk(mount="/", free=0.91),))


def probe(name: str) -> ProbeOutput:
    found = reading.read((DATA / f"{name}.txt").read_text(), "NONCE")
    assert found is not None
    return found


def judged(output: ProbeOutput | None, *, seconds: float = 0.122, only: str = "", **result: str) -> HealthReport:
    probed = ProbeResult(machine=MachineName("moruk"), asked=NOW, seconds=seconds, output=output, **result)
    return judge(probed, HealthPolicy(), frozenset(filter(None, only.split(","))))


def grades(report: HealthReport) -> dict[str, Grade]:
    return {dimension.name: dimension.grade for dimension in report.dimensions}


def test_a_linux_machine_reads_as_the_seed_showed_it() -> None:
    report = judged(probe("linux"))
    assert report.healthy
    assert report.text() == "[moruk] OK     SSH 122 ms / Disk 91 % free / Memory 23.0 % used / Load 0.18 (0.01/core)"
    assert report.cores == 24
    assert report.event().text == report.text()


def test_in_a_container_its_own_limits_count() -> None:
    output = probe("linux-container")
    assert output.cores == 2
    assert output.memory_used == pytest.approx(0.95, abs=1e-3)
    assert output.disks == (Disk(mount="/", free=19_999_000 / 20_000_000, inodes_free=None),)
    report = judged(output)
    assert grades(report)["tools"] is Grade.FAIL
    assert grades(report)["orphans"] is Grade.WARN
    assert report.problems[-2:] == ("not found: chromium, node", "2 jobs of an earlier run left behind")


def test_an_old_kernel_without_memavailable_and_mount_points_with_blanks() -> None:
    output = probe("linux-old")
    assert output.memory_used == pytest.approx(1 - 4_000_000 / 8_000_000)
    assert output.cores == 4
    assert output.disks == (Disk(mount="/srv/with blanks 50% /x", free=0.5, inodes_free=0.001),)
    assert grades(judged(output))["disk"] is Grade.FAIL
    assert "Disk 0.1 % of inodes free on /srv/with blanks 50% /x, needs 10 %" in judged(output).problems


def test_a_throttled_pi_is_slow_and_still_gets_work() -> None:
    report = judged(probe("pi"))
    assert report.healthy
    assert report.problems == ("Pi: under-voltage, throttled",)


def test_macos_memory_is_what_the_activity_monitor_counts() -> None:
    output = probe("mac")
    assert output.memory_used == pytest.approx((364_000 - 4_000 + 107_000 + 110_000) * 16384 / 17179869184)
    assert output.load == 2.5
    assert output.disks[0].free == 0.25  # not what the capacity column of the sealed system volume says
    assert judged(output).healthy


def test_macos_in_critical_pressure_is_unfit_whatever_the_share() -> None:
    text = (DATA / "mac.txt").read_text().replace("pressure_level: 1", "pressure_level: 4")
    output = reading.read(text, "NONCE")
    assert grades(judged(output))["memory"] is Grade.FAIL


def test_an_old_mac_has_other_lines_and_pages() -> None:
    assert probe("mac-old").memory_used == pytest.approx((205_000 + 61_000) * 4096 / 2147483648)


@pytest.mark.parametrize(
    ("change", "dimension", "text"),
    [
        ({"disks": (Disk(mount="/srv", free=0.096),)}, "disk", "Disk 9.6 % free on /srv, needs 10 %"),
        ({"disks": (Disk(mount="/", free=1), Disk(mount="/t", free=0.04))}, "disk", "Disk 4 % free on /t, needs 10 %"),
        ({"memory_used": 0.951}, "memory", "Memory 95.1 % used, limit 95 %"),
        ({"load": 8.0}, "cpu", "Load 8.00 (2.00/core, limit 2)"),
        ({"clock": NOW + 95}, "clock", "Clock 95 s ahead, limit 30 s"),
        ({"clock": NOW - 95}, "clock", "Clock 95 s behind, limit 30 s"),
        ({"missing": ("node",)}, "tools", "not found: node"),
    ],
)  # fmt: skip
def test_each_limit_by_itself(change: dict[str, object], dimension: str, text: str) -> None:
    report = judged(replace(FIT, **change))
    assert {name for name, grade in grades(report).items() if grade is Grade.FAIL} == {dimension}
    assert not report.healthy
    assert report.problems == (text,)
    [hint] = report.hints
    assert report.event().problems == (text, f"try: {hint}")
    assert report.document()["try"] == hint
    assert report.text().startswith("[moruk] FAILED ")
    alone = judged(replace(FIT, **change), only=dimension)
    assert set(grades(alone)) == {"ssh", dimension}
    others = set(DIMENSIONS) - {dimension}
    assert judged(replace(FIT, **change), only=",".join(others)).healthy


@pytest.mark.parametrize(
    "change", [{"disks": (Disk(mount="/", free=0.1001),)}, {"memory_used": 0.9499}, {"load": 7.99}, {"clock": NOW + 30}]
)
def test_just_within_a_limit_is_fit(change: dict[str, object]) -> None:
    assert judged(replace(FIT, **change)).healthy


def test_a_slow_line_widens_what_the_clock_may_be_off() -> None:
    late = replace(FIT, clock=NOW + 33)
    assert not judged(late, seconds=0.1).healthy
    assert judged(late, seconds=5.0).healthy


def test_what_a_machine_does_not_say_is_unknown_and_no_reason_to_stay_away() -> None:
    report = judged(ProbeOutput(complete=True))
    assert report.healthy
    assert {grades(report)[name] for name in ("disk", "memory", "cpu", "clock")} == {Grade.UNKNOWN}


def test_a_machine_that_cannot_be_reached_says_where_it_stopped_and_what_to_try() -> None:
    report = judged(None, error="tcp: 10.0.0.1:22 does not answer", hint="is it on?")
    assert not report.healthy
    assert report.text() == "[moruk] UNREACHABLE tcp: 10.0.0.1:22 does not answer"
    assert report.document()["try"] == "is it on?"
    assert not report.event().reachable


def test_where_no_other_machine_is_left_a_high_load_is_a_warning() -> None:
    probed = ProbeResult(machine=MachineName("moruk"), asked=NOW, seconds=0.1, output=replace(FIT, load=40.0))
    report = judge(probed, HealthPolicy(load_decides=False))
    assert report.healthy
    assert report.problems == ("Load 40.00 (10.00/core, limit 2): tests are slow there, and timeouts may strike",)
    assert report.text().startswith("[moruk] WARN   SSH 100 ms / ")
    assert report.hints == ()


def test_the_remedy_of_a_full_disk_is_a_command_whatever_its_mount_point_is_called() -> None:
    [hint] = judged(replace(FIT, disks=(Disk(mount="/srv/a b; rm -rf /\n", free=0.01),))).hints
    assert "du -xh '/srv/a b; rm -rf /' | sort" in hint
    [hint] = judged(replace(FIT, disks=(Disk(mount="/", free=0.9, inodes_free=0.01),))).hints
    assert "du --inodes -x / | sort" in hint


def test_foreign_text_cannot_leave_its_line() -> None:
    report = judged(replace(FIT, missing=("node\n::error::x\x1b[2J",)))
    assert "\n" not in report.text()
    assert "\x1b" not in report.text()


def test_the_summary_counts_the_healthy() -> None:
    fit, unfit = judged(FIT), judged(None, error="x")
    assert summary({MachineName("a"): fit, MachineName("b"): unfit}) == "1/2 machines healthy"


@given(st.text(), st.text())
def test_no_text_whatever_is_an_exception(before: str, answer: str) -> None:
    output = reading.read(f"{before}@begin NONCE\n{answer}\n@end NONCE", "NONCE")
    assert judged(output).text()


LINES = (DATA / "linux.txt").read_text().splitlines() + (DATA / "mac.txt").read_text().splitlines()


@given(
    st.lists(st.one_of(st.sampled_from(LINES), st.from_regex(r"@[a-z_]{1,12} [-0-9a-zA-Z/:. %]{0,20}", fullmatch=True)))
)
def test_lines_in_any_order_and_number_are_no_exception(lines: list[str]) -> None:
    output = reading.read("@begin NONCE\n" + "\n".join(lines), "NONCE")
    assert output is not None
    assert judged(output).text()
