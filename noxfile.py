"""The tests and checks of a change: `nox -l` lists the sessions, `nox -s NAME` runs one, plain `nox` the unit tests."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tarfile import TarFile
from threading import Thread
from zipfile import ZipFile

import nox

nox.needs_version = ">=2026.10.20"
nox.options.sessions = ["unit"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False  # a machine may lack some of them
os.environ["UV_PYTHON_DOWNLOADS"] = "never"

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
OTHERS = [python for python in PYTHONS if python != f"{sys.version_info.major}.{sys.version_info.minor}"]
ELSEWHERE = ["oldest", *(f"portable-{python}" for python in OTHERS)]
"""The sessions that need `wheel`, which nox itself runs only for sessions that the command line names."""

CORES = len(os.sched_getaffinity(0))
PYTEST = ("python", "-m", "pytest", "-n")
WAITING, BUSY = str(4 * CORES), str(2 * CORES)
"""The processes for tests that mostly wait, and for those that don't; each takes a core for 4 s to import the tests."""

FEW = {"TEST_EXAMPLES": "few", "DIAGNOSE_RUNS": "1"}
"""The variables of runs that repeat elsewhere what `readme` or `coverage` has tried more often."""

UNIT = "not system and not twisteds and not image"
PORTABLE = f"({UNIT}) or portable"
EVERYTHING = "not image"


@nox.session
def unit(session: nox.Session) -> None:
    """Run the unit tests, or those that the arguments name."""
    session.install("-e", ".[test]")
    session.run(*PYTEST, BUSY, "-m", UNIT, *session.posargs)


@nox.session
def system(session: nox.Session) -> None:
    """Run the tests of the real commands, with real peers, and Twisted's own reactor tests."""
    session.install("-e", ".[test]")
    session.run(*PYTEST, WAITING, "-m", "system or twisteds", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, style, spelling, scripts, types and import directions, and that the changelog builds."""
    session.install("-e", ".[test]", *_group("lint"), *_group("bench"))
    session.run("pre-commit", "run", "--all-files", "--show-diff-on-failure")
    session.run("mypy")
    session.run("lint-imports")
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)


@nox.session
def trial(session: nox.Session) -> None:
    """Run the unit tests under Twisted's own runner."""
    session.install("-e", ".[test]")
    seed = os.environ.get("TEST_SEED", str(secrets.randbits(32)))
    session.log(f"random input: TEST_SEED={seed}")
    session.run(
        "python",
        "-m",
        "twisted.trial",
        "-j",
        str(CORES),
        f"--temp-directory={_folder(session, 'trial')}/temp",
        "tests",
        env={"TEST_SEED": seed, **FEW},
    )


@nox.session
def neighbours(session: nox.Session) -> None:
    """Run treq's and klein's own tests on uvloop, and fetch a page with Scrapy."""
    session.install("-e", ".", *_group("neighbours"))
    folder = f"--temp-directory={_folder(session, 'others')}/temp"
    session.run("trial", "--reactor=uvloop", "--reporter=text", folder, "treq", "klein")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory="docs")) as site:
        Thread(target=site.serve_forever, daemon=True).start()
        reactor = "TWISTED_REACTOR=echoup.reactor.uvloopreactor.UvloopReactor"
        page = session.run(
            "scrapy", "fetch", "--nolog", "-s", reactor, f"http://127.0.0.1:{site.server_port}/reactor.md", silent=True
        )
        site.shutdown()
    if Path("docs/reactor.md").read_text() not in str(page):
        session.error(f"Scrapy fetched {page!r}")


@nox.session
def image(session: nox.Session) -> None:
    """Build the image, and run it alone and with docker/compose.yaml; needs root and podman."""
    if os.geteuid():
        session.skip("building the image needs root")
    session.install("-e", ".[test]", *_group("image"))
    session.run("python", "-m", "pytest", "-m", "image", "tests/image", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the source distribution, and the wheels with and without a compiler, and check what they contain."""
    session.install("build[uv]")
    dist = str(_folder(session, "dist"))
    build = ("python", "-m", "build", "--installer", "uv", "--outdir", dist)
    session.run(*build)
    said = str(session.run(*build, "--wheel", env={"CC": "/nonexistent"}, silent=True))
    why = "built without the C accelerator (/nonexistent: No such file or directory); bytes.upper is used"
    if [line for line in said.splitlines() if "accelerator" in line] != [f"echoup: {why}"]:
        session.error(f"without a compiler, the build says {said}")
    built = ZipFile(_wheel(session))
    accelerator = "echoup/_upper.abi3.so"
    more = {*built.namelist()} ^ {*ZipFile(_wheel(session, isPure=True)).namelist()}
    if more != {accelerator} or built.getinfo(accelerator).file_size > 64 * 1024:
        session.error(f"the wheels differ in {more}")
    release = f"echoup-{PROJECT['project']['version']}"
    contents = {name.partition("/")[0] for name in built.namelist()}
    if contents != {"echoup", "twisted", f"{release}.data", f"{release}.dist-info"}:
        session.error(f"the wheel has {contents}")
    pages = {Path(name).name for name in built.namelist() if name.startswith(f"{release}.data/data/share/man/man1/")}
    if pages != {path.name for path in Path("docs/man").glob("*.1")}:
        session.error(f"the wheel has the manual pages {pages}")
    shown = built.read(f"{release}.dist-info/METADATA").decode().splitlines()
    if not {"License: MIT", "Author: The echoup contributors"} <= set(shown):
        session.error("the wheel has no author or licence that `pip show` shows")
    with TarFile.open(_wheel(session).with_name(f"{release}.tar.gz")) as source:
        needed = _tracked(":(glob)*.md", "docs", "echoup", "hatch_build.py")
        missing = {f"{release}/{name}" for name in needed} - {*source.getnames()}
    if missing:
        session.error(f"the source distribution lacks {missing}")


@nox.session(python=OTHERS, requires=["wheel"])
def portable(session: nox.Session) -> None:
    """Run the unit tests, and the system tests marked `portable`, on another Python, with a wheel.

    The newest Python has the wheel that was built without a compiler.
    """
    built = _wheel(session, isPure=session.python == OTHERS[-1])
    session.install(f"echoup[test] @ {built.as_uri()}")
    _testAway(session, PORTABLE)


@nox.session(requires=["wheel"])
def oldest(session: nox.Session) -> None:
    """Run the same tests, and Twisted's own reactor tests, with the oldest versions that pyproject.toml admits."""
    project = PROJECT["project"]
    admitted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    session.install(*(each.replace(">=", "==") for each in admitted), str(_wheel(session)))
    _testAway(session, f"{PORTABLE} or twisteds")


@nox.session(venv_backend="none")
def readme(session: nox.Session) -> None:
    """Run README.md's test command as written."""
    session.run("bash", "-euo", "pipefail", "-c", _command("tests"), external=True)


@nox.session(venv_backend="none")
def coverage(session: nox.Session) -> None:
    """Run README.md's test command on every reactor, and measure the branch coverage of all its processes."""
    data = {"COVERAGE_FILE": str(_folder(session, "coverage") / "data")}
    measuring = {
        **data,
        "COVERAGE_PROCESS_START": str(Path("pyproject.toml").resolve()),
        "TEST_REACTORS": "epoll uvloop asyncio poll select",
    }
    session.run("bash", "-euo", "pipefail", "-c", _command("tests"), external=True, env=measuring)
    for command in "combine", "report":
        session.run(".venv/bin/coverage", command, external=True, env=data)


@nox.session(venv_backend="none")
def daemon(session: nox.Session) -> None:
    """Run README.md's daemon command as written, in a copy of the checkout, and test it with the client there."""
    copy = _copy(session)
    log = copy / "log"
    command = ["bash", "-euo", "pipefail", "-c", _command("daemon")]
    with log.open("wb") as output:
        started = subprocess.Popen(command, cwd=copy, stdout=output, stderr=output, start_new_session=True)
    deadline = time.monotonic() + 600
    try:
        while "listening on 127.0.0.1:8081" not in log.read_text():
            if started.poll() is not None or time.monotonic() > deadline:
                session.error(log.read_text())
            time.sleep(0.1)
        client = [str(copy / ".venv/bin/echoup"), "connect"]
        answer = subprocess.check_output(client, input=b"hello\nworld", timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)
        started.wait(60)
    if answer != b"HELLO\nWORLD":
        session.error(f"the client printed {answer!r}")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Run the benchmarks briefly, with all peers that can be built here."""
    session.install("-e", ".", *_group("bench"))
    session.run("python", "-m", "benchmarks", "--quick")
    session.run("python", "-m", "benchmarks.ping")
    session.run("python", "-m", "benchmarks.pipe", "--rounds", "1", "--size", "16")
    session.run("python", "-m", "benchmarks.status", "200", "--rounds", "1", "--seconds", "0.2")
    session.run("python", "-m", "benchmarks.uppercase")


@nox.session(venv_backend="none")
def gate(session: nox.Session) -> None:
    """Run the sessions that every change must pass; of the other versions of Python, only the newest."""
    for name in ("readme", "lint", "trial", "wheel", "oldest", ELSEWHERE[-1], "image", "daemon"):
        session.notify(name)


@nox.session(name="all", venv_backend="none")
def everything(session: nox.Session) -> None:
    """Run all sessions, on every reactor and every Python: for a nightly run or a release."""
    os.environ.setdefault("STATUS_SESSIONS", "10000")
    os.environ.setdefault("DIAGNOSE_RUNS", "50")
    for name in ("coverage", "lint", "trial", "neighbours", "benchmarks", "wheel"):
        session.notify(name)
    for name in ELSEWHERE:
        session.notify(name, ["-m", EVERYTHING])
    for name in ("image", "daemon"):
        session.notify(name)


def _group(name: str) -> tuple[str, ...]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(PROJECT, name)


def _folder(session: nox.Session, name: str) -> Path:
    """Return an empty folder; nox's own becomes $TMPDIR, a path too long for the tests' Unix sockets."""
    folder = Path(session.cache_dir, name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _wheel(session: nox.Session, isPure: bool = False) -> Path:
    """Return the wheel that was built with a compiler, or the one without."""
    (built,) = Path(session.cache_dir, "dist").glob("*-py3-none-any.whl" if isPure else "*-cp311-abi3-*.whl")
    return built


def _copy(session: nox.Session, *without: str) -> Path:
    """Return a new copy of the files that git tracks, without the folders `without`."""
    copy = _folder(session, "copy")
    for name in _tracked():
        if not name.startswith(without):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, copy / name)
    return copy


def _tracked(*paths: str) -> list[str]:
    """Return the files that git tracks, or those of them that match one of the `paths` of git."""
    return subprocess.check_output(["git", "ls-files", "-z", *paths], text=True).split("\0")[:-1]


def _testAway(session: nox.Session, expression: str) -> None:
    """Run the tests that `expression` selects in a copy without the package, so that the installed one is tested."""
    with session.chdir(_copy(session, "echoup/", "twisted/")):
        session.run(*PYTEST, BUSY, "-m", expression, *session.posargs, env=FEW)


def _command(name: str) -> str:
    """Return the command that README.md marks with `name`."""
    (command,) = re.findall(f"<!-- run: {name} -->\n```sh\n(.+?)\n```", Path("README.md").read_text(), re.DOTALL)
    return str(command)
