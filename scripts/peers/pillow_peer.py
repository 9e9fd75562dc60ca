"""Pillow's candidate: transformers' Qwen2VLImageProcessorPil in two processes."""

import hashlib
import json
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

PROCESSOR = None


def start() -> None:
    global PROCESSOR
    try:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil as Processor
    except ImportError:
        from transformers import Qwen2VLImageProcessor as Processor
    PROCESSOR = Processor(min_pixels=56 * 56, max_pixels=28 * 28 * 1280)


def prepare(path: str, with_hash: bool) -> list[int]:
    picture = Image.open(path).convert("RGB")
    values = np.asarray(PROCESSOR(images=picture, return_tensors="np")["pixel_values"], np.float32)
    if not with_hash:
        return []
    return list(np.frombuffer(hashlib.sha256(np.ascontiguousarray(values)).digest()[:6], "<u2"))


def main() -> None:
    pool, paths = None, []
    for line in sys.stdin:
        settings = json.loads(line)
        if pool is None:
            names = sorted(Path(settings["photos"]).iterdir())
            paths = [str(names[i % len(names)]) for i in range(int(settings["items"]))]
            pool = ProcessPoolExecutor(int(settings["threads"]), initializer=start)
            first = paths[: len(names)]
            hashes = pool.map(prepare, first, [True] * len(first), chunksize=4)
            np.array([value for each in hashes for value in each], np.float32).tofile(settings["outputFile"])
            import PIL

            print(json.dumps({"ready": True, "versions": f"Pillow {PIL.__version__}"}), flush=True)
            continue
        begin = time.perf_counter()
        for _ in pool.map(prepare, paths, [False] * len(paths), chunksize=4):
            pass
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mib": peak}), flush=True)


main()
