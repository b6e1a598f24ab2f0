"""A commit that the machine fetches itself."""

from __future__ import annotations

import os
import subprocess
import time

_SETTINGS = {"gc.auto": "0", "core.hooksPath": os.devnull}


class Commit:
    """One commit of a remote repository, for one folder; every step is over at the same deadline."""

    def __init__(self, path: str, url: str, authorization: str, sha: str, seconds: float) -> None:
        """`authorization` is the value of that HTTP header, "" for none.

        It goes to git in its environment: every user sees arguments, and git passes an address on to its own children
        as one. Git before 2.31 does not look there and gets no access. A redirect would take it to another host.
        https://git-scm.com/docs/git-config#ENVIRONMENT
        """
        self._path, self._url, self._sha = path, url, sha
        self._deadline = time.monotonic() + seconds
        self._modes: dict[str, bytes] = {}
        secret = {f"http.{url}.extraHeader": f"Authorization: {authorization}", "http.followRedirects": "false"}
        settings = {**_SETTINGS, **secret} if authorization else _SETTINGS
        self._environment = dict(
            os.environ,
            GIT_TERMINAL_PROMPT="0",
            GIT_SSH_COMMAND="ssh -o BatchMode=yes",
            GIT_CONFIG_COUNT=str(len(settings)),
            **{f"GIT_CONFIG_KEY_{number}": key for number, key in enumerate(settings)},
            **{f"GIT_CONFIG_VALUE_{number}": value for number, value in enumerate(settings.values())},
        )

    def fetch(self) -> list[str] | None:
        """The names of its files, or None when this machine cannot get it."""
        for step in (["init", "--quiet"], ["fetch", "--quiet", "--depth=1", "--no-tags", "--", self._url, self._sha]):
            if self._git(step) is None:
                return None
        listed = self._git(["ls-tree", "-r", "-z", "FETCH_HEAD"])  # MODE TYPE OBJECT\tNAME
        if listed is None:
            return None
        for entry in filter(None, listed.split(b"\0")):
            words, _, name = entry.partition(b"\t")
            mode, kind = words.split()[:2]
            if kind == b"blob":  # a submodule is none
                self._modes[os.fsdecode(name)] = mode
        return list(self._modes)

    def check_out(self) -> bool:
        """Put its files into the folder, with the permissions that git knows."""
        if self._git(["checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"]) is None:
            return False
        try:
            for name, mode in self._modes.items():
                if mode != b"120000":  # a symbolic link
                    os.chmod(os.path.join(self._path, name), 0o755 if mode == b"100755" else 0o644)
        except OSError:
            return False
        return True

    def _git(self, words: list[str]) -> bytes | None:
        """What git prints, None when it fails or is not done at the deadline."""
        before = os.umask(0o022)  # the folder itself is private, what lies in it is as git makes it anywhere
        try:
            done = subprocess.run(
                ["git", *words],
                cwd=self._path,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=max(0.1, self._deadline - time.monotonic()),
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        finally:
            os.umask(before)
        return None if done.returncode else done.stdout
