"""What a run needs besides Python: two C programs, the peers' libraries. What cannot be had is reported."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["HERE", "Tools", "prepare"]

HERE = Path(__file__).resolve().parent
_CFLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")
_INSTALL_SECONDS = 600


@dataclass(slots=True)
class Tools:
    """Paths of programs; None and a line in `missing` where one could not be had."""

    load: Path
    limit: Path
    python: Path = Path(sys.executable)
    node: Path | None = None
    bun: Path | None = None
    peers_python: Path | None = None
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def prepare(build: Path) -> Tools:
    """Compiles the generator and the limit server into `build`, installs the peers there is a way to install.

    Raises SystemExit if there is no C compiler: without a generator there is nothing to report.
    """
    build.mkdir(parents=True, exist_ok=True)
    tools = Tools(build / "load", build / "limit")
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise SystemExit("benchmarks: a C compiler is needed for the load generator; install gcc")
    zlib = ("-DBENCH_ZLIB", "-lz") if Path("/usr/include/zlib.h").exists() else ()
    _compile(compiler, tools.load, ["load.c", "modes.c", "swarm.c"], *zlib)
    _compile(compiler, tools.limit, ["limit.c"])
    _node_peers(tools)
    _python_peers(tools, build / "venv")
    _versions(tools)
    return tools


def _compile(compiler: str, program: Path, sources: list[str], *flags: str) -> None:
    inputs = [HERE / source for source in sources]
    newest = max(path.stat().st_mtime for path in [*inputs, *HERE.glob("*.h")])
    if program.exists() and program.stat().st_mtime >= newest:
        return
    subprocess.run([compiler, *_CFLAGS, "-o", str(program), *map(str, inputs), *flags], check=True)


def _attempt(command: list[str], cwd: Path) -> str | None:
    """Runs an installer; the last line that it said if it failed."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"


def _node_peers(tools: Tools) -> None:
    peers = HERE / "peers"
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        tools.missing["ws"] = tools.missing["bun"] = "node and npm are not installed"
        return
    tools.node = Path(node)
    bun = peers / "node_modules" / ".bin" / "bun"
    if not (bun.exists() and (peers / "node_modules" / "ws").exists()):
        print("installing npm ws and bun into benchmarks/peers/node_modules …", flush=True)
        fault = _attempt([npm, "install", "--no-package-lock", "--no-audit", "--no-fund"], peers)
        if fault is not None:
            tools.missing["bun"] = f"npm install: {fault}"
    if not (peers / "node_modules" / "ws").exists():
        tools.missing["ws"] = tools.missing.get("bun", "npm install did not bring it")
    if bun.exists() and _attempt([str(bun), "--version"], peers) is None:
        tools.bun = bun
        tools.missing.pop("bun", None)
    else:
        tools.missing.setdefault("bun", "it is installed but does not run here")


def _python_peers(tools: Tools, home: Path) -> None:
    python = home / "bin" / "python"
    wanted = HERE / "peers" / "requirements.txt"
    stamp = home / ".installed"
    if not (stamp.exists() and stamp.stat().st_mtime >= wanted.stat().st_mtime):
        print("installing FastAPI, uvicorn and python-socketio into build/bench/venv …", flush=True)
        venv.create(home, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        fault = _attempt([*pip, "-r", str(wanted)], HERE)
        if fault is not None:
            tools.missing["fastapi"] = tools.missing["socketio"] = f"pip install: {fault}"
            return
        stamp.touch()
    tools.peers_python = python


def _versions(tools: Tools) -> None:
    """Versions of everything that takes part, for the head of the report."""
    asked: list[tuple[str, Path | None, list[str]]] = [
        ("node", tools.node, ["--version"]),
        ("bun", tools.bun, ["--version"]),
        ("ws", tools.node, ["-p", "require('ws/package.json').version"]),
    ]
    for package in ("picows", "websockets", "uvloop", "msgspec"):
        asked.append((package, tools.python, ["-c", _METADATA.format(package)]))
    for package in ("fastapi", "uvicorn", "python-socketio"):
        asked.append((package, tools.peers_python, ["-c", _METADATA.format(package)]))
    tools.versions["python"] = sys.version.split()[0]
    for name, program, arguments in asked:
        if program is None:
            continue
        done = subprocess.run([str(program), *arguments], cwd=HERE / "peers", capture_output=True, text=True)
        if done.returncode == 0:
            tools.versions[name] = done.stdout.strip()


_METADATA = "import importlib.metadata as m; print(m.version('{}'))"
