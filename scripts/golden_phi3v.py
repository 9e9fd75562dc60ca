"""
Records test/golden/phi3_v: a tiny random Phi-3.5-V, what its parts in transformers and peft make of it, and what they would make
of it with an error.

    pip install -r scripts/golden/requirements.txt && python scripts/golden_phi3v.py [--output test/golden/phi3_v]
"""

from pathlib import Path

from golden import items, llava, phi3v, recording
from golden.checkpoint import scaled_weights
from golden.phi3v import Phi3V, Phi3VReference

CLIP = {
    "hidden_size": 32, "image_size": 28, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 3, "patch_size": 7,
}  # fmt: skip
CONFIG = {
    "architectures": ["Phi3VForCausalLM"], "model_type": "phi3_v", "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
    "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "max_position_embeddings": 4096, "original_max_position_embeddings": 24,
    "sliding_window": 262144, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    "rope_scaling": {
        "type": "su", "short_factor": [1.08, 1.1, 1.13, 1.28, 1.31, 1.45], "long_factor": [1.1, 1.34, 2.62, 7.4, 17.67, 30.84],
    },
    "embd_layer": {
        "embedding_cls": "image", "hd_transform_order": "sub_glb", "projection_cls": "mlp", "use_hd_transform": True,
        "with_learnable_separator": True,
    },
    "img_processor": {
        "image_dim_out": CLIP["hidden_size"], "model_name": "openai/clip-vit-large-patch14-336", "name": "clip_vision_model",
        "num_img_tokens": 4, "num_attention_heads": CLIP["num_attention_heads"],
    },
}  # fmt: skip


def write_model(directory: Path) -> None:
    tokenizer = llava.train_tokenizer(items.CORPUS, 330)
    config = {**CONFIG, "vocab_size": tokenizer.get_vocab_size() + 2}
    weights = scaled_weights(Phi3V({**config, "clip": CLIP}), seed=1, scale=8)
    phi3v.write_checkpoint(directory, config, weights, tokenizer, crops=4)


def errors(reference: Phi3VReference) -> dict:
    backbone = reference.backbone
    clip = backbone.vision_embed_tokens.img_processor.vision_model
    rope = backbone.config.rope_parameters
    return {
        **recording.without_layers(text=backbone.layers, vision=clip.encoder.layers),
        "short_factors": recording.swapped(rope, "long_factor", rope["short_factor"]),
    }


def touched(given: phi3v.Input) -> dict[str, bool]:
    pictured = len(given.pictures) > 0
    plain = pictured and all((p[0] == p[0][0, :, :1, :1]).all() for p in given.pictures)  # all tiles are alike
    long = len(given.ids) > CONFIG["original_max_position_embeddings"]
    return {"without_text_layer": True, "without_vision_layer": pictured, "turned": pictured and not plain, "short_factors": long}


def input_record(given: phi3v.Input) -> dict:
    return {
        "image_sizes": [[CLIP["image_size"] * tiles for tiles in shape] for _, shape in given.pictures],
        "tiles": [len(tiles) for tiles, _ in given.pictures],
    }


def training_cases() -> dict[str, dict]:
    vlm2vec = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj", "k_proj", "q_proj", "out_proj", "v_proj"]
    everywhere = r".*\.layers\..*(_proj|fc1|fc2)|.*img_projection\.[02]"
    return recording.training_cases(everywhere, vlm2vec)


RECORDING = recording.Recording(
    "phi3_v", 7e-5, write_model, Phi3VReference, errors, touched, input_record, training_cases(), turned=phi3v.turned
)

if __name__ == "__main__":
    RECORDING.main(__doc__)
