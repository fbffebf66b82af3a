"""Images without a daemon: a root file system from files of this machine, written as an archive that everything reads.

1. `RootFileSystem` collects files. A program brings the shared libraries that it links to and the dynamic loader.
2. `write_archive` writes one tar file that is an OCI image layout (containerd, skopeo, podman) and a docker-archive
   (docker load, kind) at once, both around the same layer.

The same files give the same bytes: entries are sorted, times fixed, owners numbers.
"""

import dataclasses
import datetime
import hashlib
import io
import json
import os
import pathlib
import platform
import shutil
import subprocess
import tarfile

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One file, link or folder of an image."""
    kind: bytes
    mode: int
    content: bytes | pathlib.Path = b""


class RootFileSystem:
    """The files of an image by path. Folders appear with the files in them; everything belongs to root."""

    def __init__(self):
        self.entries = {}

    def add(self, path, entry):
        path = pathlib.PurePosixPath(path)
        assert path.is_absolute() and ".." not in path.parts, path
        for parent in path.parents[:-1]:
            self.entries.setdefault(str(parent), Entry(tarfile.DIRTYPE, 0o755))
        self.entries[str(path)] = entry

    def add_folder(self, path, mode=0o755):
        """An empty folder."""
        self.add(path, Entry(tarfile.DIRTYPE, mode))

    def add_text(self, path, text):
        """A file with this text."""
        self.add(path, Entry(tarfile.REGTYPE, 0o644, text.encode()))

    def add_file(self, path, source, mode=None):
        """A file of this machine. A link is followed: the image has the file under the link's name."""
        source = pathlib.Path(source).resolve(strict=True)
        executable = source.stat().st_mode & 0o111
        self.add(path, Entry(tarfile.REGTYPE, mode or (0o755 if executable else 0o644), source))

    def add_tree(self, path, source, keep=lambda relative: True):
        """A folder of this machine, without what `keep` (given the path below the folder) refuses."""
        for folder, folders, files in os.walk(source, followlinks=True):
            below = pathlib.PurePosixPath(folder).relative_to(source)
            folders[:] = [name for name in folders if keep(below / name)]
            for name in files:
                if keep(below / name) and os.path.exists(os.path.join(folder, name)):
                    self.add_file(pathlib.PurePosixPath(path) / below / name, os.path.join(folder, name))

    def add_program(self, path, source, mode=0o755):
        """A program with the libraries that it links to."""
        self.add_file(path, source, mode)
        self.add_libraries(source)

    def add_libraries(self, source):
        """The libraries that a program or a library links to, and the loader, where the loader will look for them."""
        for library in libraries(source):
            self.add_file(library, library, mode=0o755)

    def add_user(self, name, number):
        """The user that the image runs as, without a password or a shell, and names looked up as everywhere."""
        self.add_text("/etc/passwd", f"root:x:0:0:root:/:/none\n{name}:x:{number}:{number}:{name}:/:/none\n")
        self.add_text("/etc/group", f"root:x:0:\n{name}:x:{number}:\n")
        self.add_text("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")

    def add_certificates(self):
        """The certificate authorities that this machine trusts."""
        for bundle in ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"):
            if os.path.exists(bundle):
                self.add_file("/etc/ssl/certs/ca-certificates.crt", bundle, mode=0o644)
                return
        raise SystemExit("image: no certificate authorities on this machine: install ca-certificates")

    def layer(self, seconds):
        """The file system as a tar, every entry dated `seconds` after 1970."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for path in sorted(self.entries):
                entry = self.entries[path]
                content = entry.content.read_bytes() if isinstance(entry.content, pathlib.Path) else entry.content
                info = tarfile.TarInfo(path.lstrip("/"))
                info.type, info.mode, info.mtime, info.size = entry.kind, entry.mode, seconds, len(content)
                tar.addfile(info, io.BytesIO(content))
        return buffer.getvalue()

    def write_folder(self, target):
        """The file system as a folder, for builders that copy one."""
        shutil.rmtree(target, ignore_errors=True)
        for path in sorted(self.entries):
            entry, file = self.entries[path], pathlib.Path(target) / path.lstrip("/")
            if entry.kind == tarfile.DIRTYPE:
                file.mkdir(parents=True)
            elif isinstance(entry.content, pathlib.Path):
                shutil.copyfile(entry.content, file)
            else:
                file.write_bytes(entry.content)
            file.chmod(entry.mode)


def libraries(program):
    """What the dynamic loader of this machine would load for a program, and itself."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True)
    if "not a dynamic executable" in listed.stdout + listed.stderr or "statically linked" in listed.stdout:
        return []
    if listed.returncode != 0 or "not found" in listed.stdout:
        raise SystemExit(f"image: {program} links to libraries that are not there:\n{listed.stdout}{listed.stderr}")
    found = []
    for line in listed.stdout.splitlines():
        # "libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)"; the kernel's own
        # "linux-vdso.so.1 (0x…)" has no path.
        path = line.split("=>")[-1].split("(")[0].strip()
        if path.startswith("/"):
            found.append(path)
    return found


@dataclasses.dataclass(frozen=True)
class Written:
    """What an archive has in it."""
    digest: str
    layer_bytes: int


def write_archive(target, root, names, config, seconds=0, annotations=None):
    """Writes the image with these full names (registry/name:tag); its digest is that of its OCI manifest."""
    layer = root.layer(seconds)
    # Both say for which machines they are: containerd leaves out what does not.
    described = {"architecture": ARCHITECTURES[platform.machine()], "os": "linux"}
    config_text = compact({
        **described, "created": rfc3339(seconds), "config": config,
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        "history": [{"created": rfc3339(seconds), "created_by": "scripts/image"}]})
    manifest = compact({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": blob(CONFIG_TYPE, config_text),
        "layers": [blob(LAYER_TYPE, layer)], "annotations": annotations or {}})
    index = compact({"schemaVersion": 2, "manifests": [
        {**blob(MANIFEST_TYPE, manifest), "platform": described, "annotations": {
            "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}} for name in names]})
    docker = compact([{"Config": blob_path(config_text), "RepoTags": names, "Layers": [blob_path(layer)]}])
    files = {"oci-layout": compact({"imageLayoutVersion": "1.0.0"}), "index.json": index, "manifest.json": docker}
    files.update((blob_path(content), content) for content in (config_text, manifest, layer))
    fresh = pathlib.Path(f"{target}.new")
    with tarfile.open(fresh, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(files[name]), seconds
            tar.addfile(info, io.BytesIO(files[name]))
    fresh.rename(target)
    return Written(digest(manifest), len(layer))


def compact(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def blob(media_type, content):
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


def blob_path(content):
    return "blobs/" + digest(content).replace(":", "/")


def rfc3339(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
