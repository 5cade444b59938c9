"""Reading YAML: one parser for every file, which refuses a key that occurs twice."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeVar

import msgspec
import yaml
from yaml.constructor import ConstructorError

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader keeps the last of two equal keys without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping whose keys are all different."""
        seen: set[Hashable] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):  # the parser refuses others
                if key in seen:
                    raise ConstructorError(None, None, f'found duplicate key "{key}"', key_node.start_mark)
                seen.add(key)
        return super().construct_mapping(node, deep)


def load_yaml(text: str | bytes) -> Any:
    """Read plain data.

    Raises:
        yaml.YAMLError: not YAML, or a key occurs twice; ``problem_mark`` is where.
    """
    return yaml.load(text, Loader=_Loader)


def decode_yaml(content: bytes, kind: type[T]) -> T:
    """Read a record.

    Raises:
        msgspec.DecodeError: not YAML, or another record.
    """
    try:
        return msgspec.convert(load_yaml(content), kind)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" in line {mark.line + 1}" if mark else ""
        raise msgspec.DecodeError(f"{error.problem}{line}") from error
    except yaml.YAMLError as error:
        raise msgspec.DecodeError(" ".join(str(error).split())) from error
