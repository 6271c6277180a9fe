"""The benchmark suite: each workload once, against the Ray API, run on several modules in turn."""
