"""Names that are fetched into the cache: the zoo's, the Hub's, and a mirror's."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from tests.weights.loopback import give, lead, refuse
from tests.weights.variables import assert_equal, drawn, shapes
from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.training import Init, initial
from vision_jax.weights import __main__ as command
from vision_jax.weights import by_name, cache, hub, zoo
from vision_jax.weights.download import Digest

PLACE = "some/file/a.pth"
CONTENT = b"weights" * 1000
DIGEST = Digest("sha256", hashlib.sha256(CONTENT).hexdigest()[:8])
CIFAR = "akamaster/resnet20-12fca82f"
# Without the Hub's own package, which has a cache and a client of its own.
plain_hub = pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is not None, reason="huggingface_hub is installed"
)


@pytest.fixture
def mirror(server, home, monkeypatch):
    """A server that has what the publishers have."""
    monkeypatch.setenv("VISION_JAX_MIRROR", f"{server.url}/copies/")
    return server


def cifar_file():
    """Returns a ResNet-20's variables, and the bytes of a file in akamaster's names."""
    model = models.CifarResNet(20)
    variables = drawn(shapes(model, 32))
    return model, variables, save(weights.to_reference(variables, model))


def test_a_file_is_fetched_once(server, home):
    server.files["/a.pth"] = CONTENT
    for _ in range(2):
        path = cache.fetch(PLACE, f"{server.url}/a.pth", DIGEST)
        assert path == home / PLACE
        assert path.read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_the_cache_is_the_users_own_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("VISION_JAX_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.home() == tmp_path / ".cache" / "vision_jax" / "weights"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert cache.home() == tmp_path / "c" / "vision_jax" / "weights"
    monkeypatch.setenv("VISION_JAX_HOME", "~/mine")
    assert cache.home() == tmp_path / "mine" / "weights"


def test_a_second_one_waits_for_the_first(server, home, capsys):
    server.files["/a.pth"] = CONTENT
    begun = threading.Event()

    def slowly(handler):
        begun.set()
        time.sleep(0.3)
        give(handler)

    server.actions["/a.pth"] = slowly
    paths = []

    def fetch():
        paths.append(cache.fetch(PLACE, f"{server.url}/a.pth", DIGEST))

    threads = [threading.Thread(target=fetch) for _ in range(3)]
    threads[0].start()
    begun.wait()
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [home / PLACE] * 3
    assert len(server.requests) == 1
    assert "another process fetches a.pth; waiting for it" in capsys.readouterr().err


def test_a_file_that_was_put_there_by_hand_is_checked_once(server, home):
    path = home / PLACE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match=r"a.pth: its sha256 begins with .*: remove it"):
        cache.fetch(PLACE, f"{server.url}/a.pth", DIGEST)
    path.write_bytes(CONTENT)
    assert cache.fetch(PLACE, f"{server.url}/a.pth", DIGEST) == path
    assert server.requests == []
    path.write_bytes(CONTENT[:-1])  # a copy that broke off
    with pytest.raises(UserError, match="remove it, and it is fetched anew"):
        cache.fetch(PLACE, f"{server.url}/a.pth", DIGEST)


def test_a_folder_that_cannot_be_made(server, home, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VISION_JAX_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot be written to.*VISION_JAX_HOME"):
        cache.fetch(PLACE, f"{server.url}/a.pth")


def test_a_mirror_that_is_no_address(home, monkeypatch):
    monkeypatch.setenv("VISION_JAX_MIRROR", "/mnt/weights")
    with pytest.raises(UserError, match=r"VISION_JAX_MIRROR='/mnt/weights' is no address"):
        weights.resolve(CIFAR)


def test_a_name_gives_a_network_that_answers(mirror):
    model, variables, content = cifar_file()
    mirror.files[f"/copies/{CIFAR}/resnet20-12fca82f.th"] = content
    published = weights.pretrained(CIFAR)
    assert_equal(published.variables, variables)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    prepared = published.prepare(pictures)
    logits = published.model.apply(published.variables, prepared.images)["logits"]
    assert logits.shape == (2, 10)
    assert_equal(weights.load(CIFAR, model), variables)
    initial.check(Init(weights=CIFAR))
    assert len(mirror.requests) == 1


def test_a_file_of_that_name_goes_before_the_name(mirror, tmp_path, monkeypatch):
    model, variables, content = cifar_file()
    monkeypatch.chdir(tmp_path)
    Path("akamaster").mkdir()
    Path(CIFAR).with_suffix(".safetensors").write_bytes(content)
    assert weights.resolve(f"{CIFAR}.safetensors") == Path(f"{CIFAR}.safetensors")
    assert_equal(weights.load(f"{CIFAR}.safetensors", model), variables)
    assert mirror.requests == []


def test_blue_green_red_is_turned_round(mirror, tmp_path, monkeypatch):
    whole = models.fcn("vgg16", 32, 3, learn="all")
    small = whole.head.clone(hidden=(6, 7), window=1)
    model = whole.clone(backbone=models.VGG(width=4, ceil_mode=True), head=small)
    variables = drawn(shapes(model, 64))
    content = save(weights.to_reference(variables, model))
    entry = zoo.find("wkentaro/fcn32s").replace(digest=None)
    monkeypatch.setitem(zoo.entries(), entry.name, entry)
    mirror.files["/copies/wkentaro/fcn32s/fcn32s.pth"] = content
    loaded = weights.load("wkentaro/fcn32s", model)
    kernel = loaded["params"]["backbone"]["conv1_1"]["conv"].pop("kernel")
    theirs = variables["params"]["backbone"]["conv1_1"]["conv"].pop("kernel")
    np.testing.assert_array_equal(kernel, theirs[:, :, ::-1])
    assert_equal(loaded, variables)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("torchvision/resnet50-0676ba6", "did you mean torchvision/resnet50-0676ba61?"),
        ("resnet50.safetensors", "no such file or folder, and no name of the zoo - did you mean"),
        ("detectron2/faster_rcnn_R50_FPN_3x", "did you mean detectron2/faster_rcnn_R_50_FPN_3x?"),
        ("zzzzzz", "`python -m vision_jax.weights list` shows them"),
        ("x" * 5000, "no such file or folder"),
        ("a\0b", "no such file or folder"),
        ("", "no such file or folder"),
        ("hf:", r"hf:OWNER/REPO[@REVISION][/FILE]"),
        ("hf:onlyone", "no file of the Hub"),
        ("hf:a/b/../../c", "no file of the Hub"),
        ("hf:a/b@../x", "no file of the Hub"),
    ],
)
def test_names_that_mean_nothing(home, name, text):
    with pytest.raises(UserError) as error:
        weights.resolve(name)
    assert text in str(error.value)
    with pytest.raises(UserError, match=r"^init\.weights="):
        initial.check({"weights": name})


def test_a_part_of_a_network_has_no_answers(home):
    with pytest.raises(UserError, match="a part of a network, which only starts a training"):
        weights.pretrained("detectron2/MSRA/R-50")


def test_a_page_in_place_of_weights_is_told_by_name(mirror):
    mirror.actions["/copies/darknet/yolov3/yolov3.weights"] = refuse(200, b"<!doctype html>")
    with pytest.raises(UserError, match=r"darknet/yolov3: http.*a web page.*save the file as "):
        weights.load("darknet/yolov3", models.YOLOv3())


# The Hub.


@pytest.fixture
def endpoint(server, home, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    return server


@plain_hub
def test_the_hubs_files(endpoint, home, monkeypatch):
    endpoint.files["/a/b/resolve/main/model.safetensors"] = CONTENT
    endpoint.files["/a/b/resolve/v1.0/sub/x.bin"] = b"x"
    assert weights.resolve("hf:a/b").read_bytes() == CONTENT
    monkeypatch.setenv("HF_TOKEN", "secret")
    path = weights.resolve("hf:a/b@v1.0/sub/x.bin")
    assert path == home / "hf/a/b/v1.0/sub/x.bin"
    assert endpoint.requests[-1][1]["Authorization"] == "Bearer secret"
    assert "Authorization" not in endpoint.requests[0][1]


@plain_hub
def test_the_hub_leads_to_another_server_without_the_token(endpoint, server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    endpoint.files["/elsewhere"] = CONTENT
    to = f"{server.url}/elsewhere".replace("127.0.0.1", "localhost")
    known = hashlib.sha256(CONTENT).hexdigest()
    endpoint.actions["/a/b/resolve/main/model.bin"] = lead(to, X_Linked_ETag=f'"{known}"')
    assert weights.resolve("hf:a/b/model.bin").read_bytes() == CONTENT
    assert "Authorization" not in endpoint.asked("/elsewhere")[0]


@plain_hub
def test_weights_in_several_parts(endpoint):
    model, variables, _ = cifar_file()
    state = weights.to_reference(variables, model)
    names = list(state)
    halves = {"p-1-of-2.safetensors": names[:20], "p-2-of-2.safetensors": names[20:]}
    index = {"weight_map": {name: part for part, some in halves.items() for name in some}}
    root = "/a/b/resolve/main/"
    endpoint.files[f"{root}model.safetensors.index.json"] = json.dumps(index).encode()
    for part, some in halves.items():
        endpoint.files[root + part] = save({name: state[name] for name in some})
    assert_equal(weights.load("hf:a/b", model), variables)


@plain_hub
def test_a_repository_without_weights(endpoint):
    with pytest.raises(UserError, match=r"hf:a/b: has none of model\.safetensors, .*name the file"):
        weights.resolve("hf:a/b")
    with pytest.raises(UserError, match=r"hf:a/b/c\.bin: http.*404"):
        weights.resolve("hf:a/b/c.bin")


@plain_hub
def test_a_repository_that_wants_a_token(endpoint):
    endpoint.actions["/a/b/resolve/main/model.safetensors"] = refuse(401)
    with pytest.raises(UserError, match="set HF_TOKEN"):
        weights.resolve("hf:a/b")


@plain_hub
def test_offline_the_hub_is_not_asked(endpoint, home, monkeypatch):
    endpoint.files["/a/b/resolve/main/model.safetensors"] = CONTENT
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE forbids .* save it by hand as .*hf/a/b"):
        weights.resolve("hf:a/b")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    path = weights.resolve("hf:a/b")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert weights.resolve("hf:a/b") == path
    assert len(endpoint.requests) == 1


def test_a_mirror_has_the_hubs_files_too(mirror):
    mirror.files["/copies/hf/timm/resnet18.tv_in1k/main/model.safetensors"] = CONTENT
    entry = zoo.find("timm/resnet18.tv_in1k")
    assert by_name.cached(entry) is None
    assert weights.resolve(entry.name).read_bytes() == CONTENT
    assert hub.parse(entry.source).place == "hf/timm/resnet18.tv_in1k/main/model.safetensors"


# The command.


def test_the_list_and_what_is_known_of_a_name(home, capsys):
    assert command.main(["list", "R_101"]) == 0
    out = capsys.readouterr().out
    assert "detectron2/faster_rcnn_R_101_FPN_3x" in out
    assert "R_50" not in out
    assert command.main(["show", "darknet/yolov3"]) == 0
    out = capsys.readouterr().out
    assert "sha1 520878f12e97cf820529daea502acca380f1cb8e" in out
    assert "experiments/yolo_v3_coco.py" in out
    assert command.main(["list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(zoo.entries()) + 1


@pytest.mark.parametrize(
    "words", [["show", "yolo"], ["list", "qqq"], ["fetch", "yolo"], ["verify", "yolo"]]
)
def test_bad_names_are_one_line(home, capsys, words):
    assert command.main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("python -m vision_jax.weights: ")


def test_fetch_and_verify(mirror, home, capsys):
    place = f"{CIFAR}/resnet20-12fca82f.th"
    mirror.files[f"/copies/{place}"] = CONTENT
    assert command.main(["verify"]) == 0
    assert command.main(["verify", CIFAR]) == 1
    assert "not in the cache; `python -m vision_jax.weights fetch" in capsys.readouterr().out
    assert command.main(["fetch", CIFAR]) == 0
    assert capsys.readouterr().out == f"{home / place}\n"
    assert command.main(["list", "resnet20"]) == 0
    assert f"* {CIFAR}" in capsys.readouterr().out
    assert command.main(["verify"]) == 0
    assert "unchanged since it was fetched; no hash is published" in capsys.readouterr().out
    damaged = bytearray(CONTENT)
    damaged[7] ^= 1
    (home / place).write_bytes(damaged)
    assert command.main(["verify"]) == 1
    assert "remove it, and it is fetched anew" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_fetch_one_file_once(mirror, home):
    content = os.urandom(1 << 20)
    path = f"/copies/{CIFAR}/resnet20-12fca82f.th"
    mirror.files[path] = content

    def slowly(handler):
        time.sleep(2)
        give(handler)

    mirror.actions[path] = slowly
    words = [sys.executable, "-m", "vision_jax.weights", "fetch", CIFAR]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = [process.communicate()[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert paths[0] == paths[1]
    assert Path(paths[0]).read_bytes() == content
    assert len(mirror.requests) == 1
