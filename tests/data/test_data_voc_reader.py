"""VOC's format as tools really write it, and what is not VOC's."""

import numpy as np
import pytest
from PIL import Image

from vision_jax.config import UserError
from vision_jax.data import RecordError, VocFolder


def thing(name="cat", box=(10, 11, 30, 31), more=""):
    sides = "".join(
        f"<{side}>{v}</{side}>"
        for side, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name>{more}<bndbox>{sides}</bndbox></object>"


def xml(*things, size=(64, 48), head=""):
    width, height = size
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"{head}<annotation>{size}{''.join(things)}</annotation>"


@pytest.fixture
def write(tmp_path):
    """Writes a year's folder of files and returns its path; images are 64×48."""

    def write(**files):
        base = tmp_path / "year"
        for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (base / name).mkdir(parents=True, exist_ok=True)
        for name, content in files["xmls"].items():
            data = content if isinstance(content, bytes) else content.encode()
            (base / "Annotations" / name).write_bytes(data)
        for k, name in enumerate(files.get("images", ())):
            kind = "PNG" if name.lower().endswith("png") else "JPEG"
            Image.new("RGB", (64, 48), (k, k, k)).save(base / "JPEGImages" / name, kind)
        for name, text in files.get("lists", {}).items():
            (base / "ImageSets/Main" / name).write_text(text)
        return str(base)

    return write


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("photo\nphoto (1)\n", ["photo.jpg", "photo (1).jpg"]),
        ("photo (1)  -1\nphoto  1\n", ["photo (1).jpg", "photo.jpg"]),
        ("photo 0\n", ["photo 0.jpg"]),  # the whole line is an image's name
        ("photo.jpg\nphoto (1).jpg\n", ["photo.jpg", "photo (1).jpg"]),
        ("\ufeffphoto\r\n\r\nphoto\t0\r\n", ["photo.jpg", "photo.jpg"]),
    ],
)
def test_lists(write, text, names):
    images = ["photo.jpg", "photo (1).jpg", "photo 0.jpg"]
    xmls = {f"{name[:-4]}.xml": xml(thing()) for name in images}
    source = VocFolder(write(xmls=xmls, images=images, lists={"train.txt": text}), "train")
    assert [source._listed[i].file.name for i in range(len(source))] == names


def test_suffixes_and_hidden_files(write, tmp_path):
    path = write(
        xmls={"a.xml": xml(thing()), "b.XML": xml(thing("dog")), "._a.xml": b"\0\5\x16\7 Mac OS X"},
        images=["a.jpg", "b.JPG"],
    )
    (tmp_path / "year/JPEGImages/._a.jpg").write_bytes(b"\0\5\x16\7")
    source = VocFolder(path)
    assert len(source) == 2 and source.classes == ("cat", "dog")


@pytest.mark.parametrize("kind", ["images", "xmls"])
def test_two_files_of_one_name(write, kind):
    path = write(
        xmls={"a.xml": xml(thing())} | ({"a.XML": xml(thing())} if kind == "xmls" else {}),
        images=["a.jpg", *(["a.png"] if kind == "images" else [])],
    )
    with pytest.raises(UserError, match=r"year/.*/a\.\w+ and a\.\w+: two files of one name"):
        VocFolder(path)


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-8", "utf-8"),
        ("gb2312", "GB2312"),
        ("gb18030", "gb18030"),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "utf-16"),
        ("utf-16-be", None),
        ("utf-8", "utf-16"),  # a text that was declared before it was written
        ("shift_jis", "Shift_JIS"),
    ],
)
def test_encodings(write, encoding, declared):
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    data = xml(thing("中猫"), head=head).encode(encoding, "replace")
    source = VocFolder(write(xmls={"a.xml": data}, images=["a.jpg"]))
    name = "中猫".encode(encoding, "replace").decode(encoding)
    assert source.classes == (name.removeprefix("\ufeff"),)
    assert source[0]["boxes"].tolist() == [[10, 11, 30, 31]]


def test_latin_1(write):
    data = xml(thing("Bär"), head='<?xml version="1.0" encoding="iso-8859-1"?>').encode("latin-1")
    assert VocFolder(write(xmls={"a.xml": data}, images=["a.jpg"])).classes == ("Bär",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<html><body>404</body></html>", "a <html>, not an <annotation>"),
        (f"<root>{xml(thing())}</root>", "a <root>, not an <annotation>"),
        (f"<annotation><objects>{thing()}</objects></annotation>", "objects lie within <objects>"),
        (xml(thing("")), "object 0 has an empty name"),
        (xml(thing(), thing(" \n ")), "object 1 has an empty name"),
        (xml(thing(box=(1, 2, "x", 4))), "object 0: xmax is 'x', not a number"),
        (xml("<object><name>cat</name></object>"), "object 0 has no bndbox/xmin"),
        (xml(thing(more="<difficult>maybe</difficult>")), "object 0: difficult is 'maybe'"),
        (xml(thing(), size=("wide", 48)), "width is 'wide', not a number"),
        ("", "the XML is damaged"),
        (xml(thing())[:-9], "the XML is damaged"),
        (xml(thing(), head='<?xml version="1.0" encoding="unicode"?>'), "encoding 'unicode' is un"),
        (xml(thing(), head='<?xml version="1.0" encoding="hex"?>'), "encoding 'hex' is unknown"),
        (xml(thing("Bär")).encode("latin-1"), "the XML is not in its encoding, 'utf-8'"),
    ],
)
def test_what_is_wrong_is_named(write, content, message):
    path = write(xmls={"a.xml": content}, images=["a.jpg"])
    with pytest.raises(UserError, match=message) as caught:
        VocFolder(path)
    assert "a.xml" in str(caught.value) and "\n" not in str(caught.value)


def test_flags_as_text(write):
    more = "<difficult>True</difficult><truncated>1</truncated>"
    path = write(xmls={"a.xml": xml(thing(more=more), thing())}, images=["a.jpg"])
    example = VocFolder(path)[0]
    assert example["difficult"].tolist() == [True, False] == example["truncated"].tolist()


def test_sizes_are_compared(write):
    path = write(
        xmls={"a.xml": xml(thing(), size=(128, 96)), "b.xml": xml(thing(), size=(0, 0))},
        images=["a.jpg", "b.jpg"],
    )
    source = VocFolder(path)
    with pytest.raises(
        RecordError, match=r"a.jpg\): the annotations state the size 128×96, the im"
    ):
        source[0]
    np.testing.assert_array_equal(source[1]["boxes"], [[10, 11, 30, 31]])
    assert VocFolder(path, check_sizes=False)[0]["boxes"].tolist() == [[10, 11, 30, 31]]


def test_a_list_of_an_image_without_annotation(write):
    files = {"xmls": {"a.xml": xml(thing())}, "images": ["a.jpg", "b.jpg"]}
    path = write(**files, lists={"train.txt": "a\nb\n"})
    with pytest.raises(UserError, match=r"Annotations/b.xml: No such file or directory$"):
        VocFolder(path, "train")
