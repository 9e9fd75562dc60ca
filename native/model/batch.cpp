#include "model/batch.h"

#include "core/error.h"

namespace vlm2vec {

static void check_picture_of(const ModelConfig& config, const Picture& picture, const std::string& name) {
  const VisionConfig& vision = config.vision;
  const PatchLayout& layout = picture.layout;
  require(layout.patch_size == vision.patch_size && layout.temporal_patch_size == vision.temporal_patch_size &&
              layout.merge_size == vision.merge_size,
          "E_BATCH", name, " has a layout of ", layout.temporal_patch_size, " frames, patches of ", layout.patch_size,
          " and blocks of ", layout.merge_size, "; this model takes ", vision.temporal_patch_size, ", ",
          vision.patch_size, " and ", vision.merge_size);
  check_picture(picture, name);
  require(picture.grid[0] == 1 || !config.dual(), "E_BATCH", name, " has ", picture.grid[0],
          " frames; this model takes one");
}

void Batch::check(const ModelConfig& config) const {
  const char* const code = "E_BATCH";
  require(sequence_count > 0, code, "the batch is empty");
  require(seq_starts[0] == 0 && seq_starts[sequence_count] == token_count, code, "seqStarts run from ", seq_starts[0],
          " to ", seq_starts[sequence_count], ", expected 0 to ", token_count, ", the number of tokens");
  for (int64_t b = 0; b < sequence_count; ++b)
    require(seq_starts[b] < seq_starts[b + 1], code, "sequence ", b, " of the batch has no tokens");
  require(config.takes_pictures() || pictures.empty(), code, "a ", config.family,
          " model takes text only, the batch has ", image_count(), " pictures");
  for (int64_t i = 0; i < image_count(); ++i)
    check_picture_of(config, pictures[size_t(i)], "picture " + std::to_string(i) + " of the batch");
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
