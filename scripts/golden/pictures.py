"""Pictures by formula: sharp edges, gradients and every mode that a PNG can have, in a few kilobytes."""

from pathlib import Path

import numpy as np
from PIL import Image


def pattern(width: int, height: int, kind: int) -> np.ndarray:
    """(height, width, 3) bytes. Neighbouring kinds differ in every channel."""
    y, x = np.mgrid[0:height, 0:width]
    red = (x * (3 + kind) + y * 5) % 256
    green = ((x // (7 + kind)) ^ (y // 5)) * 37 % 256
    blue = ((x - width * 0.4) ** 2 + (y - height * 0.6) ** 2 < (min(width, height) * (0.2 + 0.03 * kind)) ** 2) * 200
    return np.stack([red, green, blue + (y * 55) // max(height, 1)], axis=-1).astype(np.uint8)


def write_pictures(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)

    def save(name: str, picture: Image.Image) -> None:
        picture.save(directory / f"{name}.png", optimize=True)

    for index, (width, height) in enumerate([(84, 56), (70, 90), (61, 75), (112, 84)]):
        save(f"scene{index}", Image.fromarray(pattern(width, height, index)))
    for index in range(10):
        save(f"frame{index}", Image.fromarray(pattern(56, 60, index)))
    save("portrait", Image.fromarray(pattern(30, 170, 2)))
    save("dot", Image.fromarray(np.array([[[200, 30, 90]]], np.uint8)))
    save("large", Image.fromarray(pattern(311, 203, 1)))
    save("gray", Image.fromarray(pattern(80, 64, 3)[..., 0]))
    alpha = (np.add.outer(np.arange(64), np.arange(80)) * 3 % 256).astype(np.uint8)
    save("rgba", Image.fromarray(np.dstack([pattern(80, 64, 4), alpha])))
    save("gray-alpha", Image.fromarray(np.dstack([pattern(80, 64, 5)[..., 0], alpha]), mode="LA"))
    save("palette", Image.fromarray(pattern(72, 64, 2)).quantize(16))
