"""What runs the work: threads of this machine, or the workers of a Dask scheduler."""

from __future__ import annotations

import site
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import config
from config import Config, GlacierError
from glacier.satellites import signing

SCHEDULER_TIMEOUT = 20  # seconds


def scenes_at_once(cfg: Config) -> int:
    """Return how many scenes one process works on, so that its `workers` always have files to read."""
    return 3 + cfg.workers // 8


@contextmanager
def workplace(cfg: Config) -> Iterator[tuple[Executor, int]]:
    """Give what runs the scenes, threads here or the workers of a Dask scheduler, and how many scenes it takes at once.

    Dask's workers and scheduler have the same packages and see this folder and the glacier's (a shared disk): they
    import from the one and write the scenes into the other.
    """
    if cfg.executor == Config.executor:
        with ThreadPoolExecutor(scenes_at_once(cfg)) as pool:
            yield pool, scenes_at_once(cfg)
        return
    try:
        from distributed import Client, WorkerPlugin

        client = Client(cfg.executor, timeout=SCHEDULER_TIMEOUT, set_as_default=False)
    except ImportError as error:
        raise GlacierError(
            "executor other than threads needs Dask: pip install -r requirements-cluster.txt"
        ) from error
    except (OSError, ValueError) as error:
        raise GlacierError(
            f"no Dask scheduler at executor {cfg.executor} ({signing.reason_of(error)}); "
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
                f"the Dask scheduler {cfg.executor} has no workers; start: dask worker {cfg.executor}"
            )
        client.run_on_scheduler(site.addsitedir, project)
        client.register_plugin(FindProject())
        yield client.get_executor(), threads
