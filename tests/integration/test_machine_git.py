"""A commit that a machine fetches itself: it has exactly what lies here, and nobody sees what lets it in."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ci_dispatch.app.work_tree import without_credentials
from ci_dispatch.machines import frozen_tree
from ci_dispatch.machines.ssh.machine import CONFIG_VARIABLE, SshMachine
from ci_dispatch.run.ports import WorkTree
from tests.fleet.fixtures import Loopback
from tests.integration.test_machine_sync import arrived, git
from tests.integration.whole_run import ci_dispatch, repository

pytestmark = pytest.mark.needs("sshd")

SECRET = "s3cret-t0ken"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone, with the server's repository beside it."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.py").write_text("a")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o775)
    (folder / "link").symlink_to("a.py")
    git(folder, "init", "-q")
    commit(folder)
    git(tmp_path, "init", "-q", "--bare", "origin.git")
    git(tmp_path / "origin.git", "config", "uploadpack.allowAnySHA1InWant", "true")
    push(folder)
    return folder


@pytest.fixture
def machine(loopback: Loopback, tmp_path: Path) -> Iterator[SshMachine]:
    machine = loopback.machine(workdir=tmp_path / "far")
    yield machine
    machine.close()


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")


def push(folder: Path) -> None:
    git(folder, "push", "-q", "../origin.git", "HEAD:refs/heads/main")


def by_git(clone: Path, url: str = "", **rest: object) -> WorkTree:
    sha = git(clone, "rev-parse", "HEAD")
    return WorkTree(root=clone, sha=sha, remote_url=url or f"file://{clone.parent}/origin.git", **rest)  # type: ignore[arg-type]


def fetched(machine: SshMachine, monkeypatch: pytest.MonkeyPatch, tree: WorkTree) -> set[str]:
    """The files of a sync in which no whole copy was sent."""
    copies = copies_of(machine, monkeypatch, tree)
    assert False not in copies, "a whole copy was sent"
    return {name for name in arrived(machine) if not name.startswith(".git/")}


def copies_of(machine: SshMachine, monkeypatch: pytest.MonkeyPatch, tree: WorkTree) -> list[bool]:
    """The copies that a sync sent: True for one of the rest."""
    write, asked = frozen_tree.write_copy, []

    def listen(folder: Path, stream: object, *, rest: bool) -> None:
        asked.append(rest)
        write(folder, stream, rest=rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(frozen_tree, "write_copy", listen)
        machine.sync(tree, 30)
    return asked


def content(machine: SshMachine, name: str) -> str:
    return Path(machine.place("x").tree, name).read_text()


def test_a_commit_has_the_permissions_that_git_knows(
    machine: SshMachine, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetched(machine, monkeypatch, by_git(clone)) == {"a.py", "run.sh", "link"}
    there = Path(machine.place("x").tree)
    assert {f"{(there / name).stat().st_mode & 0o777:o}" for name in ("a.py",)} == {"644"}
    assert f"{(there / 'run.sh').stat().st_mode & 0o777:o}" == "755"


def test_what_no_commit_has_comes_from_here(machine: SshMachine, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clone / "new.py").write_text("new")
    assert fetched(machine, monkeypatch, by_git(clone)) == {"a.py", "run.sh", "link", "new.py"}


def test_what_is_excluded_does_not_stay_because_the_commit_has_it(
    machine: SshMachine, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetched(machine, monkeypatch, by_git(clone, exclude=("*.sh",))) == {"a.py", "link"}


def with_submodule(clone: Path) -> None:
    library = clone.parent / "library"
    library.mkdir()
    (library / "lib.py").write_text("lib")
    git(library, "init", "-q")
    commit(library)
    git(clone, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    commit(clone)
    push(clone)


@pytest.mark.parametrize("transfer", ["copy", "git"])
def test_submodules_and_repositories_inside_the_repository_arrive(
    machine: SshMachine, clone: Path, monkeypatch: pytest.MonkeyPatch, transfer: str
) -> None:
    """They were left out without a word, and the tests that need them failed as if the product did."""
    with_submodule(clone)
    (clone / "lib" / "generated.py").write_text("not tracked there either")
    nested = clone / "nested"
    nested.mkdir()
    (nested / "deep.py").write_text("deep")
    (nested / "ignored.log").write_text("log")
    (nested / ".gitignore").write_text("*.log\n")
    git(nested, "init", "-q")
    everything = {
        "a.py", "run.sh", "link", ".gitmodules", "lib/lib.py", "lib/generated.py", "nested/deep.py", "nested/.gitignore"
    }  # fmt: skip
    if transfer == "git":
        assert fetched(machine, monkeypatch, by_git(clone)) == everything
    else:
        machine.sync(WorkTree(root=clone), 30)
        assert arrived(machine) == everything
    assert content(machine, "lib/lib.py") == "lib"


def test_a_submodule_is_found_from_within_a_hook_of_the_outer_repository(
    machine: SshMachine, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_submodule(clone)
    monkeypatch.setenv("GIT_DIR", str(clone / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(clone / ".git" / "index"))
    machine.sync(WorkTree(root=clone), 30)
    assert "lib/lib.py" in arrived(machine)


def test_a_machine_that_checks_out_something_else_gets_a_copy(
    machine: SshMachine, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without git-lfs: the commit holds a pointer, here lies what it points to."""
    git(clone, "config", "filter.lfs.clean", "echo pointer #")
    git(clone, "config", "filter.lfs.smudge", "echo large #")
    (clone / ".gitattributes").write_text("*.bin filter=lfs\n")
    (clone / "data.bin").write_text("large\n")
    commit(clone)
    push(clone)
    assert git(clone, "show", "HEAD:data.bin") == "pointer"
    assert git(clone, "status", "--porcelain") == ""
    assert copies_of(machine, monkeypatch, by_git(clone)) == [False]
    assert content(machine, "data.bin") == "large\n"


class _GitOverHttp(BaseHTTPRequestHandler):
    """git http-backend behind a password, and a look at every process at the moment of each request."""

    seen: list[str]
    root: Path

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _serve(self, body: bytes) -> None:
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                try:
                    arguments = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if "git" in arguments:
                    self.seen.append(arguments)
        expected = base64.b64encode(f"user:{SECRET}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            self.send_error(401)
            return
        path, _, query = self.path.partition("?")
        environ = {
            **os.environ, "GIT_PROJECT_ROOT": str(self.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
            "QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_USER": "user",
            "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }  # fmt: skip
        answer = subprocess.run(["git", "http-backend"], env=environ, input=body, capture_output=True, check=True)
        head, _, data = answer.stdout.partition(b"\r\n\r\n")
        self.send_response(200)
        for line in head.decode().splitlines():
            name, _, value = line.partition(": ")
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(clone: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of the repository with the credentials in it, and the git command lines that were seen."""
    seen: list[str] = []
    handler = type("Handler", (_GitOverHttp,), {"seen": seen, "root": clone.parent})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://user:{SECRET}@127.0.0.1:{serving.server_port}/origin.git", seen
        serving.shutdown()


def test_credentials_of_the_origin_are_seen_by_nobody(
    machine: SshMachine, clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, list[str]]
) -> None:
    """They were arguments of git on the machine, for everybody who types ps."""
    address, seen = server
    url, authorization = without_credentials(address)
    tree = by_git(clone, url, authorization=authorization)
    assert fetched(machine, monkeypatch, tree) == {"a.py", "run.sh", "link"}
    assert any("fetch" in line for line in seen), "or nothing was looked at"
    hidden = (SECRET, base64.b64encode(f"user:{SECRET}".encode()).decode())
    assert not [line for line in seen if any(word in line for word in hidden)]
    assert not any(word in repr(tree) for word in hidden)
    stored = [path for path in (tmp_path / "far").rglob("*") if path.is_file()]
    assert any(path.name == "FETCH_HEAD" for path in stored)
    assert not [path for path in stored if any(word.encode() in path.read_bytes() for word in hidden)]


def test_credentials_of_the_origin_are_in_no_file_of_a_run(
    loopback: Loopback, clone: Path, tmp_path: Path, server: tuple[str, list[str]]
) -> None:
    address, seen = server
    git(clone, "remote", "add", "origin", address)
    loopback.server("git")
    machine = f'[[machine]]\nname = "git"\ncores = 1\nworkdir = "{tmp_path}/far"\n'
    suite = 'runner = "command"\nlist = "echo one"\ncommand = "sh runner.sh {junit} {tests}"'
    junit = "echo \"<testsuite><testcase name='$2'/></testsuite>\" > $1\n"
    repository(clone, suite, machines=f'transfer = "git"\n{machine}', **{"runner.sh": junit, ".gitignore": ".home\n"})
    commit(clone)
    push(clone)
    ended = ci_dispatch("run", cwd=clone, environ={CONFIG_VARIABLE: str(loopback.config.path)})
    assert (ended.code, ended.run["verdict"]) == (0, "PASSED"), ended
    assert any("fetch" in line for line in seen), "the machine has fetched it"
    hidden = (SECRET, base64.b64encode(f"user:{SECRET}".encode()).decode())
    stored = [path for top in (clone / ".ci-dispatch", tmp_path / "far") for path in top.rglob("*") if path.is_file()]
    assert any(path.name == "events.jsonl" for path in stored)
    assert not [path for path in stored if any(word.encode() in path.read_bytes() for word in hidden)]
    assert not [word for word in hidden if word in ended.out + ended.err]
