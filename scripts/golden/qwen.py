"""What the recordings of Qwen's families share: items of all kinds, what is recorded of their inputs, rows of training."""

import hashlib

from .items import IMAGE, MIDDLE, PICTURES, TEXTS, numbered_rows, pictured_query
from .reference import Input, Reference

ITEMS = [
    *TEXTS, IMAGE,
    {"id": "instruction", "instruction": "Represent the given image with the following question:",
     "text": "What is red?", "images": ["scene1.png"]},
    {"id": "two", "text": "Which one is larger?", "images": ["scene0.png", "scene3.png"]},
    MIDDLE,
    {"id": "wrapped", "text": "<|vision_start|><|image_pad|><|vision_end|> and <|image_pad|> differ.",
     "images": ["scene1.png", "scene2.png"]},
    {"id": "video", "text": "A circle grows.", "videos": [{"frames": [f"frame{i}.png" for i in range(4)], "fps": 2}]},
    {"id": "odd", "text": "Three <|video_pad|> frames.", "videos": [{"frames": [f"frame{i}.png" for i in range(3)]}]},
    {"id": "long", "text": "Many frames.", "videos": [{"frames": [f"frame{i}.png" for i in range(10)]}]},
    {"id": "mixed", "text": "<|video_pad|> then <|image_pad|>", "images": ["scene0.png"],
     "videos": [{"frames": ["frame5.png", "frame1.png"]}]},
    *PICTURES,
    {"id": "gray-alpha", "text": "Both.", "images": ["gray-alpha.png"]},
    {"id": "palette", "text": "Few colours.", "images": ["palette.png"]},
]  # fmt: skip


def input_record(reference: Reference, item_id: str, given: Input) -> dict:
    return {
        "id": item_id,
        "prompt": given.prompt,
        "input_ids": given.ids.tolist(),
        "mrope": reference.positions(given, "mrope").tolist(),
        "sequential": reference.positions(given, "sequential").tolist(),
        "grids": [grid for _, grid in given.grids],
        "resized_sha256": hashlib.sha256(b"".join(frame.tobytes() for frame in given.resized)).hexdigest(),
        "pixel_values": [p.flatten()[:: p.numel() // 12].tolist() for p in given.pixels],
    }


def plain_rows() -> list[dict]:
    """Ten rows; the second and the third have the same target, as have two pictures of the same bytes."""
    rows = numbered_rows(10, pictured_query)
    rows[4] = {"query": {"text": "Find a green triangle."}, "target": {"images": ["scene2.png"]}}
    rows[7] = {"query": {"text": "Frames that grow."}, "target": {"videos": [{"frames": ["frame1.png", "frame6.png"]}]}}
    return rows
