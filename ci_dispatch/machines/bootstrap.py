"""How the supervisor gets onto a machine: packed into one file, cached there under its content hash, run by /bin/sh.

The command line passes every login shell unchanged (dash, bash, busybox, zsh, ksh, fish, tcsh: issue 2): one pair of
single quotes around a body without single quotes, line ends, exclamation marks and backslashes.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib import resources

from ci_dispatch.run.ports import MachineError

NEED = b"need"  # the machine's answer when it has no copy of this supervisor yet
NO_PYTHON = b"no-python"

_ENTRY = """\
import sys
if sys.version_info < (3, 8):
    sys.exit("ci-dispatch needs Python 3.8 or newer on this machine, python3 is " + sys.version.split()[0])
from supervisor.main import main
sys.exit(main(sys.argv[1:]))
"""

_BODY = (
    "PATH=$PATH:/usr/local/bin:/opt/homebrew/bin:/usr/bin:/bin; export PATH; umask 077; n=$0; "
    'case $1 in "") d=$HOME/.cache/ci-dispatch;; "~/"*) d=$HOME/${1#??};; *) d=$1;; esac; '
    "p=$d/bin/$2.pyz; "
    'if command -v python3 >/dev/null 2>&1; then :; else echo; echo "@ci-dispatch $n no-python"; exit 98; fi; '
    'if [ -s "$p" ]; then :; else '
    'mkdir -p "$d/bin" && echo && echo "@ci-dispatch $n need" && head -c $3 >"$p.$$" '
    '&& [ $(wc -c <"$p.$$") -eq $3 ] && mv "$p.$$" "$p" || exit 97; fi; '
    'exec python3 -I -S "$p" "$n" "$4" "$d" "$5"'
)


@dataclass(frozen=True, slots=True)
class Program:
    data: bytes
    digest: str


@cache
def program() -> Program:
    """The supervisor package as a file that python3 runs; the same bytes for the same sources."""
    packed = io.BytesIO()
    sources = {"__main__.py": _ENTRY}
    for file in resources.files("ci_dispatch.machines.supervisor").iterdir():
        if file.name.endswith(".py"):
            sources[f"supervisor/{file.name}"] = file.read_text(encoding="utf-8")
    with zipfile.ZipFile(packed, "w") as archive:
        for name in sorted(sources):
            archive.writestr(zipfile.ZipInfo(name), sources[name])  # ZipInfo's date is 1980: no clock in the hash
    data = packed.getvalue()
    return Program(data, hashlib.sha256(data).hexdigest()[:20])


def command(nonce: str, action: str, *, root: str = "", name: str = "-") -> str:
    """The command line that makes a machine answer one request.

    `root` is the folder for everything we put there: absolute, or `~/...`, or "" for ~/.cache/ci-dispatch.
    Raises MachineError for what no shell could be trusted with.
    """
    for word in (nonce, action, name, root):
        if any(letter in word for letter in "'\\!\n\"$`"):
            raise MachineError(f"a machine's shell cannot be given {word!r}", stage="configuration")
    packed = program()
    return f"/bin/sh -c '{_BODY}' {nonce} '{root}' {packed.digest} {len(packed.data)} {action} '{name}'"
