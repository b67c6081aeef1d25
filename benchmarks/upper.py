"""`python -m benchmarks.upper`: what `echoup.upper.upper` costs beside its two ways of doing it, by size."""

from functools import partial
from timeit import repeat

from echoup.upper import translate, upper

_TABLE = bytes(range(256)).upper()


def main() -> None:
    """Print nanoseconds a call, the least of five rounds, and how much of `bytes.upper` that is."""
    print(f"table: {translate.__module__}.{translate.__name__}")
    print("| bytes | bytes.upper | table | upper() | upper() / bytes.upper |\n|---:|---:|---:|---:|---:|")
    for size in (16, 64, 96, 112, 128, 144, 160, 256, 1024, 4096, 65536, 2**20):
        data = (bytes(range(256)) * (size // 256 + 1))[:size]
        calls = max(20, min(200_000, 20_000_000 // size))
        plain, table, ours = (
            min(repeat(call, number=calls)) / calls * 1e9
            for call in (data.upper, partial(translate, data, _TABLE), partial(upper, data))
        )
        print(f"| {size} | {plain:.0f} | {table:.0f} | {ours:.0f} | {ours / plain:.2f} |")


if __name__ == "__main__":
    main()
