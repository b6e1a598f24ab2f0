"""Where the packed supervisor begins: as a file that Python runs, or in the memory of the loader that has checked it.

Its first lines are read by any Python 3. docs/supervisor-protocol.md; the loader is in `machines/command_lines.py`.
"""

import sys

if sys.version_info < (3, 8):  # noqa: UP036  # the machine's Python, not the controller's
    sys.exit("ci-dispatch needs Python 3.8 or newer on this machine, python3 is " + sys.version.split()[0])

from importlib import import_module
from importlib.machinery import ModuleSpec


class _Archive:
    """Imports the modules of an archive that is in memory. The rest is Python's own way."""

    def __init__(self, archive):  # type: ignore[no-untyped-def]
        self._archive = archive
        self._names = {name[:-3].replace("/", "."): name for name in archive.namelist()}

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        package = name + ".__init__" in self._names
        found = package or name in self._names
        return ModuleSpec(name, self, is_package=package) if found else None  # type: ignore[arg-type]

    def create_module(self, spec):  # type: ignore[no-untyped-def]
        """None: as Python itself does."""

    def exec_module(self, module):  # type: ignore[no-untyped-def]
        name = module.__name__
        source = self._archive.read(self._names.get(name) or self._names[name + ".__init__"])
        exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102


if "archive" in globals():  # the loader's
    sys.meta_path.insert(0, _Archive(archive))  # type: ignore[name-defined,no-untyped-call]  # noqa: F821
sys.exit(import_module("supervisor.main").main(sys.argv[1:5], globals().get("sent", b"")))
