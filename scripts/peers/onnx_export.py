"""Writes the encoders of FOLDER/model (Qwen2-VL) as ONNX graphs, in f32 and with dynamic int8 products (q8).

    python onnx_export.py FOLDER

FOLDER/onnx/vision{,_q8}.onnx: patches (pictures, patches, values), positions (patches, 2) -> the features of pictures of one
    size (pictures * tokens, width).
FOLDER/onnx/text{,_q8}.onnx: input_ids, attention_mask (batch, tokens), position_ids (3, batch, tokens), and features that
    replace the embeddings at `places` of the flattened batch -> last_hidden_state.
FOLDER/transformers.js/onnx/model{,_quantized}.onnx: input_ids, attention_mask -> last_hidden_state, for text alone.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb, apply_rotary_pos_emb_vision


class Vision(torch.nn.Module):
    def __init__(self, vision):
        super().__init__()
        self.vision = vision

    def forward(self, patches, positions):
        pictures, count, values = patches.shape
        weight = self.vision.patch_embed.proj.weight.reshape(-1, values)
        x = F.linear(patches, weight)
        cos, sin = self.vision.rotary_pos_emb(x, positions)
        for block in self.vision.blocks:
            attention = block.attn
            heads = attention.qkv(block.norm1(x)).reshape(pictures, count, 3, attention.num_heads, -1)
            q, k = apply_rotary_pos_emb_vision(heads[:, :, 0], heads[:, :, 1], cos, sin)
            v = heads[:, :, 2]
            out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
            x = x + attention.proj(out.transpose(1, 2).reshape(pictures, count, -1))
            x = x + block.mlp(block.norm2(x))
        return self.vision.merger(x)


class Text(torch.nn.Module):
    def __init__(self, text):
        super().__init__()
        self.text = text

    def hidden(self, x, attention_mask, position_ids):
        batch, length = attention_mask.shape
        cos, sin = self.text.rotary_emb(x, position_ids)
        order = torch.arange(length)
        seen = (order[:, None] >= order[None, :])[None, None] & attention_mask[:, None, None, :].bool()
        bias = torch.where(seen, 0.0, -1e9)
        for layer in self.text.layers:
            attention = layer.self_attn
            y = layer.input_layernorm(x)
            q, k, v = (
                project(y).reshape(batch, length, -1, attention.head_dim).transpose(1, 2)
                for project in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            q, k = apply_rotary_pos_emb(q, k, cos, sin)
            groups = attention.num_key_value_groups
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
            x = x + attention.o_proj(out.transpose(1, 2).reshape(batch, length, -1))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self.text.norm(x)

    def forward(self, input_ids, attention_mask, position_ids, places, features):
        x = self.text.embed_tokens(input_ids)
        x = x.reshape(-1, x.shape[-1]).index_put((places,), features).reshape(x.shape)
        return self.hidden(x, attention_mask, position_ids)


class TextAlone(Text):
    def forward(self, input_ids, attention_mask):
        places = (attention_mask.cumsum(1) - 1).clamp(min=0)
        return self.hidden(self.text.embed_tokens(input_ids), attention_mask, places.expand(3, -1, -1))


def export(module, inputs, axes, output, path, quantized):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        module, tuple(inputs.values()), str(path), input_names=list(inputs), output_names=[output],
        dynamic_axes={**axes, output: {0: "rows"} if output == "features" else {0: "batch", 1: "tokens"}},
        opset_version=17, dynamo=False,
    )  # fmt: skip
    quantize_dynamic(
        str(path), str(path.with_name(quantized)), op_types_to_quantize=["MatMul"], per_channel=True,
        weight_type=QuantType.QInt8, extra_options={"MatMulConstBOnly": True},
    )  # fmt: skip


@torch.no_grad()
def main(folder: Path) -> None:
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder / "model", dtype=torch.float32).model.eval()
    vision, text = model.visual, model.language_model
    values = int(np.prod(vision.patch_embed.proj.weight.shape[1:]))
    positions = torch.stack([torch.arange(16) // 4, torch.arange(16) % 4], 1)
    export(
        Vision(vision), {"patches": torch.randn(2, 16, values), "positions": positions},
        {"patches": {0: "pictures", 1: "patches"}, "positions": {0: "patches"}},
        "features", folder / "onnx/vision.onnx", "vision_q8.onnx",
    )  # fmt: skip
    ids, mask = torch.randint(0, 100, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    batch = {0: "batch", 1: "tokens"}
    inputs = {
        "input_ids": ids, "attention_mask": mask, "position_ids": torch.arange(9).expand(3, 2, 9).contiguous(),
        "places": torch.tensor([0, 3]), "features": torch.randn(2, text.config.hidden_size),
    }  # fmt: skip
    axes = {
        "input_ids": batch, "attention_mask": batch, "position_ids": {1: "batch", 2: "tokens"},
        "places": {0: "replaced"}, "features": {0: "replaced"},
    }  # fmt: skip
    export(Text(text), inputs, axes, "last_hidden_state", folder / "onnx/text.onnx", "text_q8.onnx")
    javascript = folder / "transformers.js"
    alone = {"input_ids": ids, "attention_mask": mask}
    axes = {"input_ids": batch, "attention_mask": batch}
    export(TextAlone(text), alone, axes, "last_hidden_state", javascript / "onnx/model.onnx", "model_quantized.onnx")
    # transformers.js chooses its class by this; the graph knows the rest
    (javascript / "config.json").write_text(json.dumps({**text.config.to_dict(), "model_type": "qwen2"}, default=str))


main(Path(sys.argv[1]))
