// Parameters of a model: name, shape, part, and how each is used. Everything that needs to know a tensor (loading,
// adapters, optimizer, saving, memory) reads it from the table, which each family writes (model/families/).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"

namespace vlm2vec {

enum class Part { Vision, Merger, Text };
const char* name_of(Part part);

enum class Role {
  Linear,     // the matrix of a linear layer: packed, may carry an adapter
  Embedding,  // gathered by rows
  Vector      // norm weights, biases and single learned vectors: f32 always, never decayed
};

struct ParameterSpec {
  std::string name;  // as in transformers 5: model.visual.blocks.0.attn.qkv.weight
  std::vector<int64_t> shape;
  Part part;
  Role role;
  bool used = true;  // false: carried along, part of no computation

  // (N, K) of a Linear or Embedding: a convolution whose stride is its kernel is a product over flattened patches.
  int64_t n() const { return shape[0]; }
  int64_t k() const;
  int64_t size() const { return n() * k(); }
  bool decayed() const { return used && role != Role::Vector; }
  std::string module() const;  // the name without ".weight" or ".bias"
};

// Collects rows, one part after the other.
class ParameterTable {
 public:
  Part part = Part::Vision;
  bool used = true;
  std::vector<ParameterSpec> rows;

  // module.weight (N, K), and module.bias (N)
  void linear(const std::string& module, int64_t n, int64_t k, bool bias);
  // module.weight (C), and for a LayerNorm module.bias (C)
  void norm(const std::string& module, int64_t width, bool bias);
  void vector(const std::string& name, int64_t width);
  void other(const std::string& name, std::vector<int64_t> shape, Role role);
};

// The layers of a decoder, `prefix` being "model.language_model." or the like; names and shapes follow TextConfig.
void text_parameters(ParameterTable& table, const TextConfig& config, const std::string& prefix);

std::vector<ParameterSpec> parameter_table(const ModelConfig& config);

}  // namespace vlm2vec
