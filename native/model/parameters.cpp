#include "model/parameters.h"

#include "model/family.h"

namespace vlm2vec {

const char* name_of(Part part) {
  switch (part) {
    case Part::Vision: return "vision";
    case Part::Merger: return "merger";
    case Part::Text: return "text";
  }
  return "?";
}

int64_t ParameterSpec::k() const {
  int64_t count = 1;
  for (size_t i = 1; i < shape.size(); ++i) count *= shape[i];
  return count;
}

std::string ParameterSpec::module() const { return name.substr(0, name.rfind('.')); }

void ParameterTable::linear(const std::string& module, int64_t n, int64_t k, bool bias) {
  rows.push_back({module + ".weight", {n, k}, part, Role::Linear, used});
  if (bias) vector(module + ".bias", n);
}

void ParameterTable::norm(const std::string& module, int64_t width, bool bias) {
  vector(module + ".weight", width);
  if (bias) vector(module + ".bias", width);
}

void ParameterTable::vector(const std::string& name, int64_t width) {
  rows.push_back({name, {width}, part, Role::Vector, used});
}

void ParameterTable::other(const std::string& name, std::vector<int64_t> shape, Role role) {
  rows.push_back({name, std::move(shape), part, role, used});
}

void text_parameters(ParameterTable& table, const TextConfig& t, const std::string& prefix) {
  const int64_t c = t.hidden_size, f = t.intermediate_size, q = t.heads * t.head_size, kv = t.kv_heads * t.head_size;
  table.part = Part::Text;
  table.other(prefix + "embed_tokens.weight", {t.vocab_size, c}, Role::Embedding);
  for (int64_t i = 0; i < t.layers; ++i) {
    const std::string layer = prefix + "layers." + std::to_string(i);
    table.norm(layer + ".input_layernorm", c, false);
    if (t.fused_projections) {
      table.linear(layer + ".self_attn.qkv_proj", q + 2 * kv, c, t.attention_bias);
    } else {
      table.linear(layer + ".self_attn.q_proj", q, c, t.attention_bias);
      table.linear(layer + ".self_attn.k_proj", kv, c, t.attention_bias);
      table.linear(layer + ".self_attn.v_proj", kv, c, t.attention_bias);
    }
    if (t.qk_norm) {
      table.norm(layer + ".self_attn.q_norm", t.head_size, false);
      table.norm(layer + ".self_attn.k_norm", t.head_size, false);
    }
    table.linear(layer + ".self_attn.o_proj", c, q, false);
    table.norm(layer + ".post_attention_layernorm", c, false);
    if (t.fused_projections) {
      table.linear(layer + ".mlp.gate_up_proj", 2 * f, c, false);
    } else {
      table.linear(layer + ".mlp.gate_proj", f, c, false);
      table.linear(layer + ".mlp.up_proj", f, c, false);
    }
    table.linear(layer + ".mlp.down_proj", c, f, false);
  }
  table.norm(prefix + "norm", c, false);
}

std::vector<ParameterSpec> parameter_table(const ModelConfig& config) {
  ParameterTable table;
  find_family(config.family).parameters(table, config);
  return table.rows;
}

}  // namespace vlm2vec
