"""A job's folders on other hosts, after the driver's host has lost them."""

import os
import pathlib
import shutil
import sys
import tempfile
import time

import ray_on_dask as ray

top = pathlib.Path(tempfile.mkdtemp())
(top / "work").mkdir()
(top / "work" / "module_that_travels.py").write_text("answer = 42\n")
(top / "work" / "data").write_bytes(os.urandom(3 << 20))
(top / "package_that_travels").mkdir()
(top / "package_that_travels" / "__init__.py").write_text("answer = 43\n")
modules = [str(top / "package_that_travels")]
ray.init(sys.argv[1], runtime_env={"working_dir": str(top / "work"), "py_modules": modules})
shutil.rmtree(top)
others = sys.argv[2:]
while not set(others) <= set(ray.cluster_resources()):
    time.sleep(0.05)


@ray.remote
def look():
    import module_that_travels
    import package_that_travels

    size = os.path.getsize("data")
    return module_that_travels.answer, package_that_travels.answer, size, os.getcwd()


found = ray.get([look.options(resources={host: 0.01}).remote() for host in others], timeout=60)
assert [x[:3] for x in found] == [(42, 43, 3 << 20)] * len(others), found
assert len({x[3] for x in found}) == len(others), found
print("done")
