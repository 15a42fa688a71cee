"""The place of a network's weights among all that a checkpoint holds."""

import itertools
import logging
from collections.abc import Iterator
from typing import Any

from vision_jax.config import UserError, printable
from vision_jax.weights.numpy_pickle import PickledArray
from vision_jax.weights.pickled import Name, Opaque, Tensor

_LOG = logging.getLogger(__name__)
# Keys of weights; averaged ones come first, as they are the ones that are published and measured.
_AVERAGED = (
    *("model_ema", "state_dict_ema", "ema_state_dict", "ema_model", "params_ema", "ema"),
    *("averaged_model", "model_averaged", "shadow"),
)
_PLAIN = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "params"),
    *("weights", "module", "net_state_dict", "state"),
)
_WRAPPERS = (*_AVERAGED, *_PLAIN)
_NO_WEIGHTS = ("optim", "scheduler", "scaler", "momentum")  # parts of keys of other states
_DEEPEST, _MOST_ITEMS = 4, 100
Values = dict[str, Tensor | PickledArray]
Path = tuple[str, ...]


def state_of(content: Any) -> Values:
    """Returns the tensors by name of a state dict, or of a checkpoint that holds one.

    Looked for is the dict of most tensors. Among several of about so many the averaged weights are
    taken ('model_ema', …), then the keys that are in use ('state_dict', 'model', 'net', …).

    Raises:
      UserError: there is none; a network that was pickled whole is named, and what to do.
    """
    found = {path: values for path, values in _dicts(content) if values}
    if not found:
        raise _nothing(content)
    most = max(len(values) for values in found.values())
    large = [path for path, values in found.items() if 2 * len(values) >= most]
    best = min(large, key=lambda path: (_rank(path), -len(found[path])))
    others = [path for path in large if path and path != best]
    if others:
        _LOG.warning(
            "weights are taken from %s; the file also holds %s",
            _shown(best),
            ", ".join(_shown(path) for path in others[:4]),
        )
    return found[best]


def _dicts(content: Any) -> Iterator[tuple[Path, Values]]:
    """Yields the tensors of each dict, and where it is."""
    for path, value in _places(content):
        if isinstance(value, dict):
            yield path, _tensors(value)


def _places(content: Any) -> Iterator[tuple[Path, Any]]:
    """Yields each container, and where it is; containers come before those in them."""
    seen: set[int] = set()
    level: list[tuple[Path, Any]] = [((), content)]
    for _ in range(_DEEPEST):
        inner: list[tuple[Path, Any]] = []
        for path, value in level:
            if id(value) in seen or not isinstance(value, dict | list | tuple):
                continue
            seen.add(id(value))
            yield path, value
            named = value.items() if isinstance(value, dict) else enumerate(_items(value))
            inner += [
                ((*path, str(k)), v)
                for k, v in named
                if isinstance(v, dict | list | tuple) and _may_hold_weights(k)
            ]
        level = inner


def _items(value: Any) -> list[Any]:
    """Returns a dict's values; of a list, which may be one of numbers, the first."""
    return list(value.values()) if isinstance(value, dict) else list(value[:_MOST_ITEMS])


def _may_hold_weights(key: Any) -> bool:
    """Returns whether an entry is none of an optimizer's."""
    return not isinstance(key, str) or not any(part in key[:99].lower() for part in _NO_WEIGHTS)


def _tensors(values: dict[Any, Any]) -> Values:
    """Returns the entries that are tensors.

    Raises:
      UserError: one is a tensor of a kind that is not read.
    """
    tensors: Values = {}
    for name, value in values.items():
        if not isinstance(name, str):
            continue
        if isinstance(value, Opaque) and value.is_tensor:
            raise UserError(f"{printable(name)}: made by {value.name}, which is not read")
        if isinstance(value, Tensor | PickledArray):
            tensors[name] = value
    return tensors


def _rank(path: Path) -> int:
    """Returns the order in which places are preferred, the least first."""
    known = [_WRAPPERS.index(key) for key in path if key in _WRAPPERS]
    if known:
        return min(known)
    return len(_WRAPPERS) + len(path)


def _shown(path: Path) -> str:
    return repr(printable(".".join(path))) if path else "its top level"


def _nothing(content: Any) -> UserError:
    """Makes the error for a file without tensors by name."""
    opaque = list(itertools.islice(_opaque(content), _MOST_ITEMS))
    module = next((value for value in opaque if value.is_module), None)
    if module is not None:
        kind = printable(module.name.removeprefix("__torch__."))
        return UserError(
            f"it holds a whole pickled network, {kind}, which is code, not its weights: save those "
            "in torch with torch.save(model.state_dict(), FILE)"
        )
    if opaque:
        return UserError(
            f"it asks for {opaque[0]}, which is refused: only tensors, arrays and containers are "
            "read"
        )
    if not isinstance(content, dict | list | tuple):
        return UserError(f"a {type(content).__name__} where a state dict should be")
    return UserError("no tensors or arrays by name")


def _opaque(content: Any) -> Iterator[Opaque]:
    """Yields the opaque values where weights could be."""
    if isinstance(content, Opaque | Name):
        yield content if isinstance(content, Opaque) else Opaque(str(content))
    for _, value in _places(content):
        yield from (v for v in _items(value) if isinstance(v, Opaque))
