"""Models of the Hugging Face hub: pulled on request only, then used from disk."""

from __future__ import annotations

import re
from pathlib import Path

from facegate.errors import ModelError
from facegate.extras import TORCH_SUFFIXES, require
from facegate.scoring.backend_selection import cache_folder
from facegate.scoring.families import builtin_card, card_names, file_sha256

WEIGHT_SUFFIXES = (".safetensors", *TORCH_SUFFIXES)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def resolve_weights(weights: str | Path, card: str | None) -> tuple[Path, str | None]:
    """Return the file that ``weights`` names, a path or a pulled hub id, and the card to read it by.

    Raises:
        ModelError: a hub id whose weights were not pulled.
    """
    path = Path(weights)
    if path.exists() or path.suffix in WEIGHT_SUFFIXES or not _HUB_ID.fullmatch(str(weights)):
        return path, card
    folder = _folder(str(weights))
    files = _weight_files([str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()])
    if not files:
        raise ModelError(f"{weights} is not on this machine: run 'facegate models pull {weights}'")
    if card is None:
        card = card_of(str(weights))
    return folder / files[0], card


def card_of(repository: str) -> str | None:
    """Return the name of the built-in card for ``repository``, if there is one."""
    return next((name for name in card_names() if builtin_card(name).hub == repository), None)


def pull(name: str, file: str | None = None) -> Path:
    """Download a model's weights from the hub, resuming an interrupted download; shows progress on stderr.

    Args:
        name: a built-in card with a repository, or a hub id ``owner/name``.
        file: the weight file in the repository, if there are several.

    Raises:
        ModelError: unknown, unreachable, ambiguous, or the SHA-256 differs from the card's.
    """
    require("torch", "downloading a model")
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HTTPError, RepositoryNotFoundError  # type: ignore[attr-defined]

    card = builtin_card(name) if name in card_names() else None
    repository = card.hub if card is not None else name
    if not repository:
        raise ModelError(
            f"the model card '{name}' has no repository: give a weight file, or a hub id as owner/name"
        )
    if not _HUB_ID.fullmatch(repository):
        raise ModelError(
            f"'{name}' is neither a built-in model card nor a hub id: use owner/name, or see 'facegate models list'"
        )
    try:
        # One request: listing the files separately would retry an unreachable hub for half a minute.
        known = HfApi().model_info(repository, timeout=10).siblings or []
        chosen = file or _only(repository, _weight_files([item.rfilename for item in known]))
        found = Path(hf_hub_download(repository, chosen, local_dir=_folder(repository)))
    except GatedRepoError as error:
        raise ModelError(
            f"{repository} needs your consent: accept its terms on its page, then set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"no repository {repository} on the hub: check its name, or set HF_TOKEN if it is private"
        ) from error
    except (HTTPError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"cannot pull {repository}: {reason}; without a network, copy its weight file to this machine"
        ) from error
    if card is not None and card.sha256:
        digest = file_sha256(found)
        if digest != card.sha256:
            found.unlink()
            raise ModelError(
                f"{chosen} of {repository} does not match its card (SHA-256 {digest}), deleted: pull it again"
            )
    return found


def _folder(repository: str) -> Path:
    return cache_folder() / "models" / repository.replace("/", "--")


def _weight_files(names: list[str]) -> list[str]:
    """Weight files, safetensors first."""
    files = [name for name in names if name.endswith(WEIGHT_SUFFIXES) and not name.startswith(".cache")]
    return sorted(files, key=lambda name: (WEIGHT_SUFFIXES.index(Path(name).suffix), name))


def _only(repository: str, files: list[str]) -> str:
    if not files:
        raise ModelError(f"{repository} has no weight file ({', '.join(WEIGHT_SUFFIXES)}): use another repository")
    safe = [name for name in files if name.endswith(".safetensors")]
    candidates = safe or files
    if len(candidates) > 1:
        raise ModelError(f"{repository} has several weight files, choose one with --file: {', '.join(candidates)}")
    return candidates[0]
