// Models with a CLIP tower: what holds whatever the numbers are, which test/integration compares with PyTorch's.
#include <nlohmann/json.hpp>

#include "batch_arrays.h"
#include "checkpoint.h"
#include "model/embedding_model.h"
#include "train/trainer.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

const char* const kText =
    R"("text": {"vocabSize": 50, "hiddenSize": 32, "intermediateSize": 48, "layers": 2, "heads": 4,
  "kvHeads": 4, "headSize": 8, "rmsNormEps": 1e-6, "attentionBias": false, "qkNorm": false, "fusedProjections": false,
  "rope": {"kind": "plain", "theta": 10000.0}, "positionEmbeddings": 20, "activation": "gelu", "causal": true})";

ModelConfig tiny_config(const std::string& family) {
  const bool llava = family == "llava_next", siglip = family == "siglip";
  const std::string kind = llava ? "llava" : "dual", tower = siglip ? "false" : "true";
  return ModelConfig::from_json(nlohmann::json::parse(
      "{\"family\": \"" + family + "\", " + kText +
      R"(, "vision": {"normEps": 1e-5, "depth": 3, "embedDim": 24, "heads": 3, "intermediateSize": 40, "inChannels": 3,
      "patchSize": 2, "temporalPatchSize": 1, "mergeSize": 1, "outputSize": )" +
      (llava ? "32" : "24") + R"(, "activation": "quick_gelu", "positionEmbeddings": )" + (siglip ? "9" : "10") +
      ", \"featureBlocks\": " + (llava ? "2" : "3") + ", \"separators\": " + (llava ? "1" : "0") +
      ", \"classToken\": " + tower + ", \"kind\": \"" + kind + R"("}, "tokens": {"image": )" + (llava ? "49" : "50") +
      "}}"));
}

// One sequence: text tokens, then what stands for pictures of `tiles` tiles of side x side patches each.
struct Item : BatchArrays {
  Item(bool llava, int text, std::vector<int32_t> tiles, int side = 3) {
    for (int i = 0; i < text; ++i) tokens.push_back(int32_t(random_bits(5, 1, uint64_t(i)) % 48));
    int32_t first = 0;
    for (const int32_t count : tiles) {
      add_picture({count, side, side}, 12, uint64_t(grids.size()));
      const int32_t features = count * side * side;
      if (llava) {
        for (int32_t i = 0; i < features; ++i) feature_rows.push_back(first + i);
        feature_rows.push_back(-1);
      }
      for (int32_t i = 0; i < (llava ? features + 1 : 1); ++i) tokens.push_back(llava ? 49 : 50);
      first += features;
    }
    starts.push_back(int32_t(tokens.size()));
    positions.assign(3 * tokens.size(), 0);
    for (size_t i = 0; i < positions.size(); ++i) positions[i] = int32_t(i % tokens.size());
  }
};

std::vector<float> embed(const std::string& family, const Item& item) {
  const ModelConfig config = tiny_config(family);
  const Checkpoint checkpoint(config);
  const auto device = Device::cpu(1);
  EmbeddingModel model(*device, config, {checkpoint.path}, {});
  std::vector<float> result(size_t(model.dimension()));
  model.embed(item.batch(1, 1), result.data(), nullptr, nullptr);
  return result;
}

const Cases cases(
    "clip", {{"knows a tensor of LLaVA-NeXT by each of its names",
              [] {
                const Family& family = find_family("llava_next");
                const std::string tower = "model.vision_tower.encoder.layers.1.mlp.fc1.weight",
                                  text = "model.language_model.layers.1.mlp.up_proj.weight";
                for (const char* name : {"vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight",
                                         "vision_tower.encoder.layers.1.mlp.fc1.weight",
                                         "model.vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight"})
                  expect(family.canonical_name(name) == tower, name, " is ", family.canonical_name(name));
                for (const char* name :
                     {"language_model.model.layers.1.mlp.up_proj.weight", "language_model.layers.1.mlp.up_proj.weight"})
                  expect(family.canonical_name(name) == text, name, " is ", family.canonical_name(name));
                expect(family.canonical_name("language_model.lm_head.weight") == "lm_head.weight", "lm_head");
                expect(family.canonical_name("image_newline") == "model.image_newline", "newline");
                for (const Naming& naming : family.namings)
                  for (const std::string& name : {tower, text})
                    expect(family.canonical_name(family.spell(name, naming)) == name, naming.name);
                expect(find_family("siglip").canonical_name("vision_model.head.attention.in_proj_weight") ==
                           "vision_model.head.attention.in_proj.weight",
                       "in_proj");
              }},
             {"refuses tiles that its positions don't fit, and several frames for two towers",
              [] {
                expect_error("E_BATCH", {"4 x 4", "9 of a square"}, [] { embed("llava_next", Item(true, 3, {2}, 4)); });
                expect_error("E_BATCH", {"2 frames"}, [] { embed("clip", Item(false, 3, {2})); });
              }},
             {"adds the vectors of text and pictures with equal weight, of several pictures their mean",
              [] {
                for (const char* family : {"clip", "siglip"}) {
                  const auto text = embed(family, Item(false, 5, {})), one = embed(family, Item(false, 0, {1})),
                             both = embed(family, Item(false, 5, {1}));
                  // both lies in the plane of the two, between them
                  double tt = 0, to = 0, tb = 0, ob = 0;
                  for (size_t i = 0; i < text.size(); ++i) {
                    tt += double(text[i]) * text[i], to += double(text[i]) * one[i];
                    tb += double(text[i]) * both[i], ob += double(one[i]) * both[i];
                  }
                  const double a = (tb - to * ob) / (1 - to * to), b = (ob - to * tb) / (1 - to * to);
                  expect(std::abs(tt - 1) < 1e-5 && a > 0 && b > 0, family, ": parts ", a, " and ", b);
                  double off = 0;
                  for (size_t i = 0; i < text.size(); ++i)
                    off = std::max(off, std::abs(both[i] - a * text[i] - b * one[i]));
                  expect(off < 1e-5, family, ": off the plane by ", off);
                }
              }},
             {"has no backward pass of two towers", [] {
                const ModelConfig config = tiny_config("clip");
                const Checkpoint checkpoint(config);
                const auto device = Device::cpu(1);
                TrainerOptions options;
                options.full = true;
                expect_error("E_MODEL", {"clip", "embed and evaluate"},
                             [&] { Trainer(*device, config, {checkpoint.path}, options); });
              }}});

}  // namespace
