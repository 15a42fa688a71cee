"""Fetching over HTTP: what comes, what breaks, and what is said then."""

import errno
import hashlib
import os
import shutil

import pytest

from tests.weights.loopback import answer, cut, etag, give, lead, refuse
from vision_jax.config import UserError
from vision_jax.weights import download as module
from vision_jax.weights.download import Digest, Missing, download

CONTENT = bytes(range(1, 256)) * 4000  # about 1 MB
SHA256 = Digest("sha256", hashlib.sha256(CONTENT).hexdigest()[:8])
MD5 = Digest("md5", hashlib.md5(CONTENT).hexdigest()[:6])
WRONG = Digest("sha256", "00000000")


@pytest.fixture
def target(home, tmp_path):
    return tmp_path / "a.pth"


@pytest.fixture
def url(server):
    server.files["/a.pth"] = CONTENT
    return f"{server.url}/a.pth"


def left(path):
    """Returns what lies beside a file, without it."""
    return sorted(p.name for p in path.parent.iterdir() if p != path and p.is_file())


@pytest.mark.parametrize("digest", [None, SHA256, MD5], ids=str)
def test_a_file_comes_whole_and_leaves_nothing_beside_it(url, target, digest):
    download(url, target, digest)
    assert target.read_bytes() == CONTENT
    assert left(target) == []


@pytest.mark.parametrize("digest", [None, SHA256], ids=str)
def test_a_broken_connection_is_gone_on_with(server, url, target, digest):
    server.actions["/a.pth"] = cut(300_000)
    download(url, target, digest)
    assert target.read_bytes() == CONTENT
    starts = [headers.get("Range") for headers in server.asked("/a.pth")]
    assert starts == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]
    assert server.asked("/a.pth")[1]["If-Range"] == etag(CONTENT)


def test_what_an_earlier_process_left_is_gone_on_with(server, url, target):
    target.with_name("a.pth.part").write_bytes(CONTENT[:1000])
    download(url, target, SHA256)
    assert [headers.get("Range") for headers in server.asked("/a.pth")] == ["bytes=1000-"]
    assert target.read_bytes() == CONTENT


def test_a_part_whose_version_nobody_knows_is_fetched_anew(server, url, target):
    target.with_name("a.pth.part").write_bytes(b"x" * 1000)
    download(url, target)  # neither a mark nor a hash could tell that the rest fits
    assert target.read_bytes() == CONTENT
    assert "Range" not in server.asked("/a.pth")[0]


def test_a_whole_part_needs_no_more(url, target):
    target.with_name("a.pth.part").write_bytes(CONTENT)
    download(url, target, SHA256)
    assert target.read_bytes() == CONTENT


def test_a_part_of_another_file_is_thrown_away(server, url, target):
    target.with_name("a.pth.part").write_bytes(b"x" * 1000)
    download(url, target, SHA256)
    assert target.read_bytes() == CONTENT
    assert len(server.asked("/a.pth")) == 2


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, url, target):
    old = b"o" * 500
    target.with_name("a.pth.part").write_bytes(old)
    target.with_name("a.pth.part.tag").write_text(etag(old))
    download(url, target)
    assert target.read_bytes() == CONTENT


def test_a_file_that_became_shorter_is_fetched_anew(url, target):
    target.with_name("a.pth.part").write_bytes(CONTENT + b"x" * 7)
    download(url, target, SHA256)
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_gives_all_again(server, url, target):
    server.ranges = server.etags = False
    target.with_name("a.pth.part").write_bytes(CONTENT[:1000])
    download(url, target, SHA256)
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_that_always_breaks_is_given_up(server, url, target):
    server.ranges = False
    server.actions["/a.pth"] = cut(1000)
    with pytest.raises(UserError, match=r"broke after 1,000 of 1,020,000 bytes; .* are kept"):
        download(url, target, SHA256)
    assert not target.exists()
    assert len(server.asked("/a.pth")) <= 6


def test_a_connection_that_brings_nothing_is_given_up(server, url, target):
    server.actions["/a.pth"] = cut(0)
    with pytest.raises(UserError, match="the same command goes on from there"):
        download(url, target)
    server.actions.clear()
    download(url, target)
    assert target.read_bytes() == CONTENT


def test_the_wrong_part_is_not_glued_on(server, url, target):
    target.with_name("a.pth.part").write_bytes(CONTENT[:1000])

    def other_part(handler):
        if "Range" not in handler.headers:
            return give(handler)
        span = f"bytes 0-9/{len(CONTENT)}"
        return answer(handler, 206, CONTENT[:10], Content_Range=span)

    server.actions["/a.pth"] = other_part
    download(url, target, SHA256)
    assert target.read_bytes() == CONTENT


def test_a_stated_length_that_is_too_large(server, url, target):
    server.actions["/a.pth"] = lambda handler: answer(handler, 200, CONTENT, len(CONTENT) + 5)
    with pytest.raises(UserError, match=r"broke after 1,020,000 of 1,020,005 bytes"):
        download(url, target)
    assert not target.exists()


def test_a_stated_length_that_is_too_small(server, url, target):
    server.actions["/a.pth"] = lambda handler: answer(handler, 200, CONTENT, 1000)
    with pytest.raises(UserError, match=r"its sha256 begins with \w{8}, the publisher's"):
        download(url, target, SHA256)
    assert not target.exists()


def test_a_wrong_hash_leaves_nothing(server, url, target):
    with pytest.raises(UserError, match=r"begins with .*, the publisher's 00000000: .*try again"):
        download(url, target, WRONG)
    assert not target.exists()
    assert left(target) == []
    assert len(server.asked("/a.pth")) == 1


@pytest.mark.parametrize(
    "page",
    [b"<!DOCTYPE html><html>", b"\n <html lang='en'>", b"<HTML>", b"<?xml version='1.0'?>"],
)
def test_a_web_page_is_no_file(server, url, target, page):
    server.files["/a.pth"] = page + b" " * 1000
    with pytest.raises(UserError, match="a web page, not with weights: open it in a browser"):
        download(url, target, SHA256)
    assert left(target) == []


def test_a_file_may_begin_like_a_page(server, url, target):
    server.files["/a.pth"] = b"<" + bytes(7) + b"{}"  # a safetensors header of 60 bytes
    download(url, target)
    assert target.read_bytes() == b"<" + bytes(7) + b"{}"


def test_an_empty_file(server, url, target):
    server.files["/a.pth"] = b""
    with pytest.raises(UserError, match="the file is empty"):
        download(url, target)
    assert not target.exists()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (403, "403 Forbidden.*sign in there"),
        (401, "401 Unauthorized.*HF_TOKEN"),
        (404, "404 Not Found.*moved it"),
        (410, "410 Gone"),
        (400, "400 Bad Request"),
        (500, "in trouble .500 Internal Server Error.; 0 bytes came"),
        (429, "429 Too Many Requests"),
    ],
)
def test_a_refusal_is_one_line(server, url, target, code, text):
    server.actions["/a.pth"] = refuse(code, b"<html>no</html>")
    with pytest.raises(UserError, match=text) as error:
        download(url, target)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(url)
    assert isinstance(error.value, Missing) == (code in (404, 410))
    assert left(target) == []


def test_a_server_that_recovers(server, url, target):
    tries = iter([refuse(503), refuse(503)])
    server.actions["/a.pth"] = lambda handler: next(tries, give)(handler)
    download(url, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("have", "total", "seconds", "line"),
    [
        (25_000_000, 100_000_000, 5, "a.pth 25 of 100 MB, 5.0 MB/s, 0:00:15 left"),
        (25_000_000, None, 5, "a.pth 25 MB, 5.0 MB/s"),
        (0, 100_000_000, 5, "a.pth 0 of 100 MB, 0.0 MB/s"),
        (100_000_000, 100_000_000, 10, "a.pth 100 of 100 MB, 10.0 MB/s"),
        (1_000_000, 7_201_000_000, 1, "a.pth 1 of 7201 MB, 1.0 MB/s, 2:00:00 left"),
    ],
)
def test_how_far_a_download_is(have, total, seconds, line):
    assert module.Progress("a.pth", 0, total).line(have, seconds) == line


def test_what_was_there_before_counts_for_no_speed():
    line = module.Progress("a.pth", 50_000_000, 100_000_000).line(60_000_000, 10)
    assert line == "a.pth 60 of 100 MB, 1.0 MB/s, 0:00:40 left"


def test_nobody_listens(target):
    with pytest.raises(UserError, match=r"cannot be reached \(Connection refused\).*MIRROR"):
        download("http://127.0.0.1:9/a.pth", target)


def test_redirects_are_followed(server, url, target):
    server.actions["/b"] = lead("/c", 301)
    server.actions["/c"] = lead(url, 307)
    download(f"{server.url}/b", target, SHA256)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("to", ["/loop", "/loop/2"])
def test_redirects_in_a_circle(server, target, to):
    server.actions["/loop"] = lead(to)
    server.actions["/loop/2"] = lead("/loop")
    with pytest.raises(UserError, match="leads round in a circle"):
        download(f"{server.url}/loop", target)


def test_redirects_without_end(server, target):
    for i in range(50):
        server.actions[f"/{i}"] = lead(f"/{i + 1}")
    with pytest.raises(UserError, match="leads round in a circle"):
        download(f"{server.url}/0", target)
    assert len(server.requests) <= 12


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:,a", ""])
def test_redirects_to_what_is_no_address(server, target, to):
    server.actions["/b"] = lead(to)
    with pytest.raises(UserError, match=r"no address of the web|in a circle"):
        download(f"{server.url}/b", target)


def test_secrets_stay_with_the_server_that_they_are_for(server, url, target):
    other = url.replace("127.0.0.1", "localhost")
    server.actions["/b"] = lead(other)
    download(f"{server.url}/b", target, headers={"Authorization": "Bearer x"})
    assert server.asked("/b")[0]["Authorization"] == "Bearer x"
    assert "Authorization" not in server.asked("/a.pth")[0]


@pytest.mark.parametrize("right", [True, False])
def test_the_hubs_own_hash_is_checked(server, url, target, right):
    known = hashlib.sha256(CONTENT if right else b"").hexdigest()
    server.actions["/b"] = lead(url, X_Linked_ETag=f'"{known}"')
    if right:
        return download(f"{server.url}/b", target)
    with pytest.raises(UserError, match="the publisher's"):
        download(f"{server.url}/b", target)


def test_a_disk_without_room_is_told_before(url, target, monkeypatch):
    usage = shutil.disk_usage(target.parent)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"the disk is full \(1,020,000 bytes more are needed\)"):
        download(url, target)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_that_fills_up(url, target, monkeypatch, number):
    def advance(self, have):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.Progress, "advance", advance)
    with pytest.raises(UserError, match="the disk is full: free some, or name another folder"):
        download(url, target, SHA256)
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    download(url, target, SHA256)  # goes on from what is there
    assert target.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_to(url, tmp_path, home):
    with pytest.raises(UserError, match=r"cannot be written.*VISION_JAX_HOME names another"):
        download(url, tmp_path / "none" / "a.pth", SHA256)
