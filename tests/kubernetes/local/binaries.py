"""The programs of a cluster, built from the Go modules pinned under modules/ and kept between clones.

1. The folder is named after the pins, so that other pins are another folder.
2. One builder at a time; a folder counts once it has its final name, so that a killed build leaves nothing half.
"""

import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
MODULES = HERE.parent / "modules"
CACHE = pathlib.Path(os.environ.get("PARTITA_CACHE") or pathlib.Path.home() / ".cache/partita")
PAUSE_IMAGE = "localhost/pause:1"

sys.path.insert(0, str(HERE.parents[2] / "scripts"))
import oci  # noqa: E402


def folder():
    """Where the programs are, or will be."""
    pins = hashlib.sha256()
    for file in sorted([*MODULES.glob("*/go.*"), *MODULES.glob("*/*/*.go"), HERE / "pause.c"]):
        pins.update(file.read_bytes())
    return CACHE / f"kubernetes-{pins.hexdigest()[:12]}"


def build():
    """The folder with the programs, built if it isn't there: about 7 minutes on 2 cores."""
    wanted = folder()
    if wanted.exists():
        return wanted
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "kubernetes.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.exists():
            print("cluster: building Kubernetes and its tools once: about 7 minutes on 2 cores", file=sys.stderr)
            fresh = wanted.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            build_into(fresh)
            fresh.rename(wanted)
    return wanted


def build_into(target):
    version = re.search(r"k8s.io/kubernetes (v(\d+)\.(\d+)\.\d+)", (MODULES / "kubernetes/go.mod").read_text())
    # Without it the API server says v0.0.0, and clients that ask for its version refuse it.
    stamp = "".join(
        f" -X k8s.io/component-base/version.{name}={value}"
        for name, value in (("gitVersion", version[1]), ("gitMajor", version[2]), ("gitMinor", version[3])))
    go_build(MODULES / "kubernetes", target, stamp)
    go_build(MODULES / "tools", target, "")
    (target / "server").rename(target / "etcd")
    subprocess.run(["cc", "-static", "-Os", "-s", "-o", target / "pause", HERE / "pause.c"], check=True)
    pause = oci.RootFileSystem()
    pause.add_file("/pause", target / "pause", mode=0o755)
    oci.write_archive(target / "pause.tar", pause, [PAUSE_IMAGE], {"Entrypoint": ["/pause"]})


def go_build(module, target, flags):
    """Builds all tools of a module. Whatever GOFLAGS says, the pins stay as they are."""
    subprocess.run(
        ["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w" + flags,
         "-o", f"{target}/", "tool"],
        cwd=module, env=dict(os.environ, CGO_ENABLED="0"), check=True)
