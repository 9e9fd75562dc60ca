// Sequences of tokens and pictures, packed: flat arrays without padding (src/native.ts, Batch). Host memory, read in
// place.
#pragma once
#include <cstdint>
#include <vector>

#include "model/config.h"
#include "ops/patchify.h"

namespace vlm2vec {

struct Batch {
  const int32_t* tokens = nullptr;      // (T)
  const int32_t* seq_starts = nullptr;  // (B + 1)
  const int32_t* positions = nullptr;   // (3, T)
  std::vector<Picture> pictures;        // (I)
  // (N) or null: what stands at each placeholder, where features and placeholders do not simply follow each other:
  // >= 0 a feature of the batch's pictures, then of known ones, -1, -2, ... a learned vector of the model
  // (ops/gather.h)
  const int32_t* feature_rows = nullptr;
  int64_t token_count = 0, sequence_count = 0;
  int64_t feature_row_count = 0;
  int64_t known_features = 0;  // of pictures that another batch of the step has brought (train/trainer.h)

  int64_t image_count() const { return int64_t(pictures.size()); }
  int64_t patch_count() const {
    int64_t count = 0;
    for (const Picture& picture : pictures) count += picture.patches();
    return count;
  }

  // What the tower makes of the patches: merged ones, or one a picture.
  int64_t own_features(const VisionConfig& config) const {
    return config.pooled ? image_count() : patch_count() / config.merged();
  }
  // N: features that enter the text model, one a placeholder.
  int64_t feature_count(const VisionConfig& config) const {
    return feature_rows ? feature_row_count : own_features(config);
  }

  // E_BATCH unless arrays and pictures fit each other and the model: sequences not empty, as many placeholders as
  // features.
  void check(const ModelConfig& config) const;
};

}  // namespace vlm2vec
