"""The table: medians over the rounds, and ratios to orderhub of the same run."""

import json
import platform
import re
import subprocess
from pathlib import Path
from statistics import median

NAMES = {
    "orderhub": "orderhub",
    "orderhub-plain": "orderhub, plain framing",
    "nestjs": "NestJS gateway",
    "nestjs-typeorm": "NestJS gateway, TypeORM",
    "socketioxide": "socketioxide gateway",
}
TITLES = {
    "rooms": "100 rooms of three, one position under way in each",
    "big-room": "One room of a hundred, four positions under way",
    "chat": "Chat into PostgreSQL, 400 messages under way",
    "idle": "3,000 connections, idle",
}


def machine(root, here, sql):
    """What all was measured with, a line each."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.M)
    cores = len(re.findall(r"^processor\s*:", cpuinfo, re.M))
    lock = json.loads((here / "nestjs/package-lock.json").read_text())["packages"]
    node = lambda name: lock[f"node_modules/{name}"]["version"]
    rust = lambda file, name: re.search(rf'name = "{name}"\nversion = "(.*)"', file.read_text()).group(1)
    crates = here / "socketioxide/Cargo.lock"
    settings = ", ".join(f"{name} {sql(f'SHOW {name}')}" for name in ("fsync", "synchronous_commit"))
    return [
        f"{model.group(1) if model else platform.machine()}, {cores} cores, Linux {platform.release()}",
        f"orderhub {rust(root / 'Cargo.lock', 'orderhub')}",
        f"NestJS {node('@nestjs/core')}, Socket.IO {node('socket.io')}, pg {node('pg')}, "
        f"TypeORM {node('typeorm')}, Node {version('node')}",
        f"socketioxide {rust(crates, 'socketioxide')}, axum {rust(crates, 'axum')}, "
        f"tokio-postgres {rust(crates, 'tokio-postgres')}",
        f"PostgreSQL {sql('SHOW server_version')}, {settings}",
    ]


def version(program):
    return subprocess.run([program, "--version"], capture_output=True, text=True).stdout.strip().lstrip("v")


def table(results, machine_lines):
    """Markdown, of all rounds in a folder."""
    rounds = {}
    for file in sorted(results.glob("*/*/figures.json")):
        for scenario, figures in json.loads(file.read_text()).items():
            rounds.setdefault(scenario, {}).setdefault(file.parent.name, []).append(figures)
    lines = [f"- {line}" for line in machine_lines]
    for scenario in TITLES:
        if scenario in rounds:
            by_name = {name: rounds[scenario][name] for name in NAMES if name in rounds[scenario]}
            lines += ["", f"**{TITLES[scenario]}**", "", *SHOWN[scenario](by_name)]
    lines += ["", *remarks(rounds)]
    return "\n".join(lines)


def rows(head, cells):
    """A table of Markdown."""
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in cells)]


def middle(rounds, of):
    return median(of(figures) for figures in rounds)


def compared(by_name, of, unit, digits):
    """The median with its range, and how many times orderhub's it is, by name."""
    base = middle(by_name["orderhub"], of) if "orderhub" in by_name else None
    cells = {}
    for name, rounds in by_name.items():
        values = [of(figures) * unit for figures in rounds]
        span = f" ({min(values):,.{digits}f} to {max(values):,.{digits}f})" if len(values) > 1 else ""
        ratio = f"{middle(rounds, of) / base:.2f}" if base else "–"
        cells[name] = (f"{median(values):,.{digits}f}{span}", ratio)
    return cells


def at(timing, quantile):
    return lambda figures: figures["timings"][timing][quantile]


def flow(per_second, per_one, timing, what, ratio_of):
    """The table of a scenario in which something flows."""

    def shown(by_name):
        rate = compared(by_name, per_second, 1, 0)
        cost = compared(by_name, per_one, 1e6, 1)
        head = ["", f"{what} a second", "× orderhub", f"processor for {ratio_of}, µs", "× orderhub"]
        head += ["core in use", "p50, ms", "p99, ms", "client's core"]
        cells = []
        for name, rounds in by_name.items():
            tail = [f"{middle(rounds, lambda f: f['cpu']):.0%}"]
            tail += [f"{middle(rounds, at(timing, quantile)):,.1f}" for quantile in ("p50", "p99")]
            tail += [f"{middle(rounds, lambda f: f['client']):.0%}"]
            cells.append([NAMES[name], *rate[name], *cost[name], *tail])
        return rows(head, cells)

    return shown


def idle(by_name):
    memory = compared(by_name, lambda f: f["member"], 1 / 1024, 1)
    connect = compared(by_name, lambda f: f["connect"], 1e6, 0)
    head = ["", "memory of one, KiB", "× orderhub", "processor to connect, log in and join, µs", "× orderhub"]
    head += ["connect p99, ms", "join p99, ms"]
    cells = []
    for name, rounds in by_name.items():
        tail = [f"{middle(rounds, at(timing, 'p99')):,.1f}" for timing in ("connect", "join")]
        cells.append([NAMES[name], *memory[name], *connect[name], *tail])
    return rows(head, cells)


DELIVERED = (lambda f: f["seen"], lambda f: f["cpu"] / f["seen"], "location", "delivered", "a delivery")
SHOWN = {
    "rooms": flow(*DELIVERED),
    "big-room": flow(*DELIVERED),
    # What is sent in a closed loop was acknowledged before.
    "chat": flow(lambda f: f["sent"], lambda f: f["cpu"] / f["sent"], "chat-ack", "acknowledged", "a message"),
    "idle": idle,
}


def remarks(rounds):
    """What did not go as it should, of all rounds together."""
    lines = []
    for scenario, by_name in rounds.items():
        for name, all_figures in by_name.items():
            for kind in ("broken", "errors", "closes"):
                counts = {}
                for figures in all_figures:
                    for code, count in figures[kind].items():
                        counts[code] = counts.get(code, 0) + count
                if counts:
                    listed = ", ".join(f"{code} {count}" for code, count in sorted(counts.items()))
                    lines.append(f"- {NAMES[name]}, {scenario}: {kind}: {listed}")
            if any(peak < planned for peak, planned in (figures["connections"] for figures in all_figures)):
                lines.append(f"- {NAMES[name]}, {scenario}: not everybody got in")
    count = max((len(f) for by_name in rounds.values() for f in by_name.values()), default=0)
    if not count:
        return ["nothing has been measured"]
    kept = [] if lines else ["- all promises kept, no errors, nobody put out"]
    how = f"- medians of {count} rounds in turn, smallest to largest in brackets" if count > 1 else "- one round"
    return [how, *lines, *kept]
