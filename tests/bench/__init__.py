"""How fast the platform is on this machine: `make bench`, or `python -m tests.bench --quick`.

It measures the product as it runs: embedded servers of its own under var/bench (fsync on),
workers, web and sandbox as processes, everything on loopback. Method and figures:
docs/benchmarks.md. No test: nothing here is collected, and no figure fails a build.
"""
