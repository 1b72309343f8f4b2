"""A real STAC API on loopback: stac-fastapi with pgstac on a PostgreSQL of its own, thrown away afterwards."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path


def programs() -> Path | None:
    """Return the folder of the newest PostgreSQL on this machine."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3])
    )
    return found[-1].parent if found else None


def why_not() -> str | None:
    """Return why the API cannot be started here, None if it can."""
    if programs() is None:
        return "PostgreSQL is not installed"
    version = programs().parts[-2]
    if not Path(f"/usr/share/postgresql/{version}/extension/postgis.control").is_file():
        return f"PostGIS is not installed: apt-get install postgresql-{version}-postgis-3"
    missing = [
        name for name in ("stac_fastapi.pgstac", "pypgstac", "uvicorn") if not has_module(name)
    ]
    return f"{', '.join(missing)} not installed: requirements-test.txt" if missing else None


def has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[dict[str, str]]:
    """Run an empty PostgreSQL in `folder`; give the environment that finds it."""
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder.mkdir()
    if as_user:
        shutil.chown(folder, "postgres")
    port, data = free_port(), str(folder / "data")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run(
        [*as_user, programs() / "initdb", "-D", data, "-A", "trust", "-U", "postgres"], **quiet
    )
    subprocess.run(
        [
            *as_user,
            programs() / "pg_ctl",
            "-D",
            data,
            "-o",
            options,
            "-l",
            folder / "log",
            "-w",
            "start",
        ],
        **quiet,
    )
    try:
        yield {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(port),
            "PGUSER": "postgres",
            "PGDATABASE": "postgres",
            "PGPASSWORD": "none",
        }
    finally:
        subprocess.run(
            [*as_user, programs() / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **quiet
        )


@contextlib.contextmanager
def stac_api(folder: Path, collections: list[dict], items: list[dict]) -> Iterator[str]:
    """Serve collections and items (STAC dictionaries) as a STAC API; give its address."""
    # the folder above may be readable by its owner only, so the database gets one directly below /tmp
    place = Path("/tmp") / f"pgstac-{os.getpid()}-{free_port()}"
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        environment = os.environ | stack.enter_context(postgres(place))
        loader = [str(Path(sys.executable).parent / "pypgstac")]
        subprocess.run([*loader, "migrate"], check=True, env=environment, stdout=subprocess.DEVNULL)
        for kind, content in (("collections", collections), ("items", items)):
            path = folder / f"{kind}.ndjson"
            path.write_text("\n".join(map(json.dumps, content)))
            subprocess.run(
                [*loader, "load", kind, str(path), "--method", "upsert"],
                check=True,
                env=environment,
                stdout=subprocess.DEVNULL,
            )
        port = free_port()
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "uvicorn",
                "stac_fastapi.pgstac.app:create_app",
                "--factory",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--log-level",
                "warning",
            ],
            env=environment,
        )
        stack.callback(server.wait)
        stack.callback(server.terminate)
        address = f"http://127.0.0.1:{port}"
        wait_for(address, server)
        yield address


def wait_for(address: str, server: subprocess.Popen, seconds: float = 60) -> None:
    """Return once the address answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"{address} did not start")
