"""The config tree mirrors constructors; every mistake in it is one line."""

import dataclasses

import pytest
from flax import linen as nn

from vision_jax.config import (
    UserError,
    arguments,
    build,
    leaves,
    load,
    load_module,
    node,
    override,
    override_everywhere,
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
        ("inner.rat", "1", "unknown config key 'inner.rat' - did you mean rate?"),
        ("width", "1", "unknown config key 'width' - did you mean parts[1].width?"),
        ("depth", "x", "config key 'depth' takes an int, not 'x'"),
        ("depth", "1.5", "config key 'depth' takes an int, not 1.5"),
        ("depth", "true", "config key 'depth' takes an int, not True"),
        ("depth", "None", "config key 'depth' holds 3; None is not allowed there"),
        ("inner", "3", "config key 'inner' is a group; set one of: name, rate, target"),
        ("parts[5].rate", "3", "config key 'parts[5].rate': item 5 of 2 does not exist"),
        ("limit", "x", "config key 'limit' takes an int, not 'x'"),
    ],
)
def test_a_wrong_override_is_one_line(path, text, message):
    with pytest.raises(UserError) as error:
        override(tree(), path, text)
    assert str(error.value) == message


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
