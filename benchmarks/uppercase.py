"""`python -m benchmarks.uppercase`: the time of a call of `bytes.upper`, and of each variant of the accelerator."""

import sys
from statistics import median
from timeit import Timer

SIZES = (64, 160, 256, 4096, 65536)
ROUNDS = 9
SECONDS = 0.01
"""The time of a measurement, about."""


def main() -> None:
    """Print the times in ns, by size: medians of rounds in which all of them take turns."""
    try:
        from echoup import _upper
    except ImportError:
        sys.exit("benchmarks: the accelerator isn't built")
    functions = {"bytes.upper": bytes.upper, **_upper._variants}
    print(f"| bytes | {' | '.join(functions)} |\n|---:|{'---:|' * len(functions)}")
    for size in SIZES:
        data = (b"Hello, World 123" * size)[:size]
        timers = [Timer("call(data)", globals={"call": each, "data": data}) for each in functions.values()]
        calls = int(SECONDS / (timers[0].timeit(1000) / 1000))
        rounds = [[timer.timeit(calls) / calls for timer in timers] for _ in range(ROUNDS)]
        print(f"| {size} | {' | '.join(f'{median(times) * 1e9:.0f}' for times in zip(*rounds, strict=True))} |")


if __name__ == "__main__":
    main()
