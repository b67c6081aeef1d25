"""The tests; they mirror the package, and tests/system/ runs it for real."""
