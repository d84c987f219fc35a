"""Files appear whole or not at all, wherever they lie, and no key leads out of their folder."""

import errno

import pytest

from armillary.errors import ConfigError, DataError
from armillary.serving.files import Files


@pytest.fixture(params=["folder", "memory"])
def files(request, tmp_path):
    return Files(str(tmp_path / "files") if request.param == "folder" else f"memory://{tmp_path.name}")


def test_what_is_written_is_read_and_removed(files):
    files.write("job_1/in/0.bin", b"a")
    files.write("job_1/1/video.mp4", b"b")
    files.write("job_1/in/0.bin", b"c")
    assert files.read("job_1/in/0.bin") == b"c"
    files.remove("job_1")
    files.remove("job_1")
    with pytest.raises(DataError):
        files.read("job_1/1/video.mp4")


@pytest.mark.parametrize(
    ("trouble", "goes"),
    [
        (OSError(errno.ENOTEMPTY, "in use"), True),
        (FileNotFoundError(), True),
        (PermissionError(errno.EACCES, "no"), False),
    ],
)
def test_a_folder_goes_although_somebody_still_writes_there(tmp_path, monkeypatch, trouble, goes):
    files = Files(str(tmp_path / "files"))
    files.write("job_1/1/look.webp", b"a")
    remove, troubles = files._system.rm, [trouble]

    def rm(place, **how):
        if troubles:
            raise troubles.pop()
        remove(place, **how)

    monkeypatch.setattr(files._system, "rm", rm)
    if goes:
        files.remove("job_1")
    else:
        with pytest.raises(PermissionError):
            files.remove("job_1")
    assert (tmp_path / "files/job_1").exists() != goes


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../b", "a//b", "", "a\x00", "a/.hidden", "A", "a b", "a\\b"])
def test_keys_that_are_not_ours_lead_nowhere(files, key):
    for use in (files.read, files.remove, lambda one: files.write(one, b"x")):
        with pytest.raises(DataError):
            use(key)


def test_a_write_that_breaks_leaves_the_old_file(tmp_path, monkeypatch):
    files = Files(str(tmp_path))
    files.write("job_1/a.bin", b"old")
    monkeypatch.setattr(files._system, "mv", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        files.write("job_1/a.bin", b"new")
    assert files.read("job_1/a.bin") == b"old"


def test_a_place_that_nothing_can_open_is_said_at_once():
    with pytest.raises(ConfigError, match="fsspec"):
        Files("nosuchprotocol://bucket/jobs")
