"""pylibevent beside its peers, under the same load, in one run: ``python -m benchmarks``."""
