"""Writes ONNX graphs without the ``onnx`` package, which a run does not need for anything else.

Only what facegate writes: nodes with integer attributes, float32 constants, uint8 input, float32 outputs. Field
numbers are those of ``onnx.proto`` (IR version 9). Protocol buffers merge: two serialized models, one after the
other, are one model with the nodes and constants of both, which is how constants are added to a finished graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

FLOAT, UINT8 = 1, 2
"""Element types of ``TensorProto``."""
IR_VERSION, OPSET = 9, 17
_INT, _INTS = 2, 7
_VARINT, _BYTES = 0, 2


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
