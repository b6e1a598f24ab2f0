"""A history between jobs on GitHub: taken in, handed over; what is the matter with it is said once and survived."""

from __future__ import annotations

import io
import re
import sqlite3
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ci_dispatch.app import history_travel
from ci_dispatch.app.history_travel import bring, keep
from ci_dispatch.app.run_history import file_in
from ci_dispatch.app.settings import Settings, read_settings
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.model import RunId, TestId, Verdict
from ci_dispatch.fleets.actions.history_artifact import FILE, artifact_name
from ci_dispatch.fleets.actions.rest import artifacts
from ci_dispatch.fleets.actions.rest.errors import RequestRefused, Unavailable
from ci_dispatch.fleets.actions.rest.models import ArtifactOrigin, ArtifactView
from ci_dispatch.history.store import HistoryStore
from ci_dispatch.history.values import PastRun, PastTest, RecordedRun
from ci_dispatch.run.run_folder import create
from tests.waves_room import WavesRoom

NOW = 1.8e9


def history(folder: Path, *runs: str) -> bytes:
    """A history with these runs, as a file's bytes."""
    folder.mkdir(exist_ok=True)
    file = folder / "-".join(runs)
    with HistoryStore(file) as store:
        store.add(
            RecordedRun(
                run=PastRun(id=RunId(run), at=NOW, title="Shop", branch="main", verdict="PASSED"),
                tests=(PastTest(id=TestId("a"), verdict=Verdict.PASSED),),
            )
            for run in runs
        )
    return file.read_bytes()


def zipped(data: bytes, name: str = FILE) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr(name, data)
    return buffer.getvalue()


class GitHub:
    """The port: artifacts by what they hold, the newest first."""

    def __init__(self) -> None:
        self.kept: list[tuple[ArtifactView, bytes | Exception]] = []
        self.refuses: Exception | None = None
        self.waits: threading.Event | None = None
        self.asked: list[str] = []
        self.client = self

    def holds(self, branch: str, data: bytes | Exception, *, fork: bool = False, name: str = "Shop") -> None:
        number = len(self.kept) + 1
        view = ArtifactView(
            id=number,
            name=artifact_name(name),
            created=datetime(2026, 11, 28 - number, tzinfo=UTC),
            origin=ArtifactOrigin(branch=branch, repository=1, head_repository=2 if fork else 1),
        )
        self.kept.append((view, data))

    def artifacts_called(self, name: str) -> tuple[ArtifactView, ...]:
        self.asked.append(name)
        if self.refuses:
            raise self.refuses
        return tuple(view for view, _ in self.kept if view.name == name)

    def artifact_address(self, artifact: ArtifactView) -> str:
        if self.waits is not None and artifact.id > 1:
            self.waits.wait(20)
        return str(artifact.id)

    def download(self, what: str, address: str, limits: artifacts.ArtifactLimits) -> bytes:
        data = self.kept[int(address) - 1][1]
        if isinstance(data, Exception):
            raise data
        assert limits.download <= 100 << 20
        return data

    def close(self) -> None:
        pass


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    made = GitHub()
    monkeypatch.setattr(history_travel, "connect", lambda *_: made)
    monkeypatch.setattr(artifacts, "download", made.download)
    yield made
    if made.waits is not None:
        made.waits.set()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "ci-dispatch.toml").touch()
    (tmp_path / "event.json").write_text('{"repository": {"default_branch": "main"}}')
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": str(tmp_path / "event.json")}
    return read_settings(None, {}, environ, root)


def brought(settings: Settings, branch: str = "topic") -> tuple[set[str], list[str]]:
    """The runs that are known after it, and what was said."""
    said = bring(settings, "Shop", repository="octo-org/octo-repo", branch=branch)
    ours = file_in(settings.runs_folder)
    if not ours.exists():
        return set(), said
    with HistoryStore(ours) as store:
        return {str(run.id) for run in store.runs()}, said


def test_the_branch_and_the_default_branch_are_one_history(github: GitHub, settings: Settings, tmp_path: Path) -> None:
    github.holds("main", zipped(history(tmp_path / "h", "one", "two")))
    github.holds("topic", zipped(history(tmp_path / "h", "one", "three")))
    github.holds("other", zipped(history(tmp_path / "h", "four")))
    github.holds("topic", zipped(history(tmp_path / "h", "five")), fork=True)
    github.holds("topic", zipped(history(tmp_path / "h", "six")), name="Desk")
    assert brought(settings) == ({"one", "two", "three"}, [])
    assert brought(settings) == ({"one", "two", "three"}, [])  # again changes nothing
    assert file_in(settings.runs_folder).stat().st_mode & 0o777 == 0o600
    assert [file.name for file in settings.runs_folder.iterdir() if "history" not in file.name] == [".gitignore"]


def test_what_is_here_stays(github: GitHub, settings: Settings, tmp_path: Path) -> None:
    settings.runs_folder.mkdir()
    file_in(settings.runs_folder).write_bytes(history(tmp_path / "h", "mine"))
    github.holds("main", zipped(history(tmp_path / "h", "theirs")))
    assert brought(settings) == ({"mine", "theirs"}, [])


def test_nothing_there_is_nothing_to_say(github: GitHub, settings: Settings) -> None:
    assert brought(settings) == (set(), [])
    assert github.asked == [artifact_name("Shop")]
    assert not settings.runs_folder.exists()


def newer(data: bytes, folder: Path) -> bytes:
    file = folder / "newer"
    file.write_bytes(data)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")
    return file.read_bytes()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("no zip", "The artifact {name} was not used: it is no zip"),
        ("no file of it", "A history from GitHub was not used: the artifact holds no history.db"),
        ("several files", "The artifact {name} was not used: it holds 2 files, more than 1"),
        ("no database", "history.db from GitHub is damaged: file is not a database"),
        ("foreign", "history.db from GitHub is no history of ci-dispatch: another program made it"),
        ("newer", "history.db from GitHub was not used: it is of version 99, and this ci-dispatch knows 1"),
        ("gone", "The artifact {name} was not used: its storage did not answer"),
    ],
)
def test_one_that_cannot_be_used_is_said_once_and_the_next_one_is_taken(
    github: GitHub, settings: Settings, tmp_path: Path, kind: str, says: str
) -> None:
    sound = history(tmp_path / "h", "sound")
    with closing(sqlite3.connect(tmp_path / "foreign")) as connection:
        connection.execute("CREATE TABLE songs (name)")
    several = io.BytesIO(zipped(sound))
    with zipfile.ZipFile(several, "a") as more:
        more.writestr("../evil", b"")
    data: dict[str, bytes | Exception] = {
        "no zip": b"<html>",
        "no file of it": zipped(sound, "other.db"),
        "several files": several.getvalue(),
        "no database": zipped(b"x" * 5000),
        "foreign": zipped((tmp_path / "foreign").read_bytes()),
        "newer": zipped(newer(sound, tmp_path)),
        "gone": Unavailable(f"The artifact {artifact_name('Shop')} was not used", why="its storage did not answer"),
    }
    github.holds("topic", data[kind])
    github.holds("topic", data[kind])
    github.holds("main", zipped(sound))
    runs, said = brought(settings)
    assert runs == {"sound"}
    assert len(said) == 1
    assert said[0].startswith(says.format(name=artifact_name("Shop"))), said


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (
            RequestRefused("They could not be listed", why="status 403", hint="permissions: actions: read", status=403),
            "They could not be listed: status 403 (try: permissions: actions: read)",
        ),
        (ValueError("whatever"), "The history of earlier runs was not fetched: ValueError: whatever"),
    ],
)
def test_a_refusal_is_one_sentence_with_its_remedy(
    github: GitHub, settings: Settings, refusal: Exception, says: str
) -> None:
    github.refuses = refusal
    assert brought(settings) == (set(), [says])


def test_without_a_token_it_says_how_to_give_one(settings: Settings) -> None:
    runs, [said] = brought(settings)
    assert runs == set()
    assert said.startswith("GitHub cannot be asked: the variable GITHUB_TOKEN holds no token (try: in a workflow")


def test_without_a_repository_nobody_is_asked(github: GitHub, settings: Settings) -> None:
    assert bring(settings, "Shop", repository="", branch="main") == []
    assert github.asked == []


def test_what_has_come_in_time_is_used(
    github: GitHub, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second download never ends: the run does not wait for it."""
    github.waits = threading.Event()
    monkeypatch.setattr(history_travel, "SECONDS", 1.0)
    github.holds("topic", zipped(history(tmp_path / "h", "one")))
    github.holds("main", zipped(history(tmp_path / "h", "two")))
    runs, said = brought(settings)
    assert runs == {"one"}
    assert said == ["The history of earlier runs was not fetched: GitHub took longer than 1 s"]


def outputs(file: Path) -> dict[str, str]:
    found = re.findall(r"^([\w-]+)<<(\w+)\n(.*?)\n\2$", file.read_text() if file.exists() else "", re.MULTILINE)
    return {name: value for name, _, value in found}


def test_it_is_handed_to_the_step_that_uploads_it(tmp_path: Path) -> None:
    base = tmp_path / ".ci-dispatch"
    folder = create(base, RunId("20261128-000000-aaaa"))
    environ = {"GITHUB_OUTPUT": str(tmp_path / "output")}
    keep("Shop", base, folder, environ)
    assert outputs(tmp_path / "output") == {}  # there is none
    file_in(base).write_bytes(history(tmp_path / "h", "one"))
    keep("Shop", base, folder, {})
    assert not (folder.path / FILE).exists()  # nobody uploads it
    keep("Shop", base, folder, environ)
    keep("Shop", base, folder, environ)  # a second attempt in the same folder
    told = outputs(tmp_path / "output")
    assert told == {"history-name": artifact_name("Shop"), "history-path": str(folder.path / FILE)}
    with HistoryStore(Path(told["history-path"])) as store:
        assert [run.id for run in store.runs()] == ["one"]


def test_a_fork_s_run_hands_nothing_on(tmp_path: Path) -> None:
    """Where the code of forks is allowed to run."""
    base = tmp_path / ".ci-dispatch"
    folder = create(base, RunId("20261128-000000-aaaa"))
    file_in(base).write_bytes(history(tmp_path / "h", "one"))
    event = tmp_path / "event.json"
    event.write_text('{"pull_request": {"head": {"repo": {"full_name": "stranger/fork"}}}}')
    pull = {"GITHUB_EVENT_PATH": str(event), "GITHUB_REPOSITORY": "octo-org/octo-repo"}
    for name in ("pull_request", "pull_request_target"):
        environ = {**pull, "GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_EVENT_NAME": name}
        keep("Shop", base, folder, environ)
    assert outputs(tmp_path / "output") == {}


@pytest.mark.parametrize("error", [FileExistsError, PermissionError])
def test_where_it_cannot_be_put_in_place_it_is_merged(
    github: GitHub, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    def refused(*_: object) -> None:
        raise error

    monkeypatch.setattr(Path, "hardlink_to", refused)
    github.holds("main", zipped(history(tmp_path / "h", "one")))
    assert brought(settings) == ({"one"}, [])


def test_one_that_is_damaged_is_not_handed_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tmp_path / ".ci-dispatch"
    folder = create(base, RunId("20261128-000000-aaaa"))
    file_in(base).write_bytes(b"x" * 5000)
    keep("Shop", base, folder, {"GITHUB_OUTPUT": str(tmp_path / "output")})
    assert outputs(tmp_path / "output") == {}
    assert "note: the history was not kept for the next run" in capsys.readouterr().err


class TestOneWorkflow:
    """Two runs in a row, each on disks of its own."""

    def run(self, folder: Path, github: GitHub) -> WavesRoom:
        room = WavesRoom(folder, env={"GITHUB_REF_NAME": "main"})
        room.plan()
        room.all_pass()
        assert room.merge() is ExitCode.PASSED
        return room

    def test_the_second_knows_the_first(
        self, github: GitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first = self.run(tmp_path / "first", github)
        assert "History of earlier runs" not in capsys.readouterr().err
        github.holds("main", zipped(Path(first.outputs["history-path"]).read_bytes()), name="checkout")
        github.asked.clear()
        second = self.run(tmp_path / "second", github)
        name = first.outputs["history-name"]
        assert github.asked == [name, name]  # once to plan, once to give the verdict
        assert capsys.readouterr().err.count("History of earlier runs: of main.") == 2
        with HistoryStore(Path(second.outputs["history-path"])) as store:
            assert {str(run.id) for run in store.runs()} == {first.plan_id, second.plan_id}
        assert "⚠️" not in (second.folder / "summary.md").read_text()

    def test_what_is_the_matter_is_said_by_both_jobs_and_costs_nothing(
        self, github: GitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        github.refuses = RequestRefused("They could not be listed", why="status 403", hint="actions: read", status=403)
        room = self.run(tmp_path / "room", github)
        said = "They could not be listed: status 403 (try: actions: read)"
        assert f"note: {said}" in capsys.readouterr().err
        assert room.run_json()["warnings"] == [{"source": "history", "text": said}]
