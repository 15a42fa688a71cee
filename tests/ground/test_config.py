"""The config tree mirrors constructors; every mistake in it is one line."""

import dataclasses
import pickle
import typing

import pytest
from flax import linen as nn

from vision_jax.config import (
    CommaText,
    UserError,
    arguments,
    brief,
    build,
    leaves,
    load,
    load_module,
    node,
    override,
    override_everywhere,
    plain,
    within,
)


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    name: str | None = None


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = dataclasses.field(default_factory=Inner)
    parts: tuple = ()
    sizes: tuple = (1, 2)
    depth: int = 3
    on: bool = False
    limit: int | None = None


class Net(nn.Module):
    width: int = 8
    norm: str = "sync"


@dataclasses.dataclass(frozen=True)
class Optional:
    inner: Inner | None = None
    pairs: tuple[tuple[str, float], ...] = ()
    anything: typing.Any = None


@dataclasses.dataclass(frozen=True)
class Picky:
    size: int = 1

    def __post_init__(self):
        within(self, "[1, inf)", "size")


def tree():
    return node(Outer, parts=(node(Inner, rate=0.5), node(Net)))


def test_node_writes_every_default_and_build_makes_the_calls():
    config = tree()
    assert config.depth == 3 and config.inner.rate == 0.1
    assert build(config) == Outer(parts=(Inner(rate=0.5), Net()))


def test_linen_bookkeeping_is_no_setting():
    assert sorted(node(Net)) == ["norm", "target", "width"]


def test_leaves_are_paths_that_override_takes():
    config = tree()
    paths = dict(leaves(config))
    assert paths["parts[0].rate"] == 0.5 and paths["parts[1].width"] == 8
    for path, value in paths.items():
        if not path.endswith("target"):
            override(config, path, value)


def test_a_setting_of_all_parts_at_once():
    config = tree()
    override_everywhere(config, "rate", 0.25)
    assert (config.inner.rate, config.parts[0].rate, config.parts[1].width) == (0.25, 0.25, 8)
    override_everywhere(config, "nowhere", 1)
    with pytest.raises(UserError, match="rate' takes a float"):
        override_everywhere(config, "rate", "fast")


@pytest.mark.parametrize(
    ("path", "text", "read"),
    [
        ("inner.rate", "1e-3", lambda c: c.inner.rate == 1e-3),
        ("inner.rate", "2", lambda c: c.inner.rate == 2.0),
        ("inner.name", "x", lambda c: c.inner.name == "x"),
        ("inner.name", "None", lambda c: c.inner.name is None),
        ("parts[1].width", "16", lambda c: c.parts[1].width == 16),
        ("sizes", "(3, 4, 5)", lambda c: c.sizes == (3, 4, 5)),
        ("sizes", "[3]", lambda c: c.sizes == (3,)),
        ("on", "true", lambda c: c.on is True),
        ("limit", "7", lambda c: c.limit == 7),
    ],
)
def test_override_reads_text_as_the_type_in_place(path, text, read):
    config = tree()
    override(config, path, text)
    assert read(config)
    build(config)


def test_a_group_is_replaced_as_a_whole_by_another_config():
    config = tree()
    override(config, "inner", node(Inner, rate=7.0))
    assert build(config).inner == Inner(rate=7.0)
    with pytest.raises(UserError, match="None is not allowed there"):
        override(config, "inner", None)


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("inner.rat", "1", "unknown config key 'inner.rat' - did you mean inner.rate?"),
        ("width", "1", "unknown config key 'width' - did you mean parts[1].width?"),
        ("depth", "x", "config key 'depth' takes an int, not 'x'"),
        ("depth", "1.5", "config key 'depth' takes an int, not 1.5"),
        ("depth", "true", "config key 'depth' takes an int, not True"),
        ("depth", "None", "config key 'depth' holds 3; None is not allowed there"),
        ("inner", "3", "config key 'inner' is a group; set one of: name, rate"),
        ("parts[5].rate", "3", "config key 'parts[5].rate': item 5 of 2 does not exist"),
        ("limit", "x", "config key 'limit' takes an int, not 'x'"),
    ],
)
def test_a_wrong_override_is_one_line(path, text, message):
    with pytest.raises(UserError) as error:
        override(tree(), path, text)
    assert str(error.value) == message


def test_a_part_that_is_none_is_made_when_a_setting_of_it_is_given():
    config = node(Optional)
    override(config, "inner.rate", "0.5")
    assert build(config) == Optional(inner=Inner(rate=0.5))
    with pytest.raises(UserError, match="'anything' is None; give the whole part"):
        override(node(Optional), "anything.rate", "0.5")
    with pytest.raises(UserError, match=r"'inner.rat' - did you mean inner\.rate\?"):
        override(node(Optional), "inner.rat", "0.5")


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("inner", "0.99", "takes a part (Inner), whose settings have flags of their own, not 0.99"),
        ("inner", "{'rate': 1.0}", "takes a part: {'rate': 1.0} lacks its 'target'"),
        ("pairs", "('a', 1)", "takes tuple[tuple[str, float], ...], such as (('…', 1.0),)"),
        ("pairs", "(('a', 'b'),)", "not (('a', 'b'),)"),
        ("inner", "{'target': 'tests.ground.test_config.Net'}", "takes a part (Inner), not Net"),
    ],
)
def test_values_are_compared_with_the_signature(path, text, message):
    with pytest.raises(UserError) as error:
        override(node(Optional), path, text)
    assert str(error.value).startswith(f"config key {path!r} ") and message in str(error.value)


def test_build_names_the_path_of_what_is_refused():
    config = node(Outer, parts=(node(Inner), node(Picky, size=0)))
    with pytest.raises(UserError) as error:
        build(config)
    assert str(error.value) == "parts[1].size=0 must be at least 1"
    with config.ignore_type():
        config.parts[1].size = "x"
    with pytest.raises(UserError, match=r"^config key 'parts\[1\]\.size' takes an int, not 'x'$"):
        build(config)


def test_a_part_as_text_there_and_back():
    config = node(Outer, inner=node(Inner, rate=7.0, name="it's"), parts=(node(Net, width=3),))
    again = tree()
    override(again, "inner", repr(plain(config.inner)))
    override(again, "parts", repr(plain(config.parts)))
    assert build(again) == build(config)
    assert brief(again.inner) == "Inner(rate=7.0,name=it's)"
    assert brief(again.parts) == "Net(width=3)"
    assert brief(node(Outer)) == "Outer" and brief(0.5) == "0.5"


def test_a_class_of_an_experiment_file_is_a_target(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "import dataclasses\nfrom vision_jax.config import node\n"
        "@dataclasses.dataclass(frozen=True)\nclass Mine:\n    size: int = 3\n"
        "def get_config(arg=''):\n    return node(Mine, size=4)\n"
    )
    config = load(str(file))
    assert config.target == "experiment_own.Mine"
    mine = build(config)
    assert mine.size == 4 and pickle.loads(pickle.dumps(mine)) == mine
    config.target = "experiment_other.Mine"
    with pytest.raises(UserError, match="it lies in an experiment file, which --config names"):
        build(config)


def test_node_refuses_what_the_constructor_does_not_take():
    with pytest.raises(UserError, match=r"Outer has no argument 'dept' - did you mean depth\?"):
        node(Outer, dept=3)


def test_build_names_a_target_that_does_not_import():
    config = node(Inner)
    config.target = "vision_jax.nowhere.Thing"
    with pytest.raises(UserError, match=r"'vision_jax\.nowhere\.Thing' cannot be imported"):
        build(config)


def test_arguments():
    assert arguments("depth=56,smoke", depth=20, smoke=False).depth == 56
    assert arguments("", depth=20).depth == 20
    with pytest.raises(UserError, match=r"unknown config argument 'dept' - did you mean depth\?"):
        arguments("dept=3", depth=20)
    with pytest.raises(UserError, match="'depth' takes an int, not 'x'"):
        arguments("depth=x", depth=20)
    with pytest.raises(UserError, match="'depth' takes an int, not 'nothing'"):
        arguments("depth", depth=20)
    assert arguments("rate=1", rate=0.5).rate == 1.0


OWN = {"train": CommaText(), "val": CommaText(), "size": 0, "name": "", "smoke": False}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "train=coco:a.json,photos,val=coco:b.json,photos",
            {"train": "coco:a.json,photos", "val": "coco:b.json,photos"},
        ),
        (
            "size=3,train=csv:a.csv,photos,xyxy,relative=true,smoke",
            {"size": 3, "train": "csv:a.csv,photos,xyxy,relative=true", "smoke": True},
        ),
        # A split may be called as an argument is, if that is no flag.
        ("train=voc:f,train,val=voc:f,val", {"train": "voc:f,train", "val": "voc:f,val"}),
        ("train=tfds:a/b,train[:9],size=4", {"train": "tfds:a/b,train[:9]", "size": 4}),
        ('train=folder:"a,size=4",size=3', {"train": 'folder:"a,size=4"', "size": 3}),
        ('train=folder:"smoke"', {"train": 'folder:"smoke"'}),
        ('train=folder:a b,"val=x"', {"train": 'folder:a b,"val=x"'}),
        ('name="a,b=c",size=2', {"name": "a,b=c", "size": 2}),
    ],
)
def test_arguments_that_hold_commas(text, expected):
    given = vars(arguments(text, **OWN))
    assert {key: given[key] for key in expected} == expected
    assert all(given[key] == OWN[key] for key in OWN if key not in expected)


def test_other_arguments_hold_no_commas():
    with pytest.raises(UserError, match="unknown config argument 'photos'"):
        arguments("name=a,photos", **OWN)
    with pytest.raises(UserError, match="a quotation mark has no partner"):
        arguments('train=folder:"a,b', **OWN)


def test_load(tmp_path):
    file = tmp_path / "experiment.py"
    file.write_text(
        "from tests.ground.test_config import Outer\nfrom vision_jax.config import node\n"
        "def get_config(arg=''):\n    return node(Outer, depth=len(arg))\n"
    )
    assert load(f"{file}:four").depth == 4
    with pytest.raises(UserError, match=r"not found - did you mean .*experiment\.py\?"):
        load(str(tmp_path / "experimant.py"))
    file.write_text("x = (")
    with pytest.raises(UserError, match=r"experiment\.py', line 1"):
        load_module(str(file))
    file.write_text("x = 1")
    with pytest.raises(UserError, match="has no get_config"):
        load(str(file))
