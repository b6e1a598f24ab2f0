"""Which tests are in which group, and what cannot be: said before anything is sent, one clear line each."""

from __future__ import annotations

import pytest

from ci_dispatch.config import load
from ci_dispatch.core.errors import ConfigError, ExitCode
from ci_dispatch.core.groups import GroupSpec, TestGroup, TestMarks, Together
from ci_dispatch.core.model import MachineName, MachineSpec, Test, TestId, UnitId
from ci_dispatch.planning.constraints import Constraints
from ci_dispatch.planning.grouping import Grouped, both, check_machines, group

FLEET = (
    MachineSpec(name=MachineName("moruk"), cores=4, labels=("self-hosted", "GPU")),
    MachineSpec(name=MachineName("pi"), cores=2, labels=("arm",)),
)


def make(name: str, file: str = "a.spec.ts", project: str = "", unit: str = "") -> Test:
    return Test(id=TestId(name), unit=UnitId(unit or name), file=file, project=project, title=("shop", name))


TESTS = (make("one"), make("two", file="db/b.spec.ts"), make("three", project="setup"), make("four", unit="two"))


def members(*specs: GroupSpec, marks: dict[TestId, TestMarks] | None = None) -> dict[str, list[str]]:
    return {each.spec.name: list(each.tests) for each in group(TESTS, marks or {}, specs).groups}


def refused(*specs: GroupSpec, marks: dict[TestId, TestMarks] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as error:
        check_machines(group(TESTS, marks or {}, specs), FLEET, {}, 60.0)
    assert error.value.exit_code is ExitCode.USAGE
    return [str(problem) for problem in error.value.problems]


class TestSelection:
    @pytest.mark.parametrize(
        ("spec", "chosen"),
        [
            (GroupSpec(name="g", files=("db/*",)), ["two"]),
            (GroupSpec(name="g", files=("*",)), ["one", "two", "three", "four"]),
            (GroupSpec(name="g", titles=("shop › t*",)), ["two", "three"]),
            (GroupSpec(name="g", projects=("setup", "x")), ["three"]),
            (GroupSpec(name="g", tags=("slow",)), ["one"]),
            (GroupSpec(name="g", tags=("@slow",)), ["one"]),
            (GroupSpec(name="g", files=("a*",), titles=("*two", "*one")), ["one"]),
        ],
    )
    def test_a_test_is_in_it_that_matches_every_selector(self, spec: GroupSpec, chosen: list[str]) -> None:
        assert members(spec, marks={TestId("one"): TestMarks(tags=("@slow",))}) == {"g": chosen}

    def test_a_mark_names_its_group_and_what_else_it_says_holds_for_its_test_alone(self) -> None:
        mark = GroupSpec(name="checkout", together=Together.MACHINE, exclusive=("db",))
        marks = {
            TestId("one"): TestMarks(groups=(mark,)),
            TestId("two"): TestMarks(groups=(GroupSpec(name="checkout"),)),
        }
        made = group(TESTS, marks, [GroupSpec(name="checkout", needs=("gpu",))])
        assert [(each.spec, list(each.tests)) for each in made.groups] == [
            (GroupSpec(name="checkout", needs=("gpu",), together=Together.MACHINE), ["one", "two"]),
            (GroupSpec(name="ci_dispatch(exclusive=['db'])", exclusive=("db",)), ["one"]),
        ]

    def test_a_group_without_tests_is_a_note_and_no_group(self) -> None:
        made = group(TESTS, {}, [GroupSpec(name="empty", files=("none/*",)), GroupSpec(name="g", files=("*",))])
        assert [each.spec.name for each in made.groups] == ["g"]
        assert made.notes == ("no test is in the group empty: nothing waits for it",)

    def test_what_must_be_in_one_shard_is_one_unit_with_the_whole_units_of_its_tests(self) -> None:
        spec = GroupSpec(name="g", titles=("*one", "*two"), together=Together.SHARD)
        made = group(TESTS, {}, [spec])
        assert [test.unit for test in made.tests] == ["together g", "together g", "three", "together g"]

    def test_without_groups_nothing_is_changed(self) -> None:
        assert group(TESTS, {}, []) == Grouped(tests=TESTS)

    def test_a_second_listing_adds_its_tests(self) -> None:
        spec, other = GroupSpec(name="g"), GroupSpec(name="h")
        first = (TestGroup(spec=spec, tests=(TestId("one"),)),)
        second = (TestGroup(spec=spec, tests=(TestId("two"),)), TestGroup(spec=other, tests=(TestId("one"),)))
        assert [(each.spec.name, list(each.tests)) for each in both(first, second)] == [
            ("g", ["one", "two"]),
            ("h", ["one"]),
        ]


class TestRefused:
    def test_a_group_that_is_not_there(self) -> None:
        lines = refused(
            GroupSpec(name="set-up", files=("a*",)), GroupSpec(name="rest", files=("db*",), after=("setup",))
        )
        assert lines == [
            'group rest: after: got "setup", allowed: the name of another group: set-up; did you mean set-up?'
        ]

    def test_a_circle(self) -> None:
        one = GroupSpec(name="a", titles=("*one",), after=("b",))
        two = GroupSpec(name="b", titles=("*two",), after=("c",))
        three = GroupSpec(name="c", titles=("*three",), after=("a",))
        assert refused(one, two, three) == [
            "group a: after: got a after b after c after a, allowed: no circle: none of them could ever begin"
        ]

    def test_a_group_after_itself(self) -> None:
        assert "got a after a" in refused(GroupSpec(name="a", files=("*",), after=("a",)))[0]

    def test_a_circle_of_tests_that_share_a_shard(self) -> None:
        """`four` is of the unit of `two`: what waits for one of them waits for the other."""
        first = GroupSpec(name="a", titles=("*two",), after=("b",))
        second = GroupSpec(name="b", titles=("*one",), after=("c",))
        third = GroupSpec(name="c", titles=("*four",))
        [line] = refused(first, second, third)
        assert "b after c after b" in line or "c after b after c" in line
        assert "must share a shard" in line

    def test_a_test_does_not_wait_for_its_own_group(self) -> None:
        setup = GroupSpec(name="set-up", projects=("setup",))
        group(TESTS, {}, [setup, GroupSpec(name="rest", files=("*",), after=("set-up",))])

    def test_a_label_that_nobody_has(self) -> None:
        assert refused(GroupSpec(name="g", files=("*",), needs=("gpus",))) == [
            (
                'group g: needs: got "gpus", allowed: a label or the name of a machine of this run: GPU, arm, '
                "moruk, pi, self-hosted; did you mean GPU?"
            )
        ]

    def test_labels_that_no_machine_has_together(self) -> None:
        both_labels = refused(GroupSpec(name="g", titles=("*one",), needs=("gpu", "arm")))
        assert both_labels == ["group g: needs: got arm and gpu, allowed: labels that one machine has together"]

    def test_labels_of_tests_that_must_be_on_one_machine(self) -> None:
        one = GroupSpec(name="a", titles=("*one",), needs=("gpu",))
        two = GroupSpec(name="b", titles=("*three",), needs=("arm",))
        place = GroupSpec(name="c", files=("a*",), together=Together.MACHINE)
        assert refused(one, two, place) == [
            "group a: needs: got arm and gpu, allowed: labels that one machine has together"
        ]

    def test_a_resource_of_the_fleet_and_of_a_machine(self) -> None:
        lines = refused(
            GroupSpec(name="a", titles=("*one",), exclusive=("db",)),
            GroupSpec(name="b", titles=("*two",), exclusive_on_machine=("db",)),
        )
        assert lines == [
            (
                'group b: exclusive_on_machine: got "db", allowed: another name: for group a it is `exclusive`, '
                "so of the whole fleet"
            )
        ]

    def test_a_group_larger_than_any_machine_allows(self) -> None:
        made = group(TESTS, {}, [GroupSpec(name="g", files=("*",), together=Together.SHARD)])
        measured = {test.id: 100.0 for test in TESTS}
        check_machines(made, FLEET, measured, 101.0)
        with pytest.raises(ConfigError, match="4 tests that take 100 s together on the best machine for them"):
            check_machines(made, FLEET, measured, 99.0)

    def test_what_nobody_has_measured_is_no_reason(self) -> None:
        made = group(TESTS, {}, [GroupSpec(name="g", files=("*",), together=Together.SHARD)])
        check_machines(made, FLEET, {test.id: 100.0 for test in TESTS[:3]}, 1.0)


def test_a_machine_can_be_asked_for_by_its_name_and_case_does_not_count() -> None:
    made = group(TESTS, {}, [GroupSpec(name="g", files=("*",), needs=("PI", "ARM"))])
    check_machines(made, FLEET, {}, 60.0)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[[group]]\nfiles = ["*"]', "group[1].name: got nothing, allowed: a name for the group"),
        ('[[group]]\nname = "a"\n[[group]]\nname = "a"', 'group[2].name: got "a" again, allowed: another name'),
        ('[[group]]\nname = "a"\nexclusive = "db"', 'group[1].exclusive: got the text "db", allowed: a list of texts'),
        ('[[group]]\nname = "a"\nexlusive = ["db"]', "did you mean group[1].exclusive?"),
        ('[[group]]\nname = "a"\ntogether = "machin"', "did you mean machine?"),
        ("group = 3", "one or more tables, [[group]]"),
    ],
)
def test_a_table_that_says_something_else_is_refused(toml: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(toml)
    assert said in str(error.value)


def test_steps_are_groups_that_come_one_after_another() -> None:
    one, two = GroupSpec(name="a", titles=("*one",)), GroupSpec(name="b", titles=("*two",), after=("a",))
    three = GroupSpec(name="c", titles=("*three",), after=("a", "b"))
    assert [
        Constraints(made.groups, made.tests).steps()
        for made in (group(TESTS, {}, specs) for specs in ([one], [one, two], [one, two, three]))
    ] == [0, 1, 2]


def test_what_shares_a_shard_can_be_planned_at_the_start_and_is_not_cut_later() -> None:
    made = group(TESTS, {}, [GroupSpec(name="g", titles=("*one", "*three"), together=Together.SHARD)])
    demand = Constraints(made.groups, made.tests).of(TestId("one"))
    assert (demand.planned, demand.whole) == (True, True)
