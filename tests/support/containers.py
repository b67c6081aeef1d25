"""podman, with the images, containers and networks of one folder, and what is run in it."""

import fcntl
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tests.support.baseimage import makeBase
from tests.support.leftovers import MARK

CHECKOUT = Path(__file__).parents[2]
IMAGE = "echoup"
HARDENED = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
"""The image as it should be run: with nothing to write to, and no right."""
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_HAPROXY = """
FROM {base}
USER haproxy
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
"""


def missing() -> str:
    """Return what this machine lacks to build and run images, or nothing."""
    if os.geteuid():
        return "root is missing: run it as root"
    if not shutil.which("dpkg-query") or not shutil.which("unshare"):
        return "Debian is missing: the base of the images is made of its packages"
    if subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False).returncode:
        return "CAP_SYS_ADMIN is missing: a network of one's own takes it"
    for package in (CHECKOUT / ".ci/packages-image").read_text().split():
        query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
        isInstalled = subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"
        if not isInstalled and not (package == "kubernetes-client" and shutil.which("kubectl")):
            return f"{package} is missing: apt-get install {package}"
    return ""


def program(name: str) -> str | None:
    """Return the path of a program beside this Python's, or of the system's."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def run(
    *command: str | Path,
    data: bytes = b"",
    stdin: IO[bytes] | None = None,
    codes: Sequence[int] = (0,),
    environment: dict[str, str] | None = None,
) -> bytes:
    """Run a command in the checkout, and return what it prints; it has to end with one of `codes`."""
    given = subprocess.Popen(
        command,
        stdin=stdin or subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=CHECKOUT,
        env=environment,
    )
    with given as process:
        try:
            output, errors = process.communicate(None if stdin else data, timeout=600)
        except BaseException:
            process.kill()
            raise
    if process.returncode not in codes:
        tail = (output + errors)[-5000:].decode(errors="backslashreplace")
        raise AssertionError(f"{command} exits with {process.returncode}\n{tail}")
    return output


def baseOf(dockerfile: Path = CHECKOUT / "docker/Dockerfile") -> str:
    """Return the image that ours is made from."""
    return dockerfile.read_text().rpartition("\nFROM ")[2].split()[0]


def answers() -> bool:
    """Does the service on port 8081 answer?"""
    with suppress(OSError), socket.create_connection(("127.0.0.1", 8081), 2) as connection:
        connection.sendall(b"hello")
        return connection.recv(5) == b"HELLO"
    return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until nobody else uses the folder, and have it alone."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Podman:
    """podman, with all that it makes in one folder.

    It pulls no image. It runs runc, because crun refuses mixed versions of control groups, with limits no higher than
    this process's own, because that takes CAP_SYS_RESOURCE. Health checks run when they are asked for: to repeat them
    podman needs systemd.
    """

    def __init__(self, folder: Path) -> None:
        """Configure it."""
        self.folder = folder
        self.seconds: dict[str, float] = {}
        """How long each image took that had to be built."""
        files, processes = (resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
        numbers = int(Path("/proc/sys/kernel/pid_max").read_text())
        limits = {
            "nofile": files if files > 0 else 2**20,
            "nproc": min(processes, numbers) if processes > 0 else numbers,
        }
        contents = {
            "storage": f"""
                [storage]
                driver = "overlay"
                graphroot = "{folder}/storage"
                runroot = "{folder}/run"
                """,
            "registries": "unqualified-search-registries = []",
            "containers": f"""
                [containers]
                default_ulimits = {[f"{name}={limit}:{limit}" for name, limit in limits.items()]}
                netns = "host"
                [engine]
                cgroup_manager = "cgroupfs"
                events_logger = "file"
                runtime = "runc"
                tmp_dir = "{folder}/state"
                [network]
                network_backend = "netavark"
                network_config_dir = "{folder}/networks"
                """,
        }
        for name, content in contents.items():
            (folder / f"{name}.conf").write_text(content)
        for name in ("run", "state"):
            # What an interrupted run has left there, podman would believe.
            shutil.rmtree(folder / name, ignore_errors=True)
        self.environment = {
            **os.environ,
            "BUILDAH_FORMAT": "docker",  # the other one has no health check
            "CONTAINERS_CONF": f"{folder}/containers.conf",
            "CONTAINERS_REGISTRIES_CONF": f"{folder}/registries.conf",
            "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
            "DISABLE_HC_SYSTEMD": "true",
        }

    def raw(
        self, *arguments: str | Path, data: bytes = b"", stdin: IO[bytes] | None = None, codes: Sequence[int] = (0,)
    ) -> bytes:
        """Run podman, and return what it prints, as it is."""
        return run("podman", *arguments, data=data, stdin=stdin, codes=codes, environment=self.environment)

    def __call__(
        self, *arguments: str | Path, data: bytes = b"", stdin: IO[bytes] | None = None, codes: Sequence[int] = (0,)
    ) -> str:
        """Run podman, and return what it prints, without blanks around it."""
        return self.raw(*arguments, data=data, stdin=stdin, codes=codes).decode(errors="backslashreplace").strip()

    def compose(self, *arguments: str) -> None:
        """Run a command of docker/compose.yaml."""
        run(
            program("podman-compose") or "podman-compose",
            "-f",
            "docker/compose.yaml",
            *arguments,
            environment=self.environment,
        )

    # Images.

    def build(self) -> None:
        """Build the image as the README does, and what docker/compose.yaml needs beside it."""
        base = baseOf()
        if not self.has(base):
            with self._measured(base):
                makeBase(self, base, self.folder)
        proxy = re.findall(r"image: (haproxy\S*)", (CHECKOUT / "docker/compose.yaml").read_text())[0]
        self("build", "-q", "--pull=never", "-t", proxy, "-", data=_HAPROXY.format(base=base).encode())
        # What pip has to trust on this machine; it stays out of the image.
        trusted = ["-v", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"] if Path(_CERTIFICATES).exists() else []
        with self._measured(IMAGE):
            self("build", "--pull=never", "--network=host", *trusted, "-f", "docker/Dockerfile", "-t", IMAGE, ".")

    def has(self, image: str) -> bool:
        """Is there an image of that name?"""
        return image in self("images", "--format={{.Repository}}:{{.Tag}}").replace("localhost/", "").split()

    @contextmanager
    def _measured(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began

    # Containers.

    @contextmanager
    def ending(self) -> Iterator[None]:
        """End all containers afterwards, also when this process is killed meanwhile."""
        environment = {name: value for name, value in self.environment.items() if name != MARK}
        command = "cat; podman rm --force --all --time=0"
        # Its input ends with this process, or here.
        with subprocess.Popen(
            ["sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        ) as guard:
            yield
        assert guard.returncode == 0

    @contextmanager
    def container(self, *arguments: str) -> Iterator[str]:
        """Run the image as it should be run, on the network that there is, and return the container's name."""
        assert not answers(), "another one answers there"
        name = self("run", "-d", "--pull=never", "--network=host", *HARDENED, *arguments, IMAGE)
        try:
            yield name
        finally:
            self("rm", "-f", "-t", "0", name)

    def client(
        self, *arguments: str, options: Sequence[str] = (), data: bytes = b"", codes: Sequence[int] = (0,)
    ) -> bytes:
        """Run the client that is in the image, and return what it prints."""
        command = ["--rm", "-i", "--pull=never", "--network=host", *HARDENED, *options, IMAGE, "echoup", *arguments]
        return self.raw("run", *command, data=data, codes=codes)

    def exitCode(self, name: str) -> int:
        """Wait for the end of a container, and return its exit code."""
        return int(self("wait", name))
