"""One command that asks a machine everything a health check judges: one round trip, shell builtins, a dozen processes.

Nothing is judged and hardly anything parsed on the machine: it prints `@key value` lines between two marks, and
`core/facts.py` reads them. Rules of the text, so that every login shell (dash, bash, busybox, zsh, ksh, fish, tcsh)
passes it on unchanged: no single quote, line end, exclamation mark or backslash (issue 2).
"""

from __future__ import annotations

from collections.abc import Iterable

from ci_dispatch.run.ports import MachineError

_BODY = " ".join(
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
  if command -v "$t" >/dev/null; then
    case $t in node|python3|python|git|java|ruby|go) p tool $t $("$t" --version 2>&1 | head -n 1);; *) p tool $t;; esac;
  else p missing $t; fi; done;
p end $n
""".strip().splitlines()
)


def command(nonce: str, *, root: str = "", path: str = "", tools: Iterable[str] = ()) -> str:
    """The command line of a health check.

    `root` is where we keep our files on the machine, `path` its PATH for jobs when its owner set one, `tools` the
    programs that must be there. Raises MachineError for words that no shell could be trusted with.
    """
    words = (root, path, *tools)
    for word in words:
        if any(letter in word for letter in "'\\!\n\"$`"):
            raise MachineError(f"a machine's shell cannot be given {word!r}", stage="configuration")
    return f"/bin/sh -c '{_BODY}' {nonce} " + " ".join(f"'{word}'" for word in words)
