"""What the recordings of Qwen's families share: items of all kinds, what is recorded of their inputs, rows of training."""

import hashlib

from .reference import Input, Reference

ITEMS = [
    {"id": "text", "text": "A red circle left of a blue square."},
    {"id": "unicode", "text": "Ein grünes Dreieck 🙂 über 日本語\r\n\n  cafe\u0301 don't 12345\t"},
    {"id": "image", "images": ["scene0.png"]},
    {"id": "instruction", "instruction": "Represent the given image with the following question:",
     "text": "What is red?", "images": ["scene1.png"]},
    {"id": "two", "text": "Which one is larger?", "images": ["scene0.png", "scene3.png"]},
    {"id": "middle", "text": "The picture <|image_1|> shows a circle.", "images": ["scene2.png"]},
    {"id": "wrapped", "text": "<|vision_start|><|image_pad|><|vision_end|> and <|image_pad|> differ.",
     "images": ["scene1.png", "scene2.png"]},
    {"id": "video", "text": "A circle grows.", "videos": [{"frames": [f"frame{i}.png" for i in range(4)], "fps": 2}]},
    {"id": "odd", "text": "Three <|video_pad|> frames.", "videos": [{"frames": [f"frame{i}.png" for i in range(3)]}]},
    {"id": "long", "text": "Many frames.", "videos": [{"frames": [f"frame{i}.png" for i in range(10)]}]},
    {"id": "mixed", "text": "<|video_pad|> then <|image_pad|>", "images": ["scene0.png"],
     "videos": [{"frames": ["frame5.png", "frame1.png"]}]},
    {"id": "portrait", "text": "A tall picture.", "images": ["portrait.png"]},
    {"id": "dot", "text": "One pixel.", "images": ["dot.png"]},
    {"id": "large", "text": "A large picture.", "images": ["large.png"]},
    {"id": "gray", "text": "Gray.", "images": ["gray.png"]},
    {"id": "rgba", "text": "Transparent.", "images": ["rgba.png"]},
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
    shape = ["circle", "square", "triangle", "circle", "cross"]
    rows = []
    for i in range(10):
        picture = f"scene{i % 4}.png" if i % 2 else f"frame{i}.png"
        query = {"instruction": "Represent the given image.", "text": f"Number {i}:", "images": [picture]}
        rows.append({"query": query, "target": {"text": f"A {shape[max(i - 1, 0) // 2]} shape."}})
    rows[4] = {"query": {"text": "Find a green triangle."}, "target": {"images": ["scene2.png"]}}
    rows[7] = {"query": {"text": "Frames that grow."}, "target": {"videos": [{"frames": ["frame1.png", "frame6.png"]}]}}
    return rows
