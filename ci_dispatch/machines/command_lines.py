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
p uid $(id -u); set -- "$d/."; while :; do set -- "$@" "$d"; case $d in /) break;; */*) d=${d%/*};; *) d=;; esac;
  case $d in "") d=/;; esac; done;
p way; ls -ldn "$@";
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
    "PATH=$PATH:/usr/local/bin:/opt/homebrew/bin:/usr/bin:/bin; export PATH; "
    'case $2 in "") d=$HOME/.cache/ci-dispatch;; "~/"*) d=$HOME/${2#??};; *) d=$2;; esac; '
    'if command -v python3 >/dev/null 2>&1; then :; else echo; echo "@ci-dispatch $0 no-python"; exit 98; fi; '
    'exec python3 -I -S -c "import sys;exec(sys.argv[-1].replace(chr(124),chr(10)))" "$0" "$1" "$d" "$3" "$4" "$5" "$6"'
)

# Nothing is run that has not been read and found to be what we mean: what lies on a disk others may have written.
# Ends by its alarm when nobody sends what it asks for: sshd keeps it alive for minutes after a connection has died.
_LOADER = """\
import hashlib,io,os,signal,sys,zipfile
signal.signal(signal.SIGALRM,signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK,[signal.SIGALRM])
signal.alarm(60)
nonce,action,root,name,digest,size=sys.argv[1:7]
path=os.path.join(root,"bin",digest+".pyz")
def ours(data):
 return hashlib.sha256(data).hexdigest()==digest
try:
 with open(path,"rb") as file:
  data=file.read(int(size)+1)
except OSError:
 data=b""
sent=not ours(data)
if sent:
 print("","@ci-dispatch "+nonce+" need",sep=chr(10),flush=True)
 data=b""
 while len(data)<int(size):
  piece=os.read(0,int(size)-len(data))
  if not piece:
   sys.exit(97)
  data+=piece
 if not ours(data):
  sys.exit("what came is not the program that was announced")
archive=zipfile.ZipFile(io.BytesIO(data))
known={"__name__":"__main__","archive":archive,"sent":data if sent else b""}
exec(compile(archive.read("__main__.py"),path,"exec"),known)
"""


@dataclass(frozen=True, slots=True)
class SupervisorProgram:
    """The supervisor as one file, and the SHA-256 of it, which it is kept under on machines."""

    data: bytes
    digest: str


@cache
def program() -> SupervisorProgram:
    """The supervisor package as a file that python3 runs; the same bytes for the same sources."""
    packed = io.BytesIO()
    sources = {}
    for file in resources.files("ci_dispatch.machines.supervisor").iterdir():
        if file.name.endswith(".py"):
            folder = "" if file.name == "__main__.py" else "supervisor/"
            sources[folder + file.name] = file.read_text(encoding="utf-8")
    with zipfile.ZipFile(packed, "w") as archive:
        for name in sorted(sources):
            archive.writestr(zipfile.ZipInfo(name), sources[name])  # ZipInfo's date is 1980: no clock in the hash
    data = packed.getvalue()
    return SupervisorProgram(data, hashlib.sha256(data).hexdigest())


def supervisor(nonce: str, action: str, *, root: str = "", name: str = "-") -> str:
    """The command line that makes a machine's supervisor take one request: see docs/supervisor-protocol.md.

    `root` is the folder for everything we put there: absolute, or `~/...`, or "" for ~/.cache/ci-dispatch.
    Raises MachineError for words that no shell could be trusted with.
    """
    _refuse_special((nonce, action, name, root))
    packed, loader = program(), _LOADER.replace("\n", "|")
    words = f"{nonce} {action} '{root}' '{name}' {packed.digest} {len(packed.data)}"
    return f"/bin/sh -c '{_SUPERVISOR}' {words} '{loader}'"


def _refuse_special(words: Iterable[str]) -> None:
    for word in words:
        if any(letter in word for letter in "'\\!\n\"$`"):
            raise MachineError(f"a machine's shell cannot be given {word!r}", stage="configuration")
