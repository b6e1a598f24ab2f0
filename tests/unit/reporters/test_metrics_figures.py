"""The figures of recorded runs: right, readable by Prometheus' own parser, safe whatever a machine is called."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import MachineName, Verdict
from ci_dispatch.reporters.metrics.figures import TEST_BUCKETS, Figure, figures, histogram, json_values, prometheus
from ci_dispatch.run.run_report import LookedBack, report
from ci_dispatch.run.state import RunState
from report_merge.model import RunContext
from tests.data.runs.make_recorded import HOSTILE
from tests.recorded_runs import play, recorded

CONTEXT = RunContext(title='shop "e2e"\nnight', repository="acme/shop")


def text(state: RunState, context: RunContext = CONTEXT, *, slowest: int = 0) -> str:
    return prometheus(figures(state, LookedBack(report=report(state, context)), slowest=slowest))


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(prom: str) -> Samples:
    return {
        (sample.name.removeprefix("ci_dispatch_"), tuple(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(prom)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(labels.items())]


def test_the_numbers_of_a_troubled_run() -> None:
    samples = parsed(text(play(recorded("troubled")), CONTEXT))
    assert {r: value(samples, "tests", result=r) for r in ("passed", "failed", "flaky", "skipped", "not_run")} == {
        "passed": 15, "failed": 2, "flaky": 1, "skipped": 1, "not_run": 1,
    }  # fmt: skip
    assert value(samples, "run_result", result="incomplete") == 1
    assert sum(number for (name, _), number in samples.items() if name == "run_result") == 1
    assert value(samples, "run_duration_seconds") == pytest.approx(19.2)
    assert value(samples, "run_timestamp_seconds") == pytest.approx(1_800_000_019.2, abs=0.5)
    assert value(samples, "schedule_imbalance_ratio") == pytest.approx(1.2)
    assert value(samples, "predicted_duration_error_seconds") == pytest.approx(-0.8)
    assert value(samples, "failures", category="product.assertion") == 2
    assert value(samples, "notify_errors", channel="slack") == 1
    assert value(samples, "test_attempts", outcome="failed") == 5
    assert value(samples, "test_duration_seconds_count") == 21
    assert value(samples, "queue_wait_seconds_bucket", le="0.5") == 6
    machines = {name: [value(samples, f"machine_{name}", machine=m) for m in ("local", "moruk", "ilko2", "pi")]
                for name in ("up", "tests", "lost", "retries")}  # fmt: skip
    assert machines == {"up": [1, 1, 0, 0], "tests": [8, 13, 1, 0], "lost": [0, 0, 1, 0], "retries": [0, 3, 0, 0]}
    assert value(samples, "machine_busy_seconds", machine="moruk") == pytest.approx(10.1 + 2.3 + 2.0)


def test_a_run_that_goes_on_has_no_result_yet() -> None:
    samples = parsed(text(play(recorded("green")[:5]), CONTEXT))
    assert not [name for name, _ in samples if name == "run_result"]
    assert value(samples, "tests", result="passed") == 0


def test_an_empty_state_has_figures_too() -> None:
    assert parsed(text(RunState(), RunContext()))


@pytest.mark.parametrize("run", ["troubled", "green"])
def test_what_promtool_would_say(run: str) -> None:
    prom = text(play(recorded(run)), CONTEXT, slowest=3)
    names = [line.split()[2] for line in prom.splitlines() if line.startswith("# HELP")]
    assert len(names) == len(set(names))
    for family in text_string_to_metric_families(prom):
        assert family.documentation.endswith(".")
        assert family.name.startswith("ci_dispatch_")
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_info_info"))
        assert "millis" not in family.name
    for line in prom.splitlines():  # node_exporter refuses the whole file for one timestamp
        assert line.startswith("#") or len(line.rpartition("}")[2].split()) in (1, 2)
        assert line.startswith("#") or len(line.rsplit("}", 1)[-1].split()) == (1 if "}" in line else 2)


def test_tests_are_labels_only_when_asked_for() -> None:
    state = play(recorded("troubled"))
    assert "product 1" not in text(state, CONTEXT)
    samples = parsed(text(state, CONTEXT, slowest=2))
    assert len([name for name, _ in samples if name == "slow_test_seconds"]) == 2
    assert [dict(labels)["test"][:40] for name, labels in samples if name == "flaky_test"] == [
        "shop.spec.ts › shop › <!channel> <@U0123"
    ]


@given(st.lists(st.one_of(st.text(max_size=50), st.sampled_from(HOSTILE)), min_size=1, max_size=5, unique=True))
def test_labels_survive_the_parser(names: list[str]) -> None:
    figure = Figure("x", "X.", tuple(((("machine", name),), float(n)) for n, name in enumerate(names)))
    (family,) = text_string_to_metric_families(prometheus([figure]))
    assert [sample.value for sample in family.samples] == [float(n) for n in range(len(names))]
    again = prometheus(
        [Figure("x", "X.", tuple(((("machine", s.labels["machine"]),), s.value) for s in family.samples))]
    )
    assert again == prometheus([figure])


def test_machines_with_hostile_names() -> None:
    state = play(recorded("green"))
    one = next(iter(state.machines.values()))
    for name in HOSTILE:
        state.machines[MachineName(name)] = replace(one, spec=replace(one.spec, name=MachineName(name)))
    ups = [family for family in text_string_to_metric_families(text(state, CONTEXT)) if family.name.endswith("_up")]
    assert len(ups[0].samples) == len(HOSTILE) + 2


def test_json_has_the_same_numbers() -> None:
    state = play(recorded("troubled"))
    found = json_values(figures(state, LookedBack(report=report(state, CONTEXT))))
    assert json.loads(json.dumps(found)) == found
    assert found["run_duration_seconds"] == pytest.approx(19.2)
    assert {"result": "failed", "value": 2.0} in found["tests"]
    assert found["test_duration_seconds"]["counts"][-1] == 21


def test_histograms_cumulate() -> None:
    made = histogram([0.05, 0.1, 3, 1000, -1], TEST_BUCKETS)
    assert made.counts == (3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 5)
    assert made.sum == pytest.approx(1003.15)


def test_golden(golden: Callable[[str, str], None]) -> None:
    assert Verdict.NOT_RUN.value == "not run"
    prom = text(play(recorded("troubled")), CONTEXT, slowest=2)
    golden("metrics-troubled.prom", "\n".join(line for line in prom.split("\n") if "run_info{" not in line))
