"""`make public-playwright`: the browser suite of JupyterLab, by Playwright alone and by ci-dispatch.

    python -m tests.public_suites.playwright [PLAYWRIGHT ARGUMENTS...]

Without arguments it is the project `galata`. JupyterLab is installed under `.tools/jupyterlab`, its suite comes from
the source archive, and a server of it runs beside both. Playwright runs the suite twice: a test whose verdict differs
between these two is unsteady on its own, and only has to be there. Exit 0: ci-dispatch reports the same tests, and
every steady one has the same verdict.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.components import ROOT, chromium
from tests.public_suites.comparison import installed, run, verdicts

JUPYTERLAB, GALATA = "4.6.4", "5.6.4"  # its suite needs the browser library of its own day
TOOLS = ROOT / ".tools" / "jupyterlab"
SUITE = TOOLS / "suite"
SERVER = "http://localhost:8888/lab"  # written in the suite
START_SECONDS, END_SECONDS, SUITE_SECONDS = 90, 20, 7200
SHOWN = 20

Verdicts = Mapping[tuple[str, str], str]


def done(*argv: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """What a program that has to succeed printed."""
    ended = run(*argv, cwd=cwd, env=env, seconds=1200)
    if ended.returncode:
        sys.exit(f"{' '.join(map(str, argv))} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}")
    return ended.stdout


def install() -> None:
    """JupyterLab, its suite as a Git repository without videos, and the suite's packages; once."""
    if (TOOLS / "ready").exists():
        return
    shutil.rmtree(TOOLS, ignore_errors=True)
    TOOLS.mkdir(parents=True)
    done(sys.executable, "-m", "venv", TOOLS / "env", cwd=TOOLS)
    pip = (TOOLS / "env/bin/python", "-m", "pip")
    done(*pip, "install", "-q", f"jupyterlab=={JUPYTERLAB}", cwd=TOOLS)
    done(*pip, "download", "-q", "--no-deps", "--no-binary", "jupyterlab", f"jupyterlab=={JUPYTERLAB}", cwd=TOOLS)
    with tarfile.open(TOOLS / f"jupyterlab-{JUPYTERLAB}.tar.gz") as archive:
        archive.extractall(TOOLS, filter="data")
    shutil.copytree(TOOLS / f"jupyterlab-{JUPYTERLAB}" / "galata", SUITE)
    (SUITE / "package.json").write_text('{"private": true}\n')
    config = SUITE / "playwright.config.js"
    video = "  use: { ...baseConfig.use, video: 'off' },\n  fullyParallel: true"  # Playwright's ffmpeg is not here
    config.write_text(config.read_text().replace("  fullyParallel: true", video))
    (SUITE / ".gitignore").write_text("node_modules\n.ci-dispatch\ntest-results\nplaywright-report\n")
    no_browser = {**os.environ, "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD": "1"}
    done(
        "npm",
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        f"@jupyterlab/galata@{GALATA}",
        cwd=SUITE,
        env=no_browser,
    )
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=ci", "-c", "user.email=ci@localhost", "commit", "-qm", "suite"],
    ):
        done("git", *words, cwd=SUITE)
    (TOOLS / "ready").touch()


def environment() -> dict[str, str]:
    """Ours, with the browser of this system where the suite's Playwright looks for its own."""
    browser = chromium()
    if browser is None:
        sys.exit("There is no Chromium: apt-get install chromium-headless-shell")
    env = {**os.environ, "PLAYWRIGHT_BROWSERS_PATH": str(TOOLS / "browsers")}
    told = done("node_modules/.bin/playwright", "install", "--dry-run", "chromium-headless-shell", cwd=SUITE, env=env)
    [place] = [Path(line.split()[-1]) for line in told.splitlines() if "Install location" in line and "shell" in line]
    program = place / "chrome-headless-shell-linux64" / "chrome-headless-shell"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.unlink(missing_ok=True)
    program.symlink_to(browser)
    for stamp in ("INSTALLATION_COMPLETE", "DEPENDENCIES_VALIDATED"):
        (place / stamp).touch()
    return env


@contextmanager
def server(folder: Path) -> Iterator[None]:
    """JupyterLab with an empty root folder, stopped with all that it started."""
    if answers():
        sys.exit(f"Something answers at {SERVER} already, and the suite knows no other address: stop it first")
    env = {**os.environ, "JUPYTERLAB_GALATA_ROOT_DIR": str(folder), "HOME": str(folder)}
    config = SUITE / "jupyter_server_test_config.py"
    argv = [str(TOOLS / "env/bin/jupyter"), "lab", "--config", str(config), "--allow-root", "--LabApp.dev_mode=False"]
    with (folder.parent / "server.log").open("w") as log:
        process = subprocess.Popen(argv, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not answers():
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"JupyterLab did not start:\n{Path(log.name).read_text()[-2000:]}")
                time.sleep(0.5)
            yield
            if process.poll() is not None:  # else all that failed for it would be called unsteady
                sys.exit(f"JupyterLab ended before the suite did:\n{Path(log.name).read_text()[-2000:]}")
        finally:
            with suppress(ProcessLookupError):  # it ended by itself, and nothing is left of it
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(END_SECONDS)


def answers() -> bool:
    try:
        with urllib.request.urlopen(SERVER, timeout=5):
            return True
    except OSError:
        return False


def by_playwright(folder: Path, arguments: list[str], env: Mapping[str, str]) -> Verdicts:
    report = folder / "plain.xml"
    reporter = {**env, "PLAYWRIGHT_JUNIT_OUTPUT_FILE": str(report)}
    argv = ["node_modules/.bin/playwright", "test", "--reporter", "junit", "--workers", str(os.cpu_count()), *arguments]
    report.unlink(missing_ok=True)  # an earlier one is no answer
    ended = run(*argv, cwd=SUITE, env=reporter, seconds=SUITE_SECONDS)
    if not report.exists():
        sys.exit(f"Playwright ended with {ended.returncode} and left no report:\n{ended.stdout}\n{ended.stderr}")
    return verdicts(report)


def by_ci_dispatch(ci_dispatch: Path, arguments: list[str], env: Mapping[str, str]) -> Verdicts:
    runs = SUITE / ".ci-dispatch" / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    path = {**env, "PATH": f"{SUITE / 'node_modules/.bin'}:{env['PATH']}"}
    ended = run(ci_dispatch, "run", "--progress", "none", "--", *arguments, cwd=SUITE, env=path, seconds=SUITE_SECONDS)
    print(ended.stdout)
    reports = list(runs.glob("*/merged.xml"))
    if len(reports) != 1:
        sys.exit(f"ci-dispatch ended with {ended.returncode} and left {len(reports)} reports:\n{ended.stderr}")
    return verdicts(reports[0])


def differences(first: Verdicts, second: Verdicts, ours: Verdicts) -> list[str]:
    """One line each: a test that only one side knows, or a steady one whose verdict is another."""
    lines = [f"only Playwright alone: {' > '.join(key)}" for key in sorted(first.keys() - ours.keys())]
    lines += [f"only ci-dispatch: {' > '.join(key)}" for key in sorted(ours.keys() - first.keys())]
    for key in sorted(first.keys() & ours.keys()):
        if first[key] == second.get(key) != ours[key]:
            lines.append(f"{first[key]} alone, {ours[key]} by ci-dispatch: {' > '.join(key)}")
    return lines


def main(arguments: list[str]) -> int:
    install()
    env = environment()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        ci_dispatch = installed(folder)
        (folder / "root").mkdir()
        with server(folder / "root"):
            first = by_playwright(folder, arguments, env)
            ours = by_ci_dispatch(ci_dispatch, arguments, env)
            second = by_playwright(folder, arguments, env)
    for name, found in (("Playwright alone", first), ("again", second), ("ci-dispatch", ours)):
        print(f"{name}: {len(found)} tests, {dict(sorted(Counter(found.values()).items()))}")
    print(f"{sum(first[key] != second.get(key) for key in first)} unsteady on their own")
    lines = differences(first, second, ours)
    print("\n".join(lines[:SHOWN]))
    if len(lines) > SHOWN:
        print(f"and {len(lines) - SHOWN} more")
    return 1 if lines or not first else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:] or ["--project", "galata"]))
    except subprocess.TimeoutExpired as late:
        sys.exit(str(late))
