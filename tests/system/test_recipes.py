"""What the docs tell an operator to run, run as it is written."""

import json
import os
import re
import shutil
import site
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import echoup
import twisted
from tests.support.commands import COMMANDS, unmeasured
from tests.support.daemon import Daemon
from tests.support.ending import ending
from tests.support.peers import need
from tests.support.waiting import eventually
from twisted.plugins import echoup_plugin

CHECKOUT = Path(__file__).parents[2]
AS_ANOTHER_USER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
AS_ANOTHER_USER += [f"--{kind}=-all,+dac_read_search" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
"""Runs a command as a user that can read every file, because the folders above may be closed, and write none."""


def recipe(page: str, heading: str) -> list[str]:
    """Return the commands of the first indented block below a heading of a page of docs/."""
    _, section = re.split(f"^#+ {heading}$", (CHECKOUT / "docs" / page).read_text(), flags=re.MULTILINE)
    block = re.findall(r"(?:^ {4}.*\n)+", section, re.MULTILINE)[0]
    return re.sub(r"\\\n *", "", block).replace("\n    ", "\n").strip().split("\n")


def install(folder: Path) -> None:
    """Make a virtual environment with echoup and its dependencies, as `pip install .` does with a network.

    Twisted and echoup are copies, so that the cache of Twisted's plugins is this environment's.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    (packages,) = folder.glob("lib/python*/site-packages")
    shutil.copytree(Path(twisted.__file__).parent, packages / "twisted", ignore=shutil.ignore_patterns("dropin.cache"))
    shutil.copytree(Path(echoup.__file__).parent, packages / "echoup")
    shutil.copy(echoup_plugin.__file__, packages / "twisted/plugins")
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()))
    script = folder / "bin" / "twistd"
    script.write_text(f"#!{folder}/bin/python\nfrom twisted.scripts.twistd import run\nrun()\n")
    script.chmod(0o755)


def test_hostWithoutContainersLogsNoError(tmp_path: Path) -> None:
    """A daemon that is installed by root, and run by a user that can't write there, logs neither error nor warning."""
    if os.geteuid() != 0:
        pytest.skip("only root can run a command as another user")
    possible = subprocess.run([*AS_ANOTHER_USER, "true"], capture_output=True, text=True, timeout=60, check=False)
    if possible.returncode:
        pytest.skip(f"no command can be run as another user: {possible.stderr}")
    first, *others = recipe("deploying.md", "A host without containers")
    assert first == "python3 -m venv /opt/echoup && /opt/echoup/bin/pip install ."
    install(tmp_path)
    for command in others:
        if "/bin/twistd" in command:
            here = command.replace("/opt/echoup", str(tmp_path))
            subprocess.run(["sh", "-c", here], check=True, timeout=60, env=unmeasured())
    unit = (CHECKOUT / "docs/systemd/echoup.service").read_text()
    (start,) = re.findall("^ExecStart=(.+) echoup$", unit, re.MULTILINE)
    runner = [*AS_ANOTHER_USER, *start.replace("/opt/echoup", str(tmp_path)).split()]
    with Daemon.start(tmp_path, command=runner, environment={"PYTHONDONTWRITEBYTECODE": "1"}) as daemon:
        assert daemon.address.echo(b"hello") == b"HELLO"
        daemon.stop()
        assert not re.search("warn|error|unable|traceback", daemon.text, re.IGNORECASE), daemon.text


def test_madeCertificateServesTLS(tmp_path: Path) -> None:
    """The certificate that docs/transports.md makes serves TLS, and its client, which may show the same certificate."""
    need("openssl", "openssl")
    make, *serve = recipe("transports.md", "TLS")
    subprocess.run(["sh", "-c", make], check=True, timeout=60, cwd=tmp_path, capture_output=True)
    for daemonCommand, clientCommand in serve, recipe("transports.md", "Client certificates"):
        options, arguments = (
            re.sub("(cert|key).pem", rf"{tmp_path}/\1.pem", command.removeprefix(name)).split()
            for command, name in ((daemonCommand, "twistd -n echoup "), (clientCommand, "echoup "))
        )
        options[options.index("tls:8443")] = "tls:127.0.0.1:0"
        with Daemon.start(tmp_path, *options, listen=()) as daemon:
            target = [argument.replace("8443", str(daemon.address.address[1])) for argument in arguments]
            done = subprocess.run([COMMANDS / "echoup", *target], capture_output=True, timeout=60, check=True)
            assert b"3 sent, 3 answered" in done.stdout


def test_jsonEventHasTheFieldsOfTheLine(tmp_path: Path) -> None:
    """The event of a connection has its fields as members, those of the PROXY header too."""
    log = tmp_path / "log"
    command = [str(COMMANDS / "twist"), "--log-format=json", "echoup", "--log-connections", "--listen=127.0.0.1:0"]

    def events(member: str) -> list[dict[str, Any]]:
        lines = [line.lstrip("\x1e") for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [event for event in map(json.loads, lines) if member in event]

    with log.open("wb") as output, ending(subprocess.Popen([*command, "--proxy-from=127.0.0.1"], stdout=output)):
        listening, *_ = eventually(lambda: events("address"))
        probe = [str(COMMANDS / "echoup"), "ping", "-c1", "--proxy-protocol=v2", listening["address"]]
        subprocess.run(probe, check=True, timeout=60, capture_output=True)
        (event,) = eventually(lambda: events("peer"))
    assert event["peer"].startswith("127.0.0.1:")
    assert (event["bytes"], event["reason"]) == (56, "done")
    assert event["seconds"] >= 0
    assert event["via"].startswith("127.0.0.1:")
