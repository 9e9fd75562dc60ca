"""
Records test/golden/llava_next: a tiny random LLaVA-NeXT, what transformers and peft make of it, and what they would make of it
with an error.

    pip install -r scripts/golden/requirements.txt && python scripts/golden_llava.py [--output test/golden/llava_next]
"""

from pathlib import Path

from golden import items, llava, recording
from golden.llava import LlavaReference

PINPOINTS = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]
CONFIG = {
    "architectures": ["LlavaNextForConditionalGeneration"],
    "model_type": "llava_next",
    "image_grid_pinpoints": PINPOINTS,
    "projector_hidden_act": "gelu",
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "use_image_newline_parameter": True,
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
    "text_config": {
        "model_type": "mistral", "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "sliding_window": None,
    },
    "vision_config": {
        "model_type": "clip_vision_model", "hidden_size": 32, "image_size": 28, "intermediate_size": 64,
        "num_attention_heads": 2, "num_hidden_layers": 3, "patch_size": 7, "projection_dim": 16, "vocab_size": 32000,
    },
}  # fmt: skip


def write_model(directory: Path) -> None:
    tokenizer = llava.train_tokenizer(items.CORPUS, 330)
    size = tokenizer.get_vocab_size()
    config = {**CONFIG, "image_token_index": tokenizer.token_to_id(llava.IMAGE)}
    config["text_config"] = {**CONFIG["text_config"], "vocab_size": size + 2}
    llava.write_checkpoint(directory, config, llava.random_weights(config, seed=1, scale=8), tokenizer)


def errors(reference: LlavaReference) -> dict:
    backbone = reference.backbone
    return recording.without_layers(text=backbone.language_model.layers, vision=backbone.vision_tower.encoder.layers)


def touched(given: llava.Input) -> dict[str, bool]:
    pictured = given.pixels is not None
    plain = pictured and all((p == p[0, :, :1, :1]).all() for p in given.pixels)  # one colour: all tiles are alike
    return {"without_text_layer": True, "without_vision_layer": pictured, "turned": pictured and not plain}


def input_record(given: llava.Input) -> dict:
    pixels = [] if given.pixels is None else list(given.pixels)
    return {
        "image_sizes": [] if given.sizes is None else given.sizes.tolist(),
        # of each picture's overview, (3, side, side)
        "overview": [p[0].flatten()[:: p[0].numel() // 12].tolist() for p in pixels],
    }


def training_cases() -> dict[str, dict]:
    vlm2vec = ["q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "gate_proj", "up_proj", "down_proj"]
    everywhere = r".*language_model\.layers\..*_proj|.*vision_tower\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)|.*projector\.linear_[12]"
    return recording.training_cases(everywhere, vlm2vec)


RECORDING = recording.Recording(
    "llava_next", 5e-5, write_model, LlavaReference, errors, touched, input_record, training_cases(), turned=llava.turned
)

if __name__ == "__main__":
    RECORDING.main(__doc__)
