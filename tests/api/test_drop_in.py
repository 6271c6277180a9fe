"""Programs that say ``import ray``, run as they are."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).resolve().parents[2]


def run(tmp_path: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, *(words or ("-m", "ray_on_dask", str(program), "one", "two"))],
        capture_output=True, text=True, timeout=90, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PROGRAM": str(program)}, check=False,
    )  # fmt: skip


def test_a_program_for_ray_runs_unchanged(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import sys
        import time

        import ray
        import ray.util.queue
        from ray.exceptions import RayTaskError
        from ray.util.actor_pool import ActorPool
        from ray.util.queue import Empty, Queue

        assert sys.argv[1:] == ["one", "two"] and __name__ == "__main__"
        ray.init(num_cpus=2, include_dashboard=False)

        @ray.remote
        def produce(queue, n):
            import ray.exceptions

            assert ray.exceptions.RayTaskError is RayTaskError
            for i in range(n):
                queue.put(i)
            return ray.get(ray.put(n))

        @ray.remote
        class Doubler:
            def double(self, x):
                return 2 * x

        queue = Queue()
        assert ray.get(produce.remote(queue, 3)) == 3
        assert [queue.get() for _ in range(3)] == [0, 1, 2]
        try:
            queue.get(block=False)
        except Empty:
            print("empty")
        pool = ActorPool([Doubler.remote() for _ in range(2)])
        print(list(pool.map(lambda actor, x: actor.double.remote(x), range(4))))

        start = time.time()
        never = produce.options(num_cpus=9).remote(queue, 1)
        assert ray.wait([never], timeout=1) == ([], [never])
        assert time.time() - start > 0.9, "an int is seconds"
        for call in (lambda: ray.wait([never], 1), lambda: ray.get(never, 1)):
            try:
                call()
            except TypeError:
                print("by name")
        ray.cancel(never)
        print(ray.__version__, ray.util.queue.__name__)
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "empty", "[0, 2, 4, 6]", "by name", "by name", "2.60.0 ray_on_dask.util.queue",
    ]  # fmt: skip


def test_failures_are_told_of_when_nobody_has_fetched_them(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import time
        import ray

        ray.init(num_cpus=1, include_dashboard=False)

        @ray.remote
        def fails(word):
            raise ValueError(word)

        fetched = fails.remote("was fetched")
        try:
            ray.get(fetched)
        except ValueError:
            pass
        kept = fails.remote("is kept")
        dropped = fails.remote("was dropped")
        ray.wait([kept, dropped], num_returns=2)
        del fetched, dropped
        fails.remote("was never kept")
        time.sleep(1)
        """,
    )
    assert done.returncode == 0, done.stderr
    assert "ValueError: was dropped" in done.stderr
    assert "ValueError: was never kept" in done.stderr
    assert "was fetched" not in done.stderr and "is kept" not in done.stderr
    assert done.stderr.count("Unhandled error") == 2


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import ray

        for name in ("ray.data", "ray.train.torch", "ray.nowhere"):
            try:
                __import__(name)
            except ModuleNotFoundError as error:
                print(error)
        try:
            ray.nothing
        except AttributeError as error:
            print(error)
        raise SystemExit(7)
        """,
    )
    assert done.returncode == 7
    data, train, nowhere, attribute = done.stdout.splitlines()
    assert "none of its libraries" in data and "none of its libraries" in train
    assert "ray.nowhere" in nowhere and attribute == "module 'ray' has no attribute 'nothing'"


def test_a_program_installs_the_name_itself(tmp_path: Path) -> None:
    done = run(
        tmp_path, "", "-c",
        "from ray_on_dask.drop_in import install_as_ray\n"
        "ray = install_as_ray()\n"
        "import ray as again, ray_on_dask\n"
        "assert again is ray and ray.remote is ray_on_dask.remote\n"
        "assert ray_on_dask.util.__spec__.name == 'ray_on_dask.util'\n"
        "import ray.util\n"
        "assert ray.util is ray_on_dask.util\n"
        "assert ray_on_dask.util.__spec__.name == 'ray_on_dask.util'\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_module_runs_by_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text("import ray, sys; print(ray.__name__, sys.argv[1:])")
    done = run(tmp_path, "", "-m", "ray_on_dask.cli", "run", "-m", "part", "--word", "x")
    assert done.stdout == "ray ['--word', 'x']\n", done.stderr
    missing = run(tmp_path, "", "-m", "ray_on_dask.cli", "run", "nowhere.py")
    assert missing.returncode == 1 and "can't open file 'nowhere.py'" in missing.stderr


@pytest.mark.slow
def test_a_program_may_come_from_stdin(tmp_path: Path) -> None:
    text = """
import ray, sys
@ray.remote
def double(x):
    return 2 * x
ray.init(num_cpus=1, include_dashboard=False)
print(ray.get(double.remote(4)), sys.argv, __name__)
sys.exit(3)
"""
    command = [sys.executable, "-m", "ray_on_dask", "-", "a"]
    ran = subprocess.run(command, input=text, cwd=tmp_path, capture_output=True, text=True)
    assert (ran.stdout, ran.returncode) == ("8 ['-', 'a'] __main__\n", 3), ran.stderr


def test_conformance_tests_pass_under_the_name(tmp_path: Path) -> None:
    """Files that pass under Ray itself, with `ray` the module that they import."""
    done = subprocess.run(
        [sys.executable, "-c", "from ray_on_dask.drop_in import install_as_ray\n"
         "install_as_ray()\nimport pytest, sys\n"
         "sys.exit(pytest.main(sys.argv[1:]))",
         "-q", "-x", "-p", "no:cacheprovider",
         "tests/conformance/test_get_put_wait.py", "tests/conformance/test_refs.py"],
        capture_output=True, text=True, timeout=110, cwd=ROOT,
        env={**os.environ, "CONFORMANCE_MODULE": "ray"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
