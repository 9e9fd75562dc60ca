"""Records test/unit/preprocess/tile-pixels.json: SHA-256 of what Pillow and torch make of pictures by the HD transform of Phi-3.5-V
(as its processor describes it) and by transformers' LlavaNextImageProcessorPil: float32 (tiles, 3, 336, 336), the overview first.

python scripts/record-tiles.py PHOTOS   (Pillow 12.3, torch 2.13 on a CPU with AVX2, transformers 5.18)
"""

import hashlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import golden.torchvision_shim  # noqa: F401  (before transformers)
from PIL import Image, ImageOps
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

TILE = 336
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
SIZES = [(1, 1), (40, 30), (30, 41), (640, 480), (97, 500), (1000, 101), (336, 336), (700, 1300)]
LLAVA = LlavaNextImageProcessorPil(size={"shortest_edge": TILE}, crop_size={"height": TILE, "width": TILE})


def formula(width: int, height: int) -> Image.Image:
    y, x, c = np.mgrid[0:height, 0:width, 0:3]
    pixels = np.where((x // 3 + y // 2) % 2, np.where(c == 1, 255, 0), (x * 37 + y * 101 + c * 59 + x * y * 7) & 255)
    return Image.fromarray(pixels.astype(np.uint8))


def hd_canvas(image: Image.Image, crops: int) -> Image.Image:
    turned = image.width < image.height
    if turned:
        image = image.transpose(Image.Transpose.TRANSPOSE)
    ratio = image.width / image.height
    across = max(n for n in range(1, crops + 1) if all(m * math.ceil(m / ratio) <= crops for m in range(1, n + 1)))
    width = TILE * across
    height = int(width / ratio)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    missing = math.ceil(height / TILE) * TILE - height
    image = ImageOps.expand(image, (0, missing // 2, 0, missing - missing // 2), (255, 255, 255))
    return image.transpose(Image.Transpose.TRANSPOSE) if turned else image


def hd_tiles(image: Image.Image, crops: int) -> np.ndarray:
    pixels = torch.from_numpy(np.array(hd_canvas(image, crops))).permute(2, 0, 1).contiguous()
    pixels = pixels.float().div(255).sub(MEAN).div(STD)
    overview = F.interpolate(pixels[None], size=(TILE, TILE), mode="bicubic")
    tiles = pixels.unfold(1, TILE, TILE).unfold(2, TILE, TILE).permute(1, 2, 0, 3, 4).flatten(0, 1)
    return torch.cat([overview, tiles]).numpy()


def digest(values: np.ndarray) -> dict:
    data = np.ascontiguousarray(values, dtype=np.float32)
    return {"tiles": len(data), "sha256": hashlib.sha256(data.tobytes()).hexdigest()}


def record(image: Image.Image, index: int) -> dict:
    crops = index % 16 + 1
    anyres = LLAVA(images=[image], return_tensors="np")["pixel_values"][0]
    return {"hd": {"crops": crops, **digest(hd_tiles(image, crops))}, "anyres": digest(anyres)}


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
