#include "model/parameters.h"

#include "core/error.h"

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

namespace {

bool starts_with(const std::string& text, const char* prefix) { return text.rfind(prefix, 0) == 0; }

// Collects rows of one part.
class Table {
 public:
  explicit Table(std::vector<ParameterSpec>& rows) : rows_(rows) {}
  Part part = Part::Vision;
  void linear(const std::string& module, int64_t n, int64_t k, bool bias) {
    rows_.push_back({module + ".weight", {n, k}, part, Role::Linear});
    if (bias) vector(module + ".bias", n);
  }
  void norm(const std::string& module, int64_t width, bool bias) {
    vector(module + ".weight", width);
    if (bias) vector(module + ".bias", width);
  }
  void vector(const std::string& name, int64_t width) { rows_.push_back({name, {width}, part, Role::Vector}); }
  void other(const std::string& name, std::vector<int64_t> shape, Role role) {
    rows_.push_back({name, shape, part, role});
  }

 private:
  std::vector<ParameterSpec>& rows_;
};

void vision_parameters(Table& table, const VisionConfig& v) {
  const int64_t e = v.embed_dim, f = v.intermediate_size, merged = e * v.merged();
  table.part = Part::Vision;
  table.other("model.visual.patch_embed.proj.weight",
              {e, v.in_channels, v.temporal_patch_size, v.patch_size, v.patch_size}, Role::Linear);
  for (int64_t i = 0; i < v.depth; ++i) {
    const std::string block = "model.visual.blocks." + std::to_string(i);
    table.norm(block + ".norm1", e, true);
    table.linear(block + ".attn.qkv", 3 * e, e, true);
    table.linear(block + ".attn.proj", e, e, true);
    table.norm(block + ".norm2", e, true);
    table.linear(block + ".mlp.fc1", f, e, true);
    table.linear(block + ".mlp.fc2", e, f, true);
  }
  table.part = Part::Merger;
  table.norm("model.visual.merger.ln_q", e, true);
  table.linear("model.visual.merger.mlp.0", merged, merged, true);
  table.linear("model.visual.merger.mlp.2", v.output_size, merged, true);
}

void text_parameters(Table& table, const TextConfig& t) {
  const int64_t c = t.hidden_size, f = t.intermediate_size, q = t.heads * t.head_size, kv = t.kv_heads * t.head_size;
  table.part = Part::Text;
  table.other("model.language_model.embed_tokens.weight", {t.vocab_size, c}, Role::Embedding);
  for (int64_t i = 0; i < t.layers; ++i) {
    const std::string layer = "model.language_model.layers." + std::to_string(i);
    table.norm(layer + ".input_layernorm", c, false);
    table.linear(layer + ".self_attn.q_proj", q, c, true);
    table.linear(layer + ".self_attn.k_proj", kv, c, true);
    table.linear(layer + ".self_attn.v_proj", kv, c, true);
    table.linear(layer + ".self_attn.o_proj", c, q, false);
    table.norm(layer + ".post_attention_layernorm", c, false);
    table.linear(layer + ".mlp.gate_proj", f, c, false);
    table.linear(layer + ".mlp.up_proj", f, c, false);
    table.linear(layer + ".mlp.down_proj", c, f, false);
  }
  table.norm("model.language_model.norm", c, false);
}

}  // namespace

std::vector<ParameterSpec> parameter_table(const ModelConfig& config) {
  std::vector<ParameterSpec> rows;
  Table table(rows);
  vision_parameters(table, config.vision);
  text_parameters(table, config.text);
  return rows;
}

std::string canonical_name(const std::string& name) {
  if (starts_with(name, "model.visual.") || starts_with(name, "model.language_model.")) return name;
  if (starts_with(name, "visual.") || starts_with(name, "language_model.")) return "model." + name;
  if (starts_with(name, "model.")) return "model.language_model." + name.substr(6);
  return name;
}

}  // namespace vlm2vec
