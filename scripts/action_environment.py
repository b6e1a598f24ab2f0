"""A private Python environment for the action, kept on the machine for its next job: prints its interpreter.

    python3 action_environment.py REQUIREMENTS FOLDER

Standard library only, on every system that GitHub's runner supports. The name of an environment says what is inside.
One that was cut short or changed since it was made is made anew: each file is compared with a list of hashes. The list
lies beside them, so that it shows damage and accidents, and not somebody who may write there and means it.

Nothing of it gets on anybody's PATH: the interpreter lies alone in a folder, so that the suite finds the machine's own
python3 and never this one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LIST = "files.sha256"
PYTHON = Path("private", "ci-dispatch-python")


def name_of(requirements: bytes, version: str) -> str:
    return hashlib.sha256(requirements + version.encode()).hexdigest()[:16]


def contents(home: Path) -> str:
    """Every file of the environment with its hash, and where every link leads; one a line."""
    lines = []
    for folder, folders, files in os.walk(home):
        for name in (*files, *(each for each in folders if Path(folder, each).is_symlink())):
            path = Path(folder, name)
            if path != home / LIST:
                what = f"-> {path.readlink()}" if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
                lines.append(f"{what}  {path.relative_to(home)}\n")
    return "".join(sorted(lines))


def sound(home: Path) -> bool:
    """Whether it is as it was made, by whoever runs this."""
    try:
        ours = home.stat().st_uid == os.getuid()
        return ours and os.access(home / PYTHON, os.X_OK) and (home / LIST).read_text("utf-8") == contents(home)
    except OSError:
        return False


def make(requirements: Path, home: Path) -> None:
    """Raises CalledProcessError when a package cannot be had."""
    subprocess.run([sys.executable, "-m", "venv", home], check=True, stdout=sys.stderr)
    options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"]
    install = [home / "bin" / "python", "-m", "pip", "install", *options, "-r", requirements]
    subprocess.run(install, check=True, stdout=sys.stderr)
    (home / PYTHON).parent.mkdir()
    (home / PYTHON).symlink_to((home / "bin" / "python3").resolve())


def ensure(requirements: Path, base: Path, version: str = sys.version) -> Path:
    """The interpreter of a sound environment in `base`."""
    home = base / name_of(requirements.read_bytes(), version)
    if sound(home):
        return home / PYTHON
    base.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{home.name}.", dir=base))
    try:
        make(requirements, fresh)
        (fresh / LIST).write_text(contents(fresh), "utf-8")
        if home.exists() and not sound(home):
            damaged = Path(tempfile.mkdtemp(prefix=f"{home.name}.damaged.", dir=base))
            home.rename(damaged)  # over an empty folder: whole or not at all
            shutil.rmtree(damaged, ignore_errors=True)
        fresh.rename(home)
    except OSError:
        if not sound(home):  # else somebody was faster
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return home / PYTHON


if __name__ == "__main__":
    print(ensure(Path(sys.argv[1]), Path(sys.argv[2])))
