"""Make one check of `echoup diagnose` for several targets at the same time, in one process.

`python -m tests.support.parallelchecks SCOPE NAME TARGET…` prints what each found; SCOPE is JSON, its fields.
"""

import json
import subprocess
import sys
from typing import Any


def check(name: str, *targets: str, **scope: float) -> list[dict[str, Any]]:
    """Return what the check `name` finds for each of `targets`, in their order, made with the fields of `scope`.

    Each is an object with the members of a check in the JSON report, without its seconds.
    """
    command = [sys.executable, "-m", __name__, json.dumps(scope), name, *targets]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert not done.stderr, done.stderr
    return [*json.loads(done.stdout)]


def _main(fields: str, name: str, *descriptions: str) -> None:
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred, gatherResults

    from echoup.client.diagnose.checklist import STAGES
    from echoup.client.diagnose.pathundertest import PathUnderTest
    from echoup.client.diagnose.scope import Scope
    from echoup.client.run import run
    from echoup.client.target.parse import parseTarget

    (make,) = (each.make for stage in STAGES for each in stage if each.name == name)
    found: list[dict[str, Any]] = []

    async def one(path: PathUnderTest) -> dict[str, Any]:
        try:
            finding = await make(path, lambda words: None)  # noqa: ARG005  # nobody is told
        finally:
            await path.close()
        problems = [
            {"status": each.status.value, "cause": each.cause, "text": each.text, "seen": each.seen}
            for each in finding.problems
        ]
        return {
            "name": name,
            "status": finding.status.value,
            "summary": finding.summary,
            "figures": finding.figures,
            "problems": problems,
        }

    async def all_(reactor: Any) -> None:
        paths = [PathUnderTest(reactor, parseTarget(each), Scope(**json.loads(fields))) for each in descriptions]
        found.extend(await gatherResults([Deferred.fromCoroutine(one(path)) for path in paths]))

    run(reactor, all_)
    print(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:])
