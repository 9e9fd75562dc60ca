"""
Records test/unit/preprocess/fit.json: what transformers' image processors of CLIP and SigLIP (Pillow) make of pictures by
formula and, where VLM2VEC_TEST_DATA names a folder with data/photos, of photographs: SHA-256 of the bytes before rescaling.

    python scripts/record-fit.py   (transformers 5.18, Pillow 12.3)
"""

import hashlib
import json
import os
from pathlib import Path

from golden import torchvision_shim  # noqa: F401  (before transformers)
from golden.pictures import pattern

import numpy as np
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

KEPT = {"do_rescale": False, "do_normalize": False}
CASES = {
    "clip": CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}, **KEPT),
    "clip-wider-edge": CLIPImageProcessorPil(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, **KEPT),
    "clip-too-small": CLIPImageProcessorPil(size={"shortest_edge": 45}, crop_size={"height": 64, "width": 64}, **KEPT),
    "clip-not-square": CLIPImageProcessorPil(size={"height": 70, "width": 33}, crop_size={"height": 50, "width": 50}, **KEPT),
    "siglip": SiglipImageProcessorPil(size={"height": 224, "width": 224}, **KEPT),
}
SIZES = [(80, 60), (60, 80), (301, 517), (500, 224), (224, 224), (1, 1), (37, 5), (225, 224)]


def digest(processor, picture: Image.Image) -> str:
    (pixels,) = processor(images=picture, return_tensors="np")["pixel_values"]
    return hashlib.sha256(np.ascontiguousarray(pixels.transpose(1, 2, 0).astype(np.uint8))).hexdigest()


def main() -> None:
    recorded = []
    for name, processor in CASES.items():
        size, crop = dict(processor.size), processor.crop_size
        cases = [
            {"width": w, "height": h, "sha256": digest(processor, Image.fromarray(pattern(w, h, 3)))} for w, h in SIZES
        ]
        sizes = {key: value for key, value in size.items() if value is not None}
        recorded.append({"name": name, "size": sizes, "crop": crop and crop["height"], "pictures": cases})
    photos = Path(os.environ.get("VLM2VEC_TEST_DATA", "/nowhere")) / "data" / "photos"
    for case in recorded:
        if case["name"] in ("clip", "siglip") and photos.is_dir():
            opened = (Image.open(path).convert("RGB") for path in sorted(photos.iterdir()))
            joined = "".join(digest(CASES[case["name"]], picture) for picture in opened)
            case["photos_sha256"] = hashlib.sha256(joined.encode()).hexdigest()
    target = Path(__file__).parent.parent / "test" / "unit" / "preprocess" / "fit.json"
    target.write_text(json.dumps(recorded, indent=2) + "\n")


if __name__ == "__main__":
    main()
