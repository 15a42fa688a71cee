"""Faces that are cut out, aligned and compared; the search itself is held by the golden tests."""

import numpy as np
import pytest
from PIL import Image

from vision_jax import weights
from vision_jax.config import load
from vision_jax.show import faces
from vision_jax.weights import tfjs

FACE = faces.Face(np.array([20.0, 30, 60, 90]), faces.TEMPLATE / 112 * 50 + 15, 0.9)
PHOTO = np.random.default_rng(8).integers(0, 256, (100, 90, 3)).astype(np.uint8)


def test_a_box_is_cut_with_its_margin_and_stretched():
    PHOTO[30:90, 20:60] = 200
    crop = faces.aligned(PHOTO, FACE, "box", 80)
    assert crop.shape == (80, 80, 3)
    inner = slice(int(80 * 0.16), int(80 * 0.84))
    assert (crop[inner, inner] == 200).all() and (crop[:, :4] != 200).any()
    beyond = FACE._replace(box=np.array([-30.0, -20, 40, 70]))
    assert faces.aligned(PHOTO, beyond, "box", 40).shape == (40, 40, 3)


def test_landmarks_come_to_the_templates_places():
    image = np.zeros((100, 90, 3), np.uint8)
    eye = FACE.points[0]
    image[round(eye[1]) - 1 : round(eye[1]) + 2, round(eye[0]) - 1 : round(eye[0]) + 2] = 255
    crop = faces.aligned(image, FACE, "landmarks", 112)
    y, x = np.unravel_index(crop[..., 0].argmax(), (112, 112))
    bright = np.argwhere(crop[..., 0] > 128)
    np.testing.assert_allclose(bright.mean(0)[::-1], faces.TEMPLATE[0], atol=1.5)
    assert abs(y - faces.TEMPLATE[0, 1]) < 5 and abs(x - faces.TEMPLATE[0, 0]) < 5


def test_each_network_has_its_own_crops_and_threshold(tmp_path, monkeypatch, capsys):
    manifest = str(tmp_path / f"face-{tfjs.SUFFIX}")
    (tmp_path / f"face-{tfjs.SUFFIX}").touch()
    monkeypatch.setattr(weights, "load", lambda file, model: {})
    assert faces._comparer(str(tmp_path / "face.bin")).size == faces.DLIB_SIZE  # beside it
    network = faces._comparer(manifest)
    eyes, mouth = network.template[:2], network.template[3:].mean(0)
    np.testing.assert_allclose(np.stack([*eyes, mouth]).mean(0), [0.5, 0.43], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(eyes - mouth, axis=1).mean(), 0.45, rtol=1e-6)
    files = [str(tmp_path / f"{name}.png") for name in "ab"]
    for file in files:
        Image.fromarray(PHOTO).save(file)
    monkeypatch.setattr(faces, "Finder", lambda detector: lambda image: [FACE])
    for limit, verdict in ((None, "two people"), (0.6, "the same person")):
        rows = iter(np.float32([[0, 0], [0.5, 0.5]]))  # 0.5 apart, squared
        crops = []

        def embed(crop, rows=rows, crops=crops):
            crops.append(crop)
            return next(rows)

        monkeypatch.setattr(faces, "_comparer", lambda place, e=embed: network._replace(embed=e))
        faces.compare(files, manifest, limit, None, faces.DETECTOR)
        assert verdict in capsys.readouterr().out and crops[0].shape == (150, 150, 3)


def test_folders_keep_their_form(tmp_path, monkeypatch, capsys):
    for place in ("ann/1.jpg", "ann/2.png", "bo/1.png"):
        (tmp_path / "in" / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PHOTO).save(tmp_path / "in" / place)
    found = iter([[FACE], [], [FACE, FACE]])
    monkeypatch.setattr(faces, "Finder", lambda detector: lambda image: next(found))
    assert faces.main(["align", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    written = sorted(p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.rglob("out/*/*"))
    assert written == ["ann/1.png", "bo/1.png"]
    said = capsys.readouterr().out
    assert "2.png: no face" in said and "the largest of 2" in said and "2 faces of 3 images" in said


def test_shipped_weights_are_found_from_any_folder(tmp_path, monkeypatch):
    experiment = str(faces.DETECTOR.parents[1] / "mtcnn.py")
    monkeypatch.chdir(faces.DETECTOR.parents[2])
    named = load(experiment).init.weights
    assert named == "experiments/weights/mtcnn.safetensors"  # equal in every checkout
    monkeypatch.chdir(tmp_path)
    assert load(experiment).init.weights == str(faces.DETECTOR)


def test_an_unreadable_image_is_left_out_and_told(tmp_path, monkeypatch, capsys):
    photos, out = tmp_path / "in", tmp_path / "out"
    photos.mkdir()
    (photos / "1.jpg").write_bytes(b"\xff\xd8nope")
    Image.fromarray(PHOTO).save(photos / "2.png")
    monkeypatch.setattr(faces, "Finder", lambda detector: lambda image: [FACE])
    assert faces.main(["align", str(photos), str(out)]) == 2
    assert [file.name for file in out.iterdir()] == ["2.png"]
    first, last = capsys.readouterr().err.splitlines()
    assert "left out" in first and "1.jpg" in first and "1 of 2 images" in last


@pytest.mark.parametrize("turned", [True, False])
def test_images_are_turned_by_their_tag_on_demand(tmp_path, monkeypatch, capsys, turned):
    photos, out, seen = tmp_path / "in", str(tmp_path / "out"), []
    photos.mkdir()
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.fromarray(PHOTO).save(photos / "1.jpg", exif=tag)
    monkeypatch.setattr(faces, "Finder", lambda detector: lambda image: seen.append(image) or [])
    assert faces.main(["align", str(photos), out, *["--upright"] * turned]) == 0
    assert seen[0].shape == ((90, 100, 3) if turned else (100, 90, 3))
    assert ("see --upright" in capsys.readouterr().out) != turned


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["align", "nowhere", "out"], "no folder 'nowhere'"),
        (["compare", "a.jpg", "--weights", "x.pt"], "at least two images, not 1"),
        (["compare", "a.jpg", "b.jpg", "--weights", "x.pt"], "x.pt: no such file"),
    ],
)
def test_a_mistake_is_one_line(capsys, arguments, message):
    assert faces.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_picture_that_is_too_small_holds_no_face(monkeypatch):
    monkeypatch.setattr(weights, "load", lambda file, model: {})
    assert faces.Finder()(PHOTO[:12]) == []
