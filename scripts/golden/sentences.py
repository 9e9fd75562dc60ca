"""Items to vectors with sentence-transformers 6."""

from pathlib import Path

from . import torchvision_shim  # noqa: F401  (before transformers)

import numpy as np
from PIL import Image
from sentence_transformers import SentenceTransformer


def load(directory: Path | str) -> SentenceTransformer:
    """In f32, pictures as Pillow resizes them."""
    return SentenceTransformer(
        str(directory), device="cpu", model_kwargs={"dtype": "float32"}, processor_kwargs={"use_fast": False}
    )


def encode(model: SentenceTransformer, items: list[dict], root: Path = Path(), separator: str = "") -> np.ndarray:
    """
    (items, dimension); items have "text", "instruction" and "images" (paths below `root`). A model that takes messages gets the
    instruction as that of the system, another in front of the text with `separator` between.
    """
    takes_messages = "message" in model.modalities
    rows = []
    for item in items:
        pictures = [Image.open(root / path).convert("RGB") for path in item.get("images", [])]
        content = [{"type": "image", "image": picture} for picture in pictures]
        if item.get("text"):
            content.append({"type": "text", "text": item["text"]})
        given = [{"role": "user", "content": content}] if pictures else item["text"]
        instruction = item.get("instruction")
        prompt = {} if instruction is None else {"prompt": instruction + ("" if takes_messages else separator)}
        rows.append(model.encode([given], **prompt)[0])
    return np.stack(rows)
