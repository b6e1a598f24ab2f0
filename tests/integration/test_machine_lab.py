"""Machines in a lab, behind lines with real round trips: what a fleet does to itself, and how it is noticed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from ci_dispatch.core.model import Ended
from ci_dispatch.run.health import Grade, HealthReport
from ci_dispatch.run.ports import MachineError, WorkTree
from tests.fleet.lab import Lab
from tests.fleet.recorder import STUBBORN, Recorder, Running, job, until

pytestmark = pytest.mark.needs("sshd", "namespaces")


def tree(folder: Path) -> WorkTree:
    (folder / "tree" / "sub").mkdir(parents=True)
    (folder / "tree" / "sub" / "hello.txt").write_text("hello")
    return WorkTree(root=folder / "tree")


def grade(report: HealthReport, name: str) -> tuple[Grade, str]:
    found = next(dimension for dimension in report.dimensions if dimension.name == name)
    return found.grade, found.text


def test_machines_at_every_distance_run_a_job(lab: Lab, tmp_path: Path) -> None:
    there = tree(tmp_path)
    for name in lab.hosts:
        machine = lab.machine(name)
        machine.sync(there, 30)
        recorder = Recorder()
        script = "cat sub/hello.txt; hostname"
        end = machine.run(job("lab-0", "/bin/sh", "-c", script, cwd=machine.place("lab-0").tree), recorder)
        assert (end.exit_code, recorder.out) == (0, f"hello{name}\n".encode())
        machine.close()
        until(lambda host=lab.hosts[name]: host.processes() == 0)  # type: ignore[misc]


def test_a_black_hole_shorter_than_the_lease_costs_nothing(lab: Lab, tmp_path: Path) -> None:
    machine = lab.machine("ilko2")
    machine.sync(tree(tmp_path), 30)
    script = "for i in $(seq 80); do echo $i; sleep 0.1; done"
    running = Running(machine, job("lab-1", "/bin/sh", "-c", script, cwd=machine.place("lab-1").tree, lease=20.0))
    until(lambda: running.recorder.out)
    lab.wire("hole", "ilko2", "on")
    time.sleep(8.0)
    lab.wire("hole", "ilko2", "off")
    assert running.end(60).exit_code == 0
    assert running.recorder.out.split() == [b"%d" % n for n in range(1, 81)]
    machine.close()


def test_a_black_hole_longer_than_the_lease_ends_the_job_on_both_sides(lab: Lab, tmp_path: Path) -> None:
    machine, host = lab.machine("pi"), lab.hosts["pi"]
    machine.sync(tree(tmp_path), 30)
    stubborn = job(
        "lab-2", sys.executable, "-c", STUBBORN, cwd=machine.place("lab-2").tree, lease=3.0, interrupt_grace=0.2
    )
    running = Running(machine, stubborn)
    until(lambda: running.recorder.out == b"ready\n")
    lab.wire("hole", "pi", "on")
    assert running.end(30).ended is Ended.LOST
    until(lambda: host.processes() == 0)
    lab.wire("hole", "pi", "off")
    assert machine.run(stubborn, Recorder()).ended is Ended.LEASE_ENDED
    machine.close()


def test_a_machine_that_loses_its_power_is_lost_and_forgets(lab: Lab, tmp_path: Path) -> None:
    machine = lab.machine("moruk")
    machine.sync(tree(tmp_path), 30)
    sleeper = job("lab-3", "sleep", "300", cwd=machine.place("lab-3").tree, lease=4.0)
    running = Running(machine, sleeper)
    until(lambda: "started" in running.recorder.calls)
    lab.power_off("moruk")
    assert running.end(30).ended is Ended.LOST
    report = machine.examine(2)
    assert not report.reachable
    assert grade(report, "ssh")[0] is Grade.FAIL
    lab.heal()
    assert machine.examine(10).reachable
    machine.close()


def test_a_frozen_machine_is_noticed(lab: Lab) -> None:
    machine = lab.machine("moruk")
    assert machine.examine(10).reachable
    lab.hosts["moruk"].inside("kill -STOP $(pgrep sshd)")
    try:
        assert not machine.examine(2).reachable
    finally:
        lab.hosts["moruk"].inside("kill -CONT $(pgrep sshd)")
    assert machine.examine(10).reachable
    machine.close()


def test_load_memory_disk_and_a_throttled_pi_are_judged_on_the_real_probe(lab: Lab) -> None:
    machine, host = lab.machine("spare"), lab.hosts["spare"]
    meminfo = Path("/proc/meminfo").read_text().splitlines()
    total = int(meminfo[0].split()[1])
    full = "\n".join(f"MemAvailable: {total // 83} kB" if line.startswith("MemAvailable") else line for line in meminfo)
    firmware = "/sys/devices/platform/soc/soc:firmware"
    try:
        assert machine.examine(10).healthy or grade(machine.examine(10), "cpu")[0] is Grade.FAIL  # a busy computer
        host.pretend("/proc/loadavg", "97.50 88.10 60.00 9/900 12345\n")
        host.pretend("/proc/meminfo", full + "\n")
        host.inside(
            f"mount -t tmpfs none /sys/devices/platform && mkdir -p {firmware} && echo 50005 > {firmware}/get_throttled"
        )
        host.inside(f"mkdir -p {host.work}/ci; head -c 62000000 /dev/zero > {host.work}/fill")
        report = machine.examine(10)
        assert not report.healthy
        assert report.reachable
        assert grade(report, "cpu")[0] is Grade.FAIL
        assert grade(report, "cpu")[1].startswith("Load 97.50 (")
        assert grade(report, "memory") == (Grade.FAIL, "Memory 98.8 % used, limit 95 %")
        assert grade(report, "disk")[0] is Grade.FAIL
        assert f"free on {host.work}, needs 10 %" in grade(report, "disk")[1]
        assert grade(report, "power") == (Grade.WARN, "Pi: under-voltage, throttled")
    finally:
        for file in ("/proc/loadavg", "/proc/meminfo", "/sys/devices/platform"):
            host.stop_pretending(file)
        host.inside(f"rm -f {host.work}/fill")
        machine.close()


def test_a_disk_without_inodes_is_full(lab: Lab) -> None:
    machine, host = lab.machine("spare"), lab.hosts["spare"]
    host.inside(f"mkdir -p {host.work}/ci && mount -t tmpfs -o size=8m,nr_inodes=8 none {host.work}/ci")
    host.inside(f"cd {host.work}/ci; for i in 1 2 3 4 5 6 7; do : > $i; done; true")
    try:
        found, text = grade(machine.examine(10), "disk")
        assert found is Grade.FAIL
        assert text == f"Disk 0 % of inodes free on {host.work}/ci, needs 10 %"
    finally:
        host.stop_pretending(f"{host.work}/ci")
        machine.close()


def test_a_disk_that_fills_up_under_a_job_is_the_reason_in_its_status(lab: Lab, tmp_path: Path) -> None:
    machine, host = lab.machine("spare"), lab.hosts["spare"]
    machine.sync(tree(tmp_path), 30)
    script = f"echo begin; head -c 100000000 /dev/zero > {host.work}/fill; echo end; exit 7"
    recorder = Recorder()
    try:
        end = machine.run(job("lab-7", "/bin/sh", "-c", script, cwd=machine.place("lab-7").tree), recorder)
        assert (end.ended, end.exit_code) == (Ended.EXITED, 7)
        assert "the disk is full" in end.reason
        assert recorder.out.startswith(b"begin\n")
        second = machine.run(job("lab-7-b", "true", cwd=machine.place("lab-7-b").tree), Recorder())
        assert second.ended is Ended.NOT_STARTED
        assert "No space left on device" in second.reason
        (tmp_path / "tree" / "new.txt").write_bytes(b"x" * 1_000_000)
        with pytest.raises(MachineError, match="No space left on device"):
            machine.sync(WorkTree(root=tmp_path / "tree"), 30)
    finally:
        host.inside(f"rm -f {host.work}/fill")
    machine.sync(WorkTree(root=tmp_path / "tree"), 30)
    machine.close()


@pytest.mark.parametrize("full", ["nr_inodes=40", "size=256k"])
def test_a_job_on_a_full_disk_can_be_cancelled(lab: Lab, tmp_path: Path, full: str) -> None:
    """A cancellation that had to make a file failed on it, and the job went on to its timeout."""
    machine, host = lab.machine("spare"), lab.hosts["spare"]
    machine.sync(tree(tmp_path), 30)
    place = machine.place("lab-8")
    host.inside(f"mkdir -p {host.work}/ci/jobs && mount -t tmpfs -o {full} none {host.work}/ci/jobs")
    script = (
        'cd "$A"; i=0; while touch $i && [ $i -lt 500 ]; do i=$((i+1)); done; head -c 1000000 </dev/zero >0; sleep 300'
    )
    try:
        running = Running(machine, job("lab-8", "/bin/sh", "-c", script, cwd=place.tree, env={"A": place.attempt}))
        until(lambda: host.inside("pgrep -x sleep || true"))
        machine.cancel("lab-8")
        end = running.end()
        assert end.ended is Ended.CANCELLED
        assert "the disk" in end.reason
        until(lambda: host.processes() == 0)
    finally:
        host.stop_pretending(f"{host.work}/ci/jobs")
        machine.close()


def test_a_job_whose_disk_is_read_only_ends_with_its_lease(lab: Lab, tmp_path: Path) -> None:
    machine, host = lab.machine("spare"), lab.hosts["spare"]
    machine.sync(tree(tmp_path), 30)
    host.inside(f"mkdir -p {host.work}/ci/jobs && mount -t tmpfs none {host.work}/ci/jobs")
    cwd = machine.place("lab-9").tree
    try:
        running = Running(machine, job("lab-9", sys.executable, "-c", STUBBORN, cwd=cwd, lease=3.0))
        until(lambda: running.recorder.out == b"ready\n")
        jobs = f"{host.work}/ci/jobs"
        # a read-only copy over it: the kernel refuses to remount what somebody has open for writing
        over = f"mount --bind {host.work}/low {jobs}; mount -o remount,bind,ro {jobs}"
        host.inside(f"mkdir {host.work}/low; cp -a {jobs}/. {host.work}/low/; {over}")
        assert running.end().ended in (Ended.LOST, Ended.LEASE_ENDED)
        until(lambda: host.processes() == 0)
    finally:
        host.stop_pretending(f"{host.work}/ci/jobs")
        machine.close()
