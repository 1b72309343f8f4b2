"""What runs the work: threads or processes of this machine, or the workers of a Dask scheduler."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import site
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection

import config
from config import GlacierError
from glacier.texts import reason_of

THREADS = "threads"  # the executor that needs no scheduler
SCHEDULER_TIMEOUT = 20  # seconds
PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal a process gets when its parent ends


def scenes_at_once(workers: int) -> int:
    """Return how many scenes one process works on, so that its threads (`workers`) always have files to read."""
    return 3 + workers // 8


@contextmanager
def threads(count: int) -> Iterator[Executor]:
    """Give threads of this process; when it is stopped, those that wait for work never begin it."""
    pool = ThreadPoolExecutor(count)
    finished = False
    try:
        yield pool
        finished = True
    finally:
        pool.shutdown(wait=finished, cancel_futures=not finished)


@contextmanager
def processes(count: int, initializer: Callable[[], None] | None = None) -> Iterator[Executor]:
    """Give worker processes that end with this one, however it ends: they watch a pipe that only this one holds open.

    initializer : called in each of them first. Meanwhile OpenCV works on one thread here: a process that is forked from
    one with more waits for ever for threads that it does not have.
    """
    import cv2

    threads_here = cv2.getNumThreads()
    cv2.setNumThreads(1)
    reader, writer = multiprocessing.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        count, initializer=start_worker, initargs=(reader, writer, initializer)
    )
    finished = False
    try:
        yield pool
        finished = True
    finally:
        pool.shutdown(wait=finished, cancel_futures=not finished)
        writer.close()
        reader.close()
        cv2.setNumThreads(threads_here)


def start_worker(
    reader: Connection, writer: Connection, initializer: Callable[[], None] | None
) -> None:
    """Make a worker process end when its parent ends, and leave Ctrl-C to the parent."""
    writer.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=end_with, args=(reader,), daemon=True).start()
    if initializer is not None:
        initializer()


def end_with(reader: Connection) -> None:
    """Wait until the other end of a pipe is closed, then end this process."""
    try:
        reader.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


@contextmanager
def workplace(executor: str, workers: int) -> Iterator[tuple[Executor, int]]:
    """Give what runs the scenes, threads here or the workers of a Dask scheduler, and how many scenes it takes at once.

    executor : threads, or the address of a scheduler. Dask's workers and scheduler have the same packages and see this
    folder and the glacier's (a shared disk): they import from the one and write the scenes into the other.
    """
    if executor == THREADS:
        with threads(scenes_at_once(workers)) as pool:
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
            f"no Dask scheduler at executor {executor} ({reason_of(error)}); "
            "give its address, as tcp://10.0.0.5:8786, or threads"
        ) from error
    project = str(config.ROOT)

    # in here, so that it travels by value; workers that start later get it too
    class FindProject(WorkerPlugin):
        def setup(self, worker):
            site.addsitedir(project)

    with client:
        slots = sum(client.nthreads().values())
        if not slots:
            raise GlacierError(
                f"the Dask scheduler {executor} has no workers; start: dask worker {executor}"
            )
        client.run_on_scheduler(site.addsitedir, project)
        client.register_plugin(FindProject())
        yield client.get_executor(), slots
