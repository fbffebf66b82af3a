"""The image: the same bytes from the same programs, and nothing in it that it does not need."""

import json
import subprocess
import tarfile

import pytest

from harness.session import image_archive


@pytest.mark.own_cluster
def test_building_twice_gives_the_same_bytes():
    first = image_archive().read_bytes()
    assert image_archive().read_bytes() == first


@pytest.mark.own_cluster
def test_it_has_what_it_needs_and_no_more():
    with tarfile.open(image_archive()) as archive:
        [described] = json.load(archive.extractfile("manifest.json"))
        config = json.load(archive.extractfile(described["Config"]))
        [layer] = described["Layers"]
        with tarfile.open(fileobj=archive.extractfile(layer)) as files:
            members = files.getmembers()
    names = {f"/{member.name}" for member in members if member.isfile()}
    assert {"/usr/local/bin/partita", "/usr/local/bin/partita-operator", "/etc/passwd", "/etc/group",
            "/etc/ssl/certs/ca-certificates.crt"} <= names
    programs = {name for name in names if "/bin/" in name or "/sbin/" in name}
    assert programs == {"/usr/local/bin/partita", "/usr/local/bin/partita-operator"}, programs
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert len({member.mtime for member in members}) == 1
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert config["config"]["User"] == "65532:65532"
    labels = {f"org.opencontainers.image.{name}" for name in ("revision", "version", "source", "title", "licenses")}
    assert set(config["config"]["Labels"]) == labels and all(config["config"]["Labels"].values())
    assert described["RepoTags"][0] == "localhost/partita:" + config["config"]["Labels"]["org.opencontainers.image.version"]


@pytest.mark.own_cluster
def test_its_programs_run_with_nothing_but_the_image():
    root = image_archive().parent / "root"
    for program in ("partita", "partita-operator"):
        done = subprocess.run(["chroot", root, f"/usr/local/bin/{program}", "--version"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith("partita"), done
