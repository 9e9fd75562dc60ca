// A text decoder by itself: its names in either spelling, its parts, and that it takes no pictures.
#include <nlohmann/json.hpp>

#include "harness.h"
#include "model/batch.h"
#include "model/encoder.h"
#include "model/family.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

ModelConfig config_of(const char* family) {
  nlohmann::json json = nlohmann::json::parse(R"({
    "text": {"vocabSize": 50, "hiddenSize": 32, "intermediateSize": 48, "layers": 2, "heads": 4, "kvHeads": 2, "headSize": 8,
             "rmsNormEps": 1e-6, "attentionBias": false, "qkNorm": true, "fusedProjections": false,
             "rope": {"kind": "plain", "theta": 10000.0}},
    "tokens": {"image": -1, "video": -1}})");
  json["family"] = family;
  return ModelConfig::from_json(json);
}

const Cases cases("decoder",
                  {{"by itself has parameters of the text model only, known by the names of both spellings",
                    [] {
                      for (const char* name : {"qwen2", "qwen3", "mistral", "phi3"}) {
                        const Family& family = find_family(name);
                        for (const ParameterSpec& spec : parameter_table(config_of(name))) {
                          const std::string bare = spec.name.substr(std::string("model.").size());
                          expect(spec.part == Part::Text && spec.name == "model." + bare, spec.name);
                          for (const std::string& each : {spec.name, bare})
                            expect(family.canonical_name(each) == spec.name, each, " is ", family.canonical_name(each));
                        }
                        expect(family.canonical_name("lm_head.weight") == "lm_head.weight", "lm_head");
                      }
                    }},
                   {"by itself takes no pictures, and no memory for them", [] {
                      const ModelConfig config = config_of("qwen3");
                      const int32_t tokens[] = {3, 4}, starts[] = {0, 2}, positions[] = {0, 1, 0, 1, 0, 1};
                      Batch batch;
                      batch.tokens = tokens, batch.seq_starts = starts, batch.positions = positions;
                      batch.token_count = 2, batch.sequence_count = 1;
                      batch.check(config);
                      const auto bytes = [&](int64_t patches) {
                        return activation_bytes(config, DType::F32, 7, patches, true).all;
                      };
                      expect(bytes(1000) == bytes(0), bytes(1000), " bytes with patches, ", bytes(0), " without");
                      batch.pictures.emplace_back();
                      expect_error("E_BATCH", {"qwen3", "text only"}, [&] { batch.check(config); });
                    }}});

}  // namespace
