"""What a model was made from, with licenses, for its card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from facegate.scoring.families import Ingredient

PERMISSIVE = ("Apache-2.0", "MIT", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "public domain")
"""Licenses, as stated by the source, that allow any use."""
TEACHERS = (
    Ingredient(
        "teacher, and start of stem and head",
        "face-reidentification-retail-0095",
        "Apache-2.0",
        "Intel, Open Model Zoo",
    ),
    Ingredient(
        "second teacher", "dlib_face_recognition_resnet_model_v1", "CC0-1.0", "Davis King, davisking/dlib-models"
    ),
)
POOL = {
    "generated": ("CC0-1.0", "faker-js/assets-person-portrait (Stable Diffusion 3)"),
    "generated-sfhq": ("MIT", "SelfishGene/SFHQ-T2I-dataset, © David Beniaguev"),
    "stock": ("CC0-1.0", "cjdowner/interfaces"),
    "lab": ("CC-BY-4.0", "debruine/webmorphR.stim, © Lisa DeBruine and Benedict Jones"),
    "ukparl": ("CC-BY-3.0", "UK Parliament, official portraits"),
    "usgov-congress": ("public domain", "works of the US government, in CivilServiceUSA/us-house and us-senate"),
    "usgov-bioguide": ("public domain", "Biographical Directory of the US Congress, in voteview/member_photos"),
    "usgov-staff": ("CC0-1.0", "18F and USDS"),
    "usgov-gpo": ("public domain", "US Government Publishing Office, in Reform-to/congress-photos"),
    "usold": ("public domain", "photographs older than 1931, in voteview/member_photos"),
    "community": ("CC-BY-4.0", "rOpenSci, The Turing Way, R-Ladies Global, Foundation for Public Code"),
}
"""License as stated, and source, of the folders of ``pool-open112.zip``, at the top and below its gray ones."""


def pool_ingredients(names: Sequence[str]) -> tuple[Ingredient, ...]:
    """The pictures of a pool by folder; a folder that is not listed here has an unknown license."""
    counts = Counter(PurePosixPath(name).parent.name for name in names)
    return tuple(
        Ingredient("pictures", f"{folder}: {count} crops", *POOL.get(folder, ("unknown", "")))
        for folder, count in sorted(counts.items())
    )


def may_be_used_for_anything(ingredients: Sequence[Ingredient]) -> bool:
    """Whether every license allows any use."""
    return bool(ingredients) and all(item.license in PERMISSIVE for item in ingredients)
