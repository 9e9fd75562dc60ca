// A tiny random Qwen2-VL and inputs for it, for the cases that need a whole model.
#pragma once
#include <nlohmann/json.hpp>

#include "batch_arrays.h"
#include "checkpoint.h"
#include "model/embedding_model.h"
#include "train/trainer.h"

namespace vlm2vec::test {

inline nlohmann::json tiny_json() {
  return nlohmann::json::parse(R"({
    "family": "qwen2_vl",
    "text": {"vocabSize": 50, "hiddenSize": 32, "intermediateSize": 48, "layers": 3, "heads": 4, "kvHeads": 2, "headSize": 8,
             "rmsNormEps": 1e-6, "attentionBias": true, "qkNorm": false, "fusedProjections": false,
             "rope": {"kind": "sections", "theta": 10000.0, "sections": [1, 1, 2]}},
    "vision": {"kind": "qwen2", "normEps": 1e-6, "depth": 2, "embedDim": 24, "heads": 3, "intermediateSize": 40, "inChannels": 3, "patchSize": 2,
               "temporalPatchSize": 2, "mergeSize": 2, "outputSize": 32, "activation": "quick_gelu"},
    "tokens": {"image": 48, "video": 49}})");
}

inline ModelConfig tiny_config() { return ModelConfig::from_json(tiny_json()); }

class TinyCheckpoint : public Checkpoint {
 public:
  explicit TinyCheckpoint(const std::function<void(std::vector<TensorToWrite>&)>& change = nullptr)
      : Checkpoint(tiny_config(), change) {}
};

// Sequences of text, or of one picture of (t, h, w) patches and text.
struct Sequences : BatchArrays {
  std::vector<int32_t> axes[3];

  void add(int length, int32_t seed, std::vector<int32_t> grid = {}) {
    if (!grid.empty()) bring(seed, grid);
    show(length, seed, grid);
  }
  // A picture alone, and the tokens of a sequence that shows one.
  void bring(int32_t seed, const std::vector<int32_t>& grid) { add_picture(grid, 24, uint64_t(seed)); }
  void show(int length, int32_t seed, const std::vector<int32_t>& grid) {
    int32_t at = 0;
    const auto put = [&](int32_t token, int32_t t, int32_t h, int32_t w) {
      tokens.push_back(token);
      axes[0].push_back(t), axes[1].push_back(h), axes[2].push_back(w);
    };
    if (!grid.empty()) {
      for (int32_t t = 0; t < grid[0]; ++t)
        for (int32_t h = 0; h < grid[1] / 2; ++h)
          for (int32_t w = 0; w < grid[2] / 2; ++w) put(48, t, h, w);
      at = std::max(grid[1], grid[2]);
    }
    for (int i = 0; i < length; ++i, ++at) put(int32_t(random_bits(5, uint64_t(seed), uint64_t(i)) % 48), at, at, at);
    starts.push_back(int32_t(tokens.size()));
  }

  Batch batch() {
    positions.clear();
    for (const auto& axis : axes) positions.insert(positions.end(), axis.begin(), axis.end());
    return BatchArrays::batch(2, 2);
  }
};

inline Sequences item(int i) {
  Sequences sequences;
  if (i % 3 == 0) sequences.add(3 + i, i);
  if (i % 3 == 1) sequences.add(2, i, {1, 4, 2 + 2 * (i % 4)});
  if (i % 3 == 2) sequences.add(5, i, {2, 2, 4});
  return sequences;
}

inline void append(Sequences& to, const Sequences& from) {
  for (size_t i = 1; i < from.starts.size(); ++i) to.starts.push_back(int32_t(to.tokens.size()) + from.starts[i]);
  to.tokens.insert(to.tokens.end(), from.tokens.begin(), from.tokens.end());
  to.grids.insert(to.grids.end(), from.grids.begin(), from.grids.end());
  to.pixels.insert(to.pixels.end(), from.pixels.begin(), from.pixels.end());
  for (int a = 0; a < 3; ++a) to.axes[a].insert(to.axes[a].end(), from.axes[a].begin(), from.axes[a].end());
}

inline std::vector<float> embed(EmbeddingModel& model, Sequences sequences) {
  std::vector<float> result((sequences.starts.size() - 1) * 32);
  model.embed(sequences.batch(), result.data(), nullptr, nullptr);
  return result;
}

}  // namespace vlm2vec::test
