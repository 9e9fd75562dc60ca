// THE table of an architecture's parameters: name, shape, part, and how each is used. Everything else that needs to
// know a tensor (loading, adapters, optimizer, saving, memory) reads it from here.
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
  Vector      // norm weights and biases: f32 always, never decayed
};

struct ParameterSpec {
  std::string name;  // as in transformers 5: model.visual.blocks.0.attn.qkv.weight
  std::vector<int64_t> shape;
  Part part;
  Role role;

  // (N, K) of a Linear or Embedding: a convolution whose stride is its kernel is a product over flattened patches.
  int64_t n() const { return shape[0]; }
  int64_t k() const;
  int64_t size() const { return n() * k(); }
  bool decayed() const { return role != Role::Vector; }
  std::string module() const;  // the name without ".weight" or ".bias"
};

std::vector<ParameterSpec> parameter_table(const ModelConfig& config);

// The table's name for a tensor of a checkpoint, whichever of the three namings it has: visual.* and model.* (hub),
// model.visual.* and model.language_model.* (transformers 4.52 and later), visual.* and language_model.* (the bare
// model).
std::string canonical_name(const std::string& checkpoint_name);

}  // namespace vlm2vec
