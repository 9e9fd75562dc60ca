"""
Compares sentence-transformers' vectors with ours, item by item: the largest difference of a number, and exit code 1 above 1e-4.

    vlm2vec-native embed --model DIR --input items.jsonl --output vectors.npy
    python scripts/compare-sentence-transformers.py DIR items.jsonl vectors.npy    (sentence-transformers 6.0, transformers 5.18)

Items have "text", "instruction" and "images" (absolute paths).
"""

import json
import sys

import golden.torchvision_shim  # noqa: F401  (before transformers)
import numpy as np
from PIL import Image
from sentence_transformers import SentenceTransformer

directory, items, vectors = sys.argv[1:]
model = SentenceTransformer(directory, device="cpu", processor_kwargs={"use_fast": False})  # as Pillow resizes
ours = np.load(vectors)
worst = 0.0
with open(items) as file:
    for row, item in enumerate(map(json.loads, file)):
        pictures = [Image.open(path).convert("RGB") for path in item.get("images", [])]
        content = [{"type": "image", "image": picture} for picture in pictures]
        if item.get("text"):
            content.append({"type": "text", "text": item["text"]})
        prompt = {"prompt": item["instruction"]} if "instruction" in item else {}
        plain = item.get("text") if not pictures else None
        theirs = model.encode([plain or [{"role": "user", "content": content}]], **prompt)[0]
        difference = float(np.abs(theirs - ours[row]).max())
        worst = max(worst, difference)
        print(f"{row}: {difference:.1e}")
print(f"largest difference: {worst:.1e}")
sys.exit(worst > 1e-4)
