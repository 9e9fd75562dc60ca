"""Records test/unit/preprocess/pictures.json: small pictures of many kinds, and what Pillow's convert('RGB') makes of them.

python scripts/record-pictures.py   (Pillow 12.3, numpy)
"""

import base64
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

HEIGHT, WIDTH = 9, 13
rng = np.random.default_rng(7)
y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
RGB = np.stack([x * 19, y * 28, (x * y * 5) % 256], axis=2).astype(np.uint8)
ALPHA = ((x * 37 + y * 11) % 256).astype(np.uint8)


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(rows: list[bytes], color: int, depth: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", WIDTH, len(rows), depth, color, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def deep_png(channels: int, color: int, limit: int) -> bytes:
    values = rng.integers(0, limit, (HEIGHT, WIDTH, channels)).astype(">u2")
    return png([row.tobytes() for row in values], color, 16)


def cmyk_jpegs() -> dict[str, bytes]:
    plain = saved(Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8), "CMYK"), "JPEG", quality=95)
    start = plain.index(b"\xff\xee")
    end = start + 2 + int.from_bytes(plain[start + 2 : start + 4], "big")
    return {
        "cmyk.jpg": plain,
        "cmyk-without-adobe-marker.jpg": plain[:start] + plain[end:],
        "ycck.jpg": plain[: end - 1] + b"\x02" + plain[end:],
    }


def pictures() -> dict[str, bytes]:
    rgb = Image.fromarray(RGB)
    rgba = Image.fromarray(np.dstack([RGB, ALPHA]), "RGBA")
    gray = rgb.convert("L")
    palette = rgb.quantize(16)
    other = Image.fromarray(255 - RGB)
    turned = Image.Exif()
    turned[0x0112] = 6
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    return {
        "rgb.png": saved(rgb, "PNG"),
        "rgba.png": saved(rgba, "PNG"),
        "gray.png": saved(gray, "PNG"),
        "gray-alpha.png": saved(Image.merge("LA", (gray, Image.fromarray(ALPHA))), "PNG"),
        "bilevel.png": saved(rgb.convert("1"), "PNG"),
        "palette.png": saved(palette, "PNG"),
        "palette-transparent.png": saved(palette, "PNG", transparency=bytes([0, 40, 200, 255] * 4)),
        "profile.png": saved(rgb, "PNG", icc_profile=bytes(profile)),
        "gray-16.png": deep_png(1, 0, 65536),
        "gray-16-dark.png": deep_png(1, 0, 400),
        "rgb-16.png": deep_png(3, 2, 65536),
        "rgba-16.png": deep_png(4, 6, 65536),
        "gray-alpha-16.png": deep_png(2, 4, 65536),
        "420.jpg": saved(rgb, "JPEG", subsampling=2, quality=80),
        "422.jpg": saved(rgb, "JPEG", subsampling=1, quality=80),
        "444-progressive.jpg": saved(rgb, "JPEG", subsampling=0, quality=80, progressive=True),
        "gray.jpg": saved(gray, "JPEG"),
        "turned.jpg": saved(rgb, "JPEG", exif=turned),
        **cmyk_jpegs(),
        "lossy.webp": saved(rgb, "WEBP", quality=80),
        "alpha.webp": saved(rgba, "WEBP", lossless=True, exact=True),
        "animated.webp": saved(rgb, "WEBP", save_all=True, append_images=[other], lossless=True),
        "palette.gif": saved(palette, "GIF"),
        "transparent.gif": saved(palette, "GIF", transparency=3),
        "animated.gif": saved(palette, "GIF", save_all=True, append_images=[other]),
        "interlaced.gif": saved(palette, "GIF", interlace=1, transparency=3),
        "rgb.tiff": saved(rgb, "TIFF", compression="tiff_lzw"),
        "cmyk.tiff": saved(Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8), "CMYK"), "TIFF"),
    }


def main() -> None:
    recorded = []
    for name, data in pictures().items():
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        encoded = {"file": data, "rgb": pixels.tobytes()}
        recorded.append({"name": name, **{key: base64.b64encode(value).decode() for key, value in encoded.items()}})
    target = Path(__file__).parent.parent / "test/unit/preprocess/pictures.json"
    target.write_text(json.dumps({"width": WIDTH, "height": HEIGHT, "pictures": recorded}, indent=1) + "\n")


if __name__ == "__main__":
    main()
