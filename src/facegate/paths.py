"""Files: default locations, atomic replacement, and YAML, which every reader takes from here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import yaml

T = TypeVar("T")


def data_folder() -> Path:
    """This user's data folder (XDG)."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "facegate"


@contextmanager
def replacing(path: Path, mode: int | None = None, *, keep_suffix: bool = False) -> Iterator[Path]:
    """Replace a file atomically: yield a file to write, which takes its place unless the block raises.

    Args:
        path: the file to replace, or create.
        mode: permissions, also while it is written.
        keep_suffix: let the yielded file have the suffix of ``path``, by which libraries choose a format.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part{path.suffix if keep_suffix else ''}")  # one per process
    try:
        if mode is not None:
            part.touch()
            part.chmod(mode)
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_yaml(text: str | bytes) -> Any:
    """Read plain data from YAML. PyYAML alone would keep the last of two equal keys without a word.

    Raises:
        yaml.YAMLError: not YAML, or a key occurs twice; ``problem_mark`` is where.
    """
    import yaml

    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_equal_keys(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def decode_yaml(content: bytes, kind: type[T]) -> T:
    """Read a record from YAML.

    Raises:
        msgspec.DecodeError: not YAML, or another record.
    """
    import msgspec
    import yaml

    try:
        return msgspec.convert(load_yaml(content), kind)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise msgspec.DecodeError(f"{error.problem}{line}") from error
    except yaml.YAMLError as error:
        raise msgspec.DecodeError(" ".join(str(error).split())) from error


def _refuse_equal_keys(root: yaml.Node) -> None:
    import yaml
    from yaml.constructor import ConstructorError

    left, visited = [root], set[int]()
    while left:
        node = left.pop()
        if id(node) in visited:  # an alias
            continue
        visited.add(id(node))
        keys = set[tuple[str, str]]()
        for child in node.value if isinstance(node, yaml.CollectionNode) else ():
            key, value = child if isinstance(node, yaml.MappingNode) else (None, child)
            left.append(value)
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in keys:
                    raise ConstructorError(None, None, f'found duplicate key "{key.value}"', key.start_mark)
                keys.add((key.tag, key.value))
