"""Writes ONNX graphs, and frees the input size of one, without the ``onnx`` package, which a run does not need.

Only what facegate writes: nodes with integer attributes, float32 constants, uint8 input, float32 outputs. Field
numbers are those of ``onnx.proto`` (IR version 9). Protocol buffers merge: two serialized models, one after the
other, are one model with the nodes and constants of both, which is how constants are added to a finished graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

FLOAT, UINT8 = 1, 2
"""Element types of ``TensorProto``."""
IR_VERSION, OPSET = 9, 17
_INT, _INTS = 2, 7
_VARINT, _BYTES = 0, 2
_GRAPH, _INPUT, _OUTPUT, _VALUE_INFO = 7, 11, 12, 13
"""Fields of ``ModelProto`` and ``GraphProto``."""


def constant(name: str, values: NDArray[np.float32]) -> bytes:
    """A serialized float32 constant, ready for :func:`constants_only` and :func:`model`."""
    dims = b"".join(_number(1, size) for size in values.shape)
    content = np.ascontiguousarray(values, np.dtype("<f4")).tobytes()
    return dims + _number(2, FLOAT) + _text(8, name) + _block(9, content)


def node(kind: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int]) -> bytes:
    """A serialized node with one output; attributes are integers or lists of integers."""
    content = b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(4, kind)
    for name, value in attributes.items():
        if isinstance(value, int):
            given = _number(3, value) + _number(20, _INT)
        else:
            given = b"".join(_number(8, each) for each in value) + _number(20, _INTS)
        content += _block(5, _text(1, name) + given)
    return content


def model(
    nodes: Iterable[bytes],
    constants: Iterable[bytes],
    *,
    given: tuple[str, Sequence[int | None]],
    results: Iterable[str],
) -> bytes:
    """A serialized model.

    Args:
        nodes: of :func:`node`, in order of execution.
        constants: of :func:`constant`.
        given: name and shape of the uint8 input; ``None``: any size.
        results: names of the float32 outputs.
    """
    name, shape = given
    graph = b"".join(_block(1, each) for each in nodes) + _text(2, "network")
    graph += b"".join(_block(5, each) for each in constants)
    graph += _block(11, _text(1, name) + _block(2, _tensor_type(UINT8, shape)))
    graph += b"".join(_block(12, _text(1, each) + _block(2, _tensor_type(FLOAT, None))) for each in results)
    return _number(1, IR_VERSION) + _block(7, graph) + _block(8, _text(1, "") + _number(2, OPSET))


def constants_only(constants: Iterable[bytes]) -> bytes:
    """A fragment that adds ``constants`` to the serialized model that it is appended to."""
    return _block(7, b"".join(_block(5, each) for each in constants))


def with_any_size(content: bytes) -> bytes:
    """Return a serialized model whose image input ``(N, C, H, W)`` may have any ``N``, ``H`` and ``W``.

    Its nodes have to allow that; stored shapes of outputs and of values between nodes are dropped.

    Raises:
        ValueError: it is not an ONNX model with one such input.
    """

    def graph(content: bytes) -> bytes:
        inner = b"".join(_field(*each) for each in _fields(content) if each[0] != _VALUE_INFO)
        return _edited(_edited(inner, _INPUT, _input_of_any_size), _OUTPUT, _output_of_any_shape)

    if _GRAPH not in dict(_fields(content)):
        raise ValueError("the message is not an ONNX model")
    return _edited(content, _GRAPH, graph)


def _input_of_any_size(value: bytes) -> bytes:
    name, element, dims = _tensor(value)
    if len(dims) != 4:
        raise ValueError(f"the input has {len(dims)} dimensions, not four")
    return _block(1, name) + _block(2, _tensor_type(element, (None, dims[1], None, None)))


def _output_of_any_shape(value: bytes) -> bytes:
    name, element, _ = _tensor(value)
    return _block(1, name) + _block(2, _tensor_type(element, None))


def _tensor(value: bytes) -> tuple[bytes, int, list[int | None]]:
    """Name, element type and dimensions of a ``ValueInfoProto``; ``None`` for any size."""
    outer = dict(_fields(value))
    inner = dict(_fields(_as_bytes(dict(_fields(_as_bytes(outer.get(2)))).get(1))))
    element, shape = inner.get(1), inner.get(2, b"")
    dims = [dict(_fields(_as_bytes(content))).get(1) for field, content in _fields(_as_bytes(shape)) if field == 1]
    if not isinstance(element, int):
        raise ValueError("the message is not an ONNX model")
    return _as_bytes(outer.get(1)), element, [size if isinstance(size, int) else None for size in dims]


def _edited(content: bytes, field: int, edit: Callable[[bytes], bytes]) -> bytes:
    """Apply ``edit`` to every block ``field`` of a message."""
    return b"".join(
        _block(number, edit(value)) if number == field and isinstance(value, bytes) else _field(number, value)
        for number, value in _fields(content)
    )


def _field(number: int, value: int | bytes) -> bytes:
    return _block(number, value) if isinstance(value, bytes) else _number(number, value)


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field of a message of integers and length-delimited fields.

    Raises:
        ValueError: it is cut off, or has fields of another kind.
    """
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            if place >= len(content) or shift > 63:
                raise ValueError("the message is cut off")
            byte = content[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(content):
        key = varint()
        if key & 7 == _VARINT:
            yield key >> 3, varint()
        elif key & 7 == _BYTES:
            size = varint()
            if place + size > len(content):
                raise ValueError("the message is cut off")
            yield key >> 3, content[place : place + size]
            place += size
        else:
            raise ValueError(f"field {key >> 3} is neither a number nor a block")


def _as_bytes(value: int | bytes | None) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("the message is not an ONNX model")
    return value


def _tensor_type(element: int, shape: Sequence[int | None] | None) -> bytes:
    content = _number(1, element)
    if shape is not None:
        content += _block(2, b"".join(_block(1, b"" if size is None else _number(1, size)) for size in shape))
    return _block(1, content)


def _varint(value: int) -> bytes:
    found = bytearray()
    while True:
        value, low = value >> 7, value & 127
        found.append(low | (128 if value else 0))
        if not value:
            return bytes(found)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _block(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def _text(field: int, value: str) -> bytes:
    return _block(field, value.encode())
