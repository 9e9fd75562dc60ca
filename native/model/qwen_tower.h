// The frame of Qwen's vision towers (models: Qwen2VisionTransformerPretrainedModel and its successors): a product over
// flattened patches, blocks with 2-D RoPE, and a merger that joins merge x merge neighbouring patches into one feature.
// A kind is a spec: which blocks, which mergers, in which order patches go and what attends to what.
#pragma once
#include <map>

#include "model/vision.h"

namespace vlm2vec {

// second(gelu(first(norm(h)))) of rows (P / merged, merged E); the norm is as wide as its parameters, E or merged E.
struct MergerSpec {
  std::string norm, first, second;
};

// How the patches of a batch go through the blocks.
struct Arrangement {
  std::vector<int32_t> positions;     // 2 x P: rows, then columns, in the order of the blocks
  std::vector<int32_t> starts;        // bounds of temporal slices
  std::vector<int32_t> local_starts;  // bounds of windows, where blocks are local
  std::vector<int32_t> order;         // features in the order of the blocks; empty: as they come
};

struct QwenTowerSpec {
  std::vector<BlockSpec> blocks;
  MergerSpec merger;
  std::map<int64_t, MergerSpec> deepstack{};  // block -> merger of its output: features of the next level
  std::string positions{};                    // parameter of learned positions; empty: none
  Arrangement (*arrange)(const VisionConfig& config, const Batch& batch);
};

std::unique_ptr<VisionTower> make_qwen_tower(Weights& weights, const QwenTowerSpec& spec);
PassBytes qwen_tower_bytes(const VisionConfig& config, const QwenTowerSpec& spec, DType compute, int64_t patches);

// Patches as they come, merge blocks first; attention within each temporal slice of a picture.
Arrangement arrange_slices(const VisionConfig& config, const Batch& batch);

// The kinds, each in its own file.
QwenTowerSpec qwen2_tower(const VisionConfig& config);
QwenTowerSpec qwen2_5_tower(const VisionConfig& config);
QwenTowerSpec qwen3_tower(const VisionConfig& config);

}  // namespace vlm2vec
