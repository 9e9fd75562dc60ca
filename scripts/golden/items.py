"""What several recordings are made of: the words of a tokenizer, items, rows of training."""

from collections.abc import Callable

CORPUS = [
    "Represent the given image with the following question: is the red circle left of the blue square?",
    "Find a picture that shows a small green triangle above a large yellow circle.",
    "Represent the given image for classification. The picture shows a circle, a square and a triangle.",
]
TEXTS = [
    {"id": "text", "text": "A red circle left of a blue square."},
    {"id": "unicode", "text": "Ein grünes Dreieck 🙂 über 日本語\r\n\n  cafe\u0301 don't 12345\t"},
]
IMAGE = {"id": "image", "images": ["scene0.png"]}
MIDDLE = {"id": "middle", "text": "The picture <|image_1|> shows a circle.", "images": ["scene2.png"]}
# of unusual shapes and kinds
PICTURES = [
    {"id": "portrait", "text": "A tall picture.", "images": ["portrait.png"]},
    {"id": "dot", "text": "One pixel.", "images": ["dot.png"]},
    {"id": "large", "text": "A large picture.", "images": ["large.png"]},
    {"id": "gray", "text": "Gray.", "images": ["gray.png"]},
    {"id": "rgba", "text": "Transparent.", "images": ["rgba.png"]},
]
SHAPES = ["circle", "square", "triangle", "circle", "cross"]


def numbered_rows(count: int, query_of: Callable[[int], dict]) -> list[dict]:
    """Rows of which the second and the third have the same target."""
    return [{"query": query_of(i), "target": {"text": f"A {SHAPES[max(i - 1, 0) // 2]} shape."}} for i in range(count)]


def pictured_query(i: int) -> dict:
    picture = f"scene{i % 4}.png" if i % 2 else f"frame{i}.png"
    return {"instruction": "Represent the given image.", "text": f"Number {i}:", "images": [picture]}
