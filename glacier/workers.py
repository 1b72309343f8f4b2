"""What runs the work: threads of this machine, or the workers of a Dask scheduler."""

from __future__ import annotations

import site
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import config
from config import GlacierError
from glacier.satellites import signing

THREADS = "threads"  # the executor that needs no scheduler
SCHEDULER_TIMEOUT = 20  # seconds


def scenes_at_once(workers: int) -> int:
    """Return how many scenes one process works on, so that its threads (`workers`) always have files to read."""
    return 3 + workers // 8


@contextmanager
def workplace(executor: str, workers: int) -> Iterator[tuple[Executor, int]]:
    """Give what runs the scenes, threads here or the workers of a Dask scheduler, and how many scenes it takes at once.

    executor : threads, or the address of a scheduler. Dask's workers and scheduler have the same packages and see this
    folder and the glacier's (a shared disk): they import from the one and write the scenes into the other.
    """
    if executor == THREADS:
        with ThreadPoolExecutor(scenes_at_once(workers)) as pool:
            yield pool, scenes_at_once(workers)
        return
    try:
        from distributed import Client, WorkerPlugin

        client = Client(executor, timeout=SCHEDULER_TIMEOUT, set_as_default=False)
    except ImportError as error:
        raise GlacierError(
            "executor other than threads needs Dask: pip install -r requirements-cluster.txt"
        ) from error
    except (OSError, ValueError) as error:
        raise GlacierError(
            f"no Dask scheduler at executor {executor} ({signing.reason_of(error)}); "
            "give its address, as tcp://10.0.0.5:8786, or threads"
        ) from error
    project = str(config.ROOT)

    # in here, so that it travels by value; workers that start later get it too
    class FindProject(WorkerPlugin):
        def setup(self, worker):
            site.addsitedir(project)

    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise GlacierError(
                f"the Dask scheduler {executor} has no workers; start: dask worker {executor}"
            )
        client.run_on_scheduler(site.addsitedir, project)
        client.register_plugin(FindProject())
        yield client.get_executor(), threads
