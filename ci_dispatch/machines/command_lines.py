"""The two command lines that go to machines: the probe of a health check, and the supervisor.

Rules of their text, so that every login shell (dash, bash, busybox, zsh, ksh, fish, tcsh) passes it on unchanged: one
pair of single quotes around a body without single quotes, line ends, exclamation marks and backslashes (issue 2).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from ci_dispatch.run.ports import MachineError

# One round trip, shell builtins, a dozen processes. Nothing is judged and hardly anything parsed on the machine: it
# prints `@key value` lines between two marks, and run/probe_output.py reads them.
_PROBE = " ".join(
    line.strip()
    for line in """
exec 2>/dev/null </dev/null;
n=$0; root=$1; more=$2; shift 2;
PATH=$PATH:/usr/local/bin:/opt/homebrew/bin:/usr/bin:/bin:/usr/sbin:/sbin; LC_ALL=C; export PATH LC_ALL;
case $more in ?*) PATH=$more:$PATH;; esac;
p() { echo "@$*"; };
r() { if read -r v <"$2"; then echo "@$1 $v"; fi; };
echo; p begin $n;
s=$(uname -s); p date $(date +%s); p os $s;
case $root in "") root=$HOME/.cache/ci-dispatch;; "~/"*) root=$HOME/${root#??};; esac;
case $s in Darwin*)
  p sysctl; sysctl hw.memsize hw.logicalcpu vm.loadavg kern.memorystatus_vm_pressure_level;
  p vm_stat; vm_stat;;
*)
  r load /proc/loadavg; p cores $(nproc || getconf _NPROCESSORS_ONLN);
  while read -r k v u; do case $k in
    MemTotal:|MemFree:|MemAvailable:|Buffers:|Cached:|SReclaimable:|Shmem:) p mem $k $v;; esac; done </proc/meminfo;
  r throttled /sys/devices/platform/soc/soc:firmware/get_throttled;
  c=/sys/fs/cgroup;
  if [ -r $c/cgroup.controllers ]; then
    g=; while IFS=: read -r i k q; do case $i in 0) g=$q;; esac; done </proc/self/cgroup;
    while :; do
      for f in memory.max memory.current cpu.max; do r "cgroup $g/$f" "$c$g/$f"; done;
      while read -r k v; do case $k in inactive_file) p "cgroup $g/$k $v";; esac; done <"$c$g/memory.stat";
      case $g in ""|/) break;; esac; g=${g%/*};
    done;
  else
    r "cgroup 1/memory.max" $c/memory/memory.limit_in_bytes;
    r "cgroup 1/memory.current" $c/memory/memory.usage_in_bytes;
    while read -r k v; do case $k in total_inactive_file) p "cgroup 1/inactive_file $v";; esac;
    done <$c/memory/memory.stat;
    read -r q <$c/cpu/cpu.cfs_quota_us; read -r v <$c/cpu/cpu.cfs_period_us; p "cgroup 1/cpu.max $q $v";
  fi;;
esac;
d=$root; while :; do if [ -d "$d" ]; then break; fi; case $d in */*) d=${d%/*};; *) d=;; esac;
  case $d in "") d=/; break;; esac; done;
case $s in Darwin*) ;; *) p df_inodes; df -Pi "$d" /tmp;; esac;
p df; df -Pk "$d" /tmp;
p end_df; o=0;
if [ -d "$root/jobs" ]; then
  for j in $(find "$root/jobs" -mindepth 2 -maxdepth 2 -name lease -mmin +2); do
    if [ -e "${j%lease}status" ]; then :; else o=$((o+1)); fi; done; fi;
p orphans $o;
for t in "$@"; do
  if command -v "$t" >/dev/null; then :; else p missing $t; fi; done;
p end $n
""".strip().splitlines()
)


def probe(nonce: str, *, root: str = "", path: str = "", tools: Iterable[str] = ()) -> str:
    """The command line of a health check.

    `root` is where we keep our files on the machine, `path` its PATH for jobs when its owner set one, `tools` the
    programs that must be there. Raises MachineError for words that no shell could be trusted with.
    """
    words = (root, path, *tools)
    _refuse_special(words)
    return f"/bin/sh -c '{_PROBE}' {nonce} " + " ".join(f"'{word}'" for word in words)


NEED = b"need"  # the machine's answer when it has no copy of this supervisor yet
NO_PYTHON = b"no-python"

_SUPERVISOR = (
    "PATH=$PATH:/usr/local/bin:/opt/homebrew/bin:/usr/bin:/bin; export PATH; umask 077; n=$0; "
    'case $1 in "") d=$HOME/.cache/ci-dispatch;; "~/"*) d=$HOME/${1#??};; *) d=$1;; esac; '
    "p=$d/bin/$2.pyz; "
    'if command -v python3 >/dev/null 2>&1; then :; else echo; echo "@ci-dispatch $n no-python"; exit 98; fi; '
    'if [ -s "$p" ]; then :; else '
    'mkdir -p "$d/bin" && echo && echo "@ci-dispatch $n need" && head -c $3 >"$p.$$" '
    '&& [ $(wc -c <"$p.$$") -eq $3 ] && mv "$p.$$" "$p" || exit 97; fi; '
    'exec python3 -I -S "$p" "$n" "$4" "$d" "$5"'
)

_ENTRY = """\
import sys
if sys.version_info < (3, 8):
    sys.exit("ci-dispatch needs Python 3.8 or newer on this machine, python3 is " + sys.version.split()[0])
from supervisor.main import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True, slots=True)
class SupervisorProgram:
    """The supervisor as one file, and what it is cached under on machines."""

    data: bytes
    digest: str


@cache
def program() -> SupervisorProgram:
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
    return SupervisorProgram(data, hashlib.sha256(data).hexdigest()[:20])


def supervisor(nonce: str, action: str, *, root: str = "", name: str = "-") -> str:
    """The command line that makes a machine's supervisor take one request: see docs/supervisor-protocol.md.

    `root` is the folder for everything we put there: absolute, or `~/...`, or "" for ~/.cache/ci-dispatch.
    Raises MachineError for words that no shell could be trusted with.
    """
    _refuse_special((nonce, action, name, root))
    packed = program()
    return f"/bin/sh -c '{_SUPERVISOR}' {nonce} '{root}' {packed.digest} {len(packed.data)} {action} '{name}'"


def _refuse_special(words: Iterable[str]) -> None:
    for word in words:
        if any(letter in word for letter in "'\\!\n\"$`"):
            raise MachineError(f"a machine's shell cannot be given {word!r}", stage="configuration")
