"""Makes deploy/seccomp.json out of Docker's default profile: `python seccomp_profile.py DEFAULT >deploy/seccomp.json`.

Docker's own form has conditions that only Docker knows. What is made here has none, so that containerd, CRI-O and runc
read it as well: it is what Docker gives a container without capabilities on x86-64 and arm64, and the two calls of
io_uring.
"""

import json
import sys
from pathlib import Path

ARCHITECTURES = {"SCMP_ARCH_X86_64": "amd64", "SCMP_ARCH_AARCH64": "arm64"}
IO_URING = {"names": ["io_uring_enter", "io_uring_setup"], "action": "SCMP_ACT_ALLOW"}


def holds(rule: dict) -> bool:
    """Whether the rule is for a hub: it has no capabilities, and its kernel is newer than any that is asked for."""
    needs, spares = rule.get("includes", {}), rule.get("excludes", {})
    ours = set(ARCHITECTURES.values())
    return (
        not needs.get("caps")
        and (not needs.get("arches") or bool(ours & set(needs["arches"])))
        and not ours & set(spares.get("arches", []))
    )


def derive(default: dict, more: list[dict]) -> dict:
    architectures = []
    for architecture in default["archMap"]:
        if architecture["architecture"] in ARCHITECTURES:
            architectures += [architecture["architecture"], *architecture["subArchitectures"]]
    parts = ("names", "action", "errnoRet", "args")
    rules = [{part: rule[part] for part in parts if part in rule} for rule in default["syscalls"] if holds(rule)]
    return {
        "defaultAction": default["defaultAction"],
        "defaultErrnoRet": default["defaultErrnoRet"],
        "architectures": architectures,
        "syscalls": rules + more,
    }


def text(profile: dict) -> str:
    """One rule a line, but for the long list of what is allowed to all."""
    rules = []
    for rule in profile["syscalls"]:
        long = len(rule["names"]) > 8
        rules.append(json.dumps(rule, indent=2 if long else None).replace("\n", "\n    "))
    head = {key: value for key, value in profile.items() if key != "syscalls"}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items()]
    return "{\n" + "".join(lines) + '  "syscalls": [\n    ' + ",\n    ".join(rules) + "\n  ]\n}\n"


if __name__ == "__main__":
    print(text(derive(json.loads(Path(sys.argv[1]).read_text()), [IO_URING])), end="")
