#include "model/batch.h"

#include "core/error.h"

namespace vlm2vec {

void Batch::check(const ModelConfig& config) const {
  const char* const code = "E_BATCH";
  require(sequence_count > 0, code, "the batch is empty");
  require(seq_starts[0] == 0 && seq_starts[sequence_count] == token_count, code, "seqStarts run from ", seq_starts[0],
          " to ", seq_starts[sequence_count], ", expected 0 to ", token_count, ", the number of tokens");
  for (int64_t b = 0; b < sequence_count; ++b)
    require(seq_starts[b] < seq_starts[b + 1], code, "sequence ", b, " of the batch has no tokens");
  require(config.takes_pictures() || image_count + patch_count == 0, code, "a ", config.family,
          " model takes text only, the batch has ", image_count, " pictures");
  const int64_t merge = config.vision.merge_size;
  require(int64_t(patches.size()) == image_count, code, "the batch has patches of ", patches.size(), " pictures, of ",
          image_count);
  int64_t patches_expected = 0;
  for (int64_t i = 0; i < image_count; ++i) {
    const int64_t t = grids[3 * i], h = grids[3 * i + 1], w = grids[3 * i + 2];
    require(t > 0 && h > 0 && w > 0 && h % merge == 0 && w % merge == 0 && t * h * w < (int64_t(1) << 31), code,
            "picture ", i, " of the batch has a grid of ", t, " x ", h, " x ", w,
            " patches; height and width must be multiples of ", merge);
    require(t == 1 || !config.dual(), code, "picture ", i, " of the batch has ", t, " frames; this model takes one");
    patches_expected += patches_of(i);
  }
  require(patches_expected == patch_count, code, "the grids name ", patches_expected, " patches, the batch holds ",
          patch_count);
  require(patch_count == 0 || patch_values == config.vision.patch_values(), code, "a patch holds ", patch_values,
          " numbers, expected ", config.vision.patch_values());
  int64_t placeholders = 0;
  for (int64_t t = 0; t < token_count; ++t) {
    const bool placeholder = config.is_placeholder(tokens[t]);
    require(placeholder || tokens[t] >= 0, code, "token ", t, " = ", tokens[t], " is negative");
    placeholders += placeholder;
  }
  const int64_t features = feature_count(config.vision), there = own_features(config.vision) + known_features;
  require(placeholders == features, code, "the batch has ", placeholders, " placeholder tokens for ", features,
          " picture features");
  const int64_t separators = config.vision.separators;
  require(feature_rows || (separators == 0 && known_features == 0) || there == 0, code, "this model takes featureRows");
  for (int64_t n = 0; n < feature_row_count; ++n)
    require(feature_rows[n] >= -separators && feature_rows[n] < there, code, "featureRows[", n, "] = ", feature_rows[n],
            " is outside of ", there, " features and ", separators, " separators");
  for (int64_t t = 0; t < 3 * token_count; ++t)
    require(positions[t] >= 0, code, "position ", positions[t], " of token ", t % token_count, " is negative");
}

}  // namespace vlm2vec
