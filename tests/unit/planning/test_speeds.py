"""Speeds learnt: from tests that ran on several machines only, drawn to the configured ones, robust, and certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_dispatch.core.model import MachineName, MachineSpec, Verdict
from ci_dispatch.planning.samples import DurationSample
from ci_dispatch.planning.speeds import MOST_OTHERS, SPREAD, LearntSpeeds, learn_speeds
from tests.duration_samples import sample

A, B, C, D = (MachineName(name) for name in "abcd")


def machines(speeds: Mapping[str, float]) -> list[MachineSpec]:
    return [MachineSpec(name=MachineName(name), speed=speed, cores=4) for name, speed in speeds.items()]


def measured(
    true: Mapping[str, float], *, tests: int = 40, runs: int = 4, noise: float = 0.2, seed: int = 1
) -> list[DurationSample]:
    """Each test of 2 s and more on any machine in each run, at the true speeds."""
    random = Random(seed)
    seconds = [random.lognormvariate(2, 0.7) for _ in range(tests)]
    return [
        sample(f"t{test}", run, whole / true[machine] * random.lognormvariate(0, noise), machine=machine)
        for run in range(runs)
        for test, whole in enumerate(seconds)
        for machine in [random.choice(sorted(true))]
    ]


def ratio(learnt: LearntSpeeds, machine: MachineName, other: MachineName) -> float:
    return learnt.of(machine).speed / learnt.of(other).speed


def test_speeds_are_found_that_nobody_configured() -> None:
    learnt = learn_speeds(measured({"a": 1.0, "b": 0.5, "c": 2.0}, tests=200), machines({"a": 1, "b": 1, "c": 1}))
    assert ratio(learnt, B, A) == pytest.approx(0.5, rel=0.1)
    assert ratio(learnt, C, A) == pytest.approx(2.0, rel=0.1)


def test_without_samples_or_without_a_test_on_two_machines_speeds_are_as_configured() -> None:
    configured = machines({"a": 1.0, "b": 0.5})
    lonely = [sample("x", run, 10.0, machine="a") for run in range(5)]
    lonely += [sample("y", run, 90.0, machine="b") for run in range(5)]
    for samples in ((), lonely):
        learnt = learn_speeds(samples, configured)
        assert [learnt.of(name).speed for name in (A, B)] == [1.0, 0.5]
        assert learnt.of(A).tests == 0
        assert learnt.of(A).error == pytest.approx(SPREAD / 2**0.5)


def test_a_machine_nobody_described_or_measured_has_speed_1() -> None:
    assert learn_speeds((), ()).of(A).speed == 1.0


def test_tests_of_a_file_that_ran_once_are_compared_as_far_as_they_are_alike() -> None:
    """After a first run no test has run on two machines; who got which says nothing about how long they are."""

    def first_run(differ: float) -> LearntSpeeds:
        random = Random(1)
        once = [
            sample(f"t{n}", 0, 10.0 * slow * random.lognormvariate(0, differ), machine=machine)
            for machine, slow in (("a", 1.0), ("b", 2.0))
            for n in range(100 * (machine == "b"), 100 + 100 * (machine == "b"))
        ]
        return learn_speeds(once, machines({"a": 1, "b": 1}))

    assert ratio(first_run(0.3), B, A) == pytest.approx(0.5, rel=0.15)
    assert first_run(2.0).of(B).error > first_run(0.3).of(B).error > 0.05
    assert first_run(0.3).of(B).tests == 0, "none ran on both"


def test_few_data_move_a_speed_a_little_and_more_data_more_and_make_it_more_certain() -> None:
    true = {"a": 1.0, "b": 0.4}
    few, many = (learn_speeds(measured(true, runs=runs), machines({"a": 1, "b": 1})) for runs in (2, 12))
    assert 0.4 * 0.95 < ratio(many, B, A) < ratio(few, B, A) < 1.0
    assert many.of(B).error < few.of(B).error < SPREAD


def test_outliers_move_nothing() -> None:
    samples = measured({"a": 1.0, "b": 1.0}, tests=100)
    spoilt = [
        sample(
            str(s.test), int(s.at), s.seconds * (50 if s.machine == B and number % 10 == 0 else 1), machine=s.machine
        )
        for number, s in enumerate(samples)
    ]
    fleet = machines({"a": 1, "b": 1})
    assert ratio(learn_speeds(spoilt, fleet), B, A) == pytest.approx(ratio(learn_speeds(samples, fleet), B, A), rel=0.1)


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.FLAKY, Verdict.SKIPPED, Verdict.NOT_RUN])
def test_only_what_passed_says_how_fast_a_machine_is(verdict: Verdict) -> None:
    samples = [sample(f"t{n}", 0, 10.0, machine="a") for n in range(50)]
    samples += [sample(f"t{n}", 1, 1.0, machine="b", verdict=verdict) for n in range(50)]
    assert ratio(learn_speeds(samples, machines({"a": 1, "b": 1})), B, A) == 1.0


def test_of_machines_that_are_gone_those_with_most_samples_are_learnt_and_the_rest_are_as_they_were_configured() -> (
    None
):
    hosted = [sample(f"t{n}", n, machine=f"hosted-{n}", speed=0.5) for n in range(200)]
    former = [sample(f"t{n}", 200 + n % 3, 5.0, machine="former") for n in range(200)]
    fleet = [sample(f"t{n}", 300 + n % 3, machine="a") for n in range(200)]
    learnt = learn_speeds([*hosted, *former, *fleet], machines({"a": 1}))
    assert len(learnt.machines) == 1 + MOST_OTHERS
    assert ratio(learnt, MachineName("former"), A) > 1.5
    unknown = next(each for each in hosted if each.machine not in learnt.machines)
    assert learnt.seconds(unknown) == 5.0


def test_results_of_one_run_are_one_doubt_however_many_they_are() -> None:
    fleet = machines({"a": 1, "b": 1})
    one, many = (
        learn_speeds([sample(f"t{n}", run, machine=m) for run in range(runs) for n in range(500) for m in "ab"], fleet)
        for runs in (1, 9)
    )
    assert one.of(B).error > 0.05
    assert many.of(B).error < one.of(B).error / 2


def test_one_bad_run_of_a_machine_is_not_its_speed() -> None:
    samples = [
        sample(f"t{n}", run, 30.0 if (run, machine) == (4, "b") else 10.0, machine=machine)
        for run in range(5)
        for n in range(5)
        for machine in "ab"
    ]
    assert ratio(learn_speeds(samples, machines({"a": 1, "b": 1})), B, A) == 1.0


def test_a_machine_that_was_replaced_is_followed() -> None:
    samples = [
        sample(f"t{n}", run, 10.0 if machine == "a" or run < 20 else 5.0, machine=machine)
        for run in range(30)
        for n in range(20)
        for machine in "ab"
    ]
    assert ratio(learn_speeds(samples, machines({"a": 1, "b": 1})), B, A) > 1.8


def test_a_machine_may_be_slower_for_one_project() -> None:
    samples = [
        sample(f"{project}{n}", run, 10.0 * times, machine=machine, project=project)
        for project, slow in (("desktop", 1.0), ("mobile", 2.0))
        for machine, times in (("a", 1.0), ("b", slow))
        for n in range(60)
        for run in range(4)
    ]
    learnt = learn_speeds(samples, machines({"a": 1, "b": 1}))
    desktop, mobile = (learnt.of(B, project).speed / learnt.of(A, project).speed for project in ("desktop", "mobile"))
    assert mobile < ratio(learnt, B, A) < desktop
    assert learnt.of(B, "never seen") == learnt.of(B)


def test_a_machine_that_was_half_idle_is_not_thought_faster() -> None:
    """Tests of an idle machine take half as long here; without the load b would seem twice as fast."""
    random = Random(1)
    samples = []
    for run in range(6):
        for n in range(100):
            machine, busy = random.choice([("a", 1.0), ("b", 1.0), ("b", 0.1), ("b", 0.1)])
            samples.append(sample(f"t{n}", run, 10.0 * 2 ** (busy - 1), machine=machine, busy=busy))
    learnt = learn_speeds(samples, machines({"a": 1, "b": 1}))
    assert ratio(learnt, B, A) == pytest.approx(1.0, rel=0.1)
    assert learnt.load == pytest.approx(0.7, rel=0.25)
    idle = sample("t", 9, 10.0, machine="a", busy=0.5)
    assert learnt.seconds(idle) > 10.0 * learnt.of(A).speed, "it would have taken longer beside others"


def test_fewer_workers_than_today_are_a_lower_load() -> None:
    learnt = learn_speeds([sample("t", 1, machine="a", workers=8)], machines({"a": 1}))
    assert learnt.seconds(sample("t", 0, machine="a", workers=4)) == pytest.approx(
        learnt.seconds(sample("t", 0, machine="a", workers=8, busy=0.5))
    )


speeds = st.floats(0.2, 5.0)


@settings(max_examples=40)
@given(st.lists(speeds, min_size=2, max_size=5), st.floats(0.1, 100), st.integers(0, 1000))
def test_seconds_in_another_unit_give_the_same_speeds(true: list[float], unit: float, seed: int) -> None:
    names = dict(zip("abcde", true, strict=False))
    samples = measured(names, tests=20, seed=seed)
    fleet = machines(dict.fromkeys(names, 1.0))
    scaled = [sample(str(s.test), int(s.at), s.seconds * unit, machine=str(s.machine)) for s in samples]
    once, again = learn_speeds(samples, fleet), learn_speeds(samples, fleet)
    assert once == again, "deterministic"
    if min(s.seconds for s in (*samples, *scaled)) > 1.0:  # below, the clock's uncertainty weighs
        other = learn_speeds(scaled, fleet)
        for name in names:
            assert other.of(MachineName(name)).speed == pytest.approx(once.of(MachineName(name)).speed, rel=0.05)


rows = st.lists(
    st.builds(
        sample,
        st.sampled_from("xyz"),
        st.integers(0, 3),
        st.floats(0, 1e6),
        machine=st.sampled_from("abc"),
        verdict=st.sampled_from(Verdict),
        project=st.just(""),
        busy=st.floats(0, 1),
        workers=st.integers(0, 64),
        speed=st.floats(0.1, 10),
    ),
    max_size=40,
)


@given(rows)
def test_whatever_was_measured_speeds_are_finite_and_positive(samples: Sequence[DurationSample]) -> None:
    learnt = learn_speeds(samples, machines({"a": 1.0, "d": 0.5}))
    for name in (A, B, C, D):
        assert 0 < learnt.of(name).speed < 1e9
        assert 0 <= learnt.of(name).error <= 2 * SPREAD
    assert learnt.of(D).tests == 0
    assert 0 <= learnt.load <= 1
    assert all(0 <= learnt.seconds(each) < 1e12 for each in samples)


def test_a_first_run_of_equal_tests_is_no_certainty() -> None:
    once = [sample(f"{machine}{n}", 0, machine=machine) for machine in "ab" for n in range(5)]
    assert learn_speeds(once, machines({"a": 1, "b": 1})).of(B).error > 0
