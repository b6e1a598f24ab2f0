"""Artifacts are fetched without our token and unpacked without trust."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ci_dispatch.fleets.actions.rest.api import GitHubApi
from ci_dispatch.fleets.actions.rest.artifacts import ArtifactLimits, BadArtifact, fetch, unpack
from ci_dispatch.fleets.actions.rest.errors import Unavailable
from ci_dispatch.fleets.actions.rest.models import ArtifactView
from tests.github_double import GitHubDouble, Script, ScriptedWorker, zipped
from tests.integration.github_client import client_of
from tests.integration.test_github_client import WORKER, inputs

SMALL = ArtifactLimits(download=1 << 16, unpacked=1 << 20, files=10)
REPORT = {"junit.xml": "<testsuites/>", "results/attempt.json": "{}"}


@pytest.fixture
def double() -> Iterator[GitHubDouble]:
    artifacts = {"report": zipped(REPORT)}
    with GitHubDouble(worker=ScriptedWorker(lambda _job: Script(seconds=0, artifacts=artifacts))) as github:
        github.workflow("e2e-shard.yml", WORKER)
        github.hub.add_runner("moruk-1", "moruk")
        yield github
        assert github.findings() == []
        assert github.token_leaks == []


@pytest.fixture
def api(double: GitHubDouble) -> Iterator[GitHubApi]:
    api = client_of(double)
    yield api
    api.client.close()


def made(double: GitHubDouble, api: GitHubApi) -> ArtifactView:
    run = api.dispatch("e2e-shard.yml", "main", inputs()) or 0
    api.run(run)
    return api.artifacts(run)[0]


def files_in(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): f.read_text() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_an_artifact_arrives_as_it_was_and_our_token_stays_here(
    double: GitHubDouble, api: GitHubApi, tmp_path: Path
) -> None:
    fetch(api, made(double, api), tmp_path / "a", ArtifactLimits())
    assert files_in(tmp_path / "a") == REPORT


def test_wrong_bytes_are_told_by_their_digest(double: GitHubDouble, api: GitHubApi, tmp_path: Path) -> None:
    artifact = made(double, api)
    double.hub.artifacts[0].data = zipped({"junit.xml": "<forged/>"})
    with pytest.raises(BadArtifact, match="digest"):
        fetch(api, artifact, tmp_path / "a", ArtifactLimits())
    assert not (tmp_path / "a").exists()


def test_an_expired_artifact_is_said_to_be(double: GitHubDouble, api: GitHubApi, tmp_path: Path) -> None:
    artifact = made(double, api)
    double.hub.artifacts[0].expired = True
    with pytest.raises(BadArtifact, match="410"):  # it expired after it was listed
        fetch(api, artifact, tmp_path / "a", ArtifactLimits())
    listed = api.artifacts(next(iter(double.hub.runs)))[0]
    with pytest.raises(BadArtifact, match="retention-days"):
        fetch(api, listed, tmp_path / "a", ArtifactLimits())


def test_a_storage_that_refuses_may_be_asked_again(double: GitHubDouble, api: GitHubApi, tmp_path: Path) -> None:
    artifact = made(double, api)
    double.blobs.clear()
    original = double.signed
    double.signed = lambda name, data: original(name, data).replace("?sig=", "?sig=x")  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="403"):
        fetch(api, artifact, tmp_path / "a", ArtifactLimits())


def test_a_download_has_a_limit(double: GitHubDouble, api: GitHubApi, tmp_path: Path) -> None:
    artifact = made(double, api)
    with pytest.raises(BadArtifact, match="larger than"):
        fetch(api, artifact, tmp_path / "a", ArtifactLimits(download=10))


def member(name: str, mode: int = 0o100644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, b"owned")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "archive",
    [
        member("../outside"),
        member("a/../../outside"),
        member("/etc/outside"),
        member("..\\outside"),
        member("C:\\outside"),
        member("link", 0o120777),
        member("device", 0o060666),
        member("a/" * 1000 + "b"),
    ],
)
def test_nothing_is_written_outside_the_folder(tmp_path: Path, archive: bytes) -> None:
    into = tmp_path / "deep" / "in"
    into.mkdir(parents=True)
    with pytest.raises(BadArtifact, match="leads elsewhere"):
        unpack("The artifact", archive, into, SMALL)
    assert files_in(tmp_path) == {}


def test_a_zip_bomb_ends_at_the_limit(tmp_path: Path) -> None:
    bomb = zipped({"a": b"\0" * (1 << 19), "b": b"\0" * (1 << 20)})
    assert len(bomb) < 1 << 16
    with pytest.raises(BadArtifact, match="zip bomb"):
        unpack("The artifact", bomb, tmp_path, SMALL)
    assert sum(f.stat().st_size for f in tmp_path.rglob("*")) <= SMALL.unpacked


def test_a_zip_that_lies_about_its_sizes_is_damaged_or_a_bomb(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": b"\0" * (1 << 21)}))
    at = data.rindex(b"PK\x01\x02") + 24  # the uncompressed size in the central directory
    data[at : at + 4] = (16).to_bytes(4, "little")
    with pytest.raises(BadArtifact):
        unpack("The artifact", bytes(data), tmp_path, SMALL)


@pytest.mark.parametrize(
    "data",
    [b"", b"<testsuites/>", zipped(REPORT)[:-30], zipped(REPORT)[:40] + b"\0" * 60],
    ids=["empty", "no zip", "cut at its end", "cut in the middle"],  # a zip holds the time: its bytes are no name
)
def test_what_is_no_zip_is_said_to_be(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BadArtifact, match=r"no zip|damaged"):
        unpack("The artifact", data, tmp_path, SMALL)


def test_too_many_files(tmp_path: Path) -> None:
    with pytest.raises(BadArtifact, match="11 files"):
        unpack("The artifact", zipped({f"f{n}": "" for n in range(11)}), tmp_path, SMALL)


def test_a_large_table_of_files_costs_no_memory(tmp_path: Path) -> None:
    """300,000 entries in 26 MB made 147 MB of objects before they could be counted."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(30_000):
            archive.writestr(zipfile.ZipInfo(f"{number}/"), b"")
    data = buffer.getvalue()
    tracemalloc.start()
    try:
        with pytest.raises(BadArtifact, match="its table of files"):
            unpack("The artifact", data, tmp_path, SMALL)
        assert tracemalloc.get_traced_memory()[1] < len(data)
    finally:
        tracemalloc.stop()


def test_whatever_byte_is_damaged_the_error_is_ours(tmp_path: Path) -> None:
    sound = zipped({"junit.xml": "<testsuites/>" * 20})
    refused = 0
    for at in range(len(sound)):
        data = bytearray(sound)
        data[at] ^= 0xFF
        try:
            unpack("The artifact", bytes(data), tmp_path / str(at), SMALL)
        except BadArtifact:
            refused += 1
    assert refused > len(sound) / 2


def test_an_artifact_is_found_by_its_name_and_says_whose_run_it_was(double: GitHubDouble, api: GitHubApi) -> None:
    made(double, api)
    [artifact] = api.artifacts_called("report")
    assert (artifact.name, artifact.origin.branch, artifact.origin.own) == ("report", "main", True)
    assert artifact.created is not None
    double.hub.artifacts[0].from_fork = True
    [artifact] = api.artifacts_called("report")
    assert not artifact.origin.own
    assert api.artifacts_called("another") == ()


def test_of_a_name_that_every_run_uses_the_newest_are_listed_and_the_list_has_an_end(
    double: GitHubDouble, api: GitHubApi
) -> None:
    made(double, api)
    double.hub.artifacts += [replace(double.hub.artifacts[0], id=n, name="history") for n in range(1, 601)]
    asked = api.client.sent
    found = api.artifacts_called("history")
    assert (len(found), api.client.sent - asked) == (500, 5)
    assert (found[0].id, found[-1].id) == (600, 101)
