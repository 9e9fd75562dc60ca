"""Records test/unit/preprocess/tile-pixels.json: SHA-256 of what Pillow and torch make of pictures by the HD transform of Phi-3.5-V
(as its processor describes it) and by transformers' LlavaNextImageProcessorPil: float32 (tiles, 3, 336, 336), the overview first.

python scripts/record-tiles.py PHOTOS   (Pillow 12.3, torch 2.13 on a CPU with AVX2, transformers 5.18)
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch
from golden.phi3v import hd_tiles
from PIL import Image
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

TILE = 336
SIZES = [(1, 1), (40, 30), (30, 41), (640, 480), (97, 500), (1000, 101), (336, 336), (700, 1300)]
LLAVA = LlavaNextImageProcessorPil(size={"shortest_edge": TILE}, crop_size={"height": TILE, "width": TILE})


def formula(width: int, height: int) -> Image.Image:
    y, x, c = np.mgrid[0:height, 0:width, 0:3]
    pixels = np.where((x // 3 + y // 2) % 2, np.where(c == 1, 255, 0), (x * 37 + y * 101 + c * 59 + x * y * 7) & 255)
    return Image.fromarray(pixels.astype(np.uint8))


def digest(values) -> dict:
    data = np.ascontiguousarray(values, dtype=np.float32)
    return {"tiles": len(data), "sha256": hashlib.sha256(data.tobytes()).hexdigest()}


def record(image: Image.Image, index: int) -> dict:
    crops = index % 16 + 1
    anyres = LLAVA(images=[image], return_tensors="np")["pixel_values"][0]
    return {"hd": {"crops": crops, **digest(hd_tiles(image, crops, TILE)[0])}, "anyres": digest(anyres)}


def main() -> None:
    torch.set_num_threads(1)
    made = [
        {"width": width, "height": height, **record(formula(width, height), index * 5 + 3)}
        for index, (width, height) in enumerate(SIZES)
    ]
    photos = [
        {"file": path.name, **record(Image.open(path).convert("RGB"), index)}
        for index, path in enumerate(sorted(Path(sys.argv[1]).iterdir()))
    ]
    target = Path(__file__).parent.parent / "test/unit/preprocess/tile-pixels.json"
    lines = lambda records: ",\n  ".join(json.dumps(each) for each in records)
    target.write_text(f'{{"formula": [\n  {lines(made)}\n], "photos": [\n  {lines(photos)}\n]}}\n')


if __name__ == "__main__":
    main()
