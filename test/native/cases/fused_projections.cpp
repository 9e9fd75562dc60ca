// Checkpoints whose query, key and value projections, and whose gate and up projections, are one tensor each (Phi-3).
#include <cmath>

#include "tiny_model.h"
#include "train/trainer.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

const Cases cases("fused projections",
                  {{"they are the separate ones, row by row", Backends::Cpu, [](Tensors& t) {
                      auto json = tiny_json();
                      json["text"]["fusedProjections"] = true;
                      const ModelConfig fused_config = ModelConfig::from_json(json);
                      std::vector<TensorToWrite> separate;
                      const TinyCheckpoint checkpoint([&](auto& tensors) { separate = tensors; });
                      const auto join = [&](const std::string& prefix, std::initializer_list<const char*> parts,
                                            const char* whole, const char* kind, std::vector<TensorToWrite>& tensors) {
                        std::vector<const TensorToWrite*> found;
                        for (const char* part : parts)
                          for (const auto& tensor : separate)
                            if (tensor.name == prefix + part + kind) found.push_back(&tensor);
                        if (found.empty()) return;
                        std::vector<int64_t> shape = found[0]->shape;
                        shape[0] = 0;
                        for (const auto* tensor : found) shape[0] += tensor->shape[0];
                        tensors.push_back({prefix + whole + kind, DType::F32, shape, [found](void* to) {
                                             for (const auto* tensor : found) {
                                               tensor->fill(to);
                                               int64_t size = 4;
                                               for (int64_t each : tensor->shape) size *= each;
                                               to = static_cast<char*>(to) + size;
                                             }
                                           }});
                      };
                      const TinyCheckpoint fused([&](auto& tensors) {
                        for (size_t i = tensors.size(); i-- > 0;)
                          for (const char* part : {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"})
                            if (tensors[i].name.find(part) != std::string::npos) {
                              tensors.erase(tensors.begin() + long(i));
                              break;
                            }
                        for (int i = 0; i < 3; ++i) {
                          const std::string layer = "model.language_model.layers." + std::to_string(i);
                          for (const char* kind : {".weight", ".bias"}) {
                            join(layer + ".self_attn.", {"q_proj", "k_proj", "v_proj"}, "qkv_proj", kind, tensors);
                            join(layer + ".mlp.", {"gate_proj", "up_proj"}, "gate_up_proj", kind, tensors);
                          }
                        }
                      });
                      EmbeddingModel a(t.device(), tiny_config(), {checkpoint.path}, {});
                      EmbeddingModel b(t.device(), fused_config, {fused.path}, {});
                      for (int i = 0; i < 3; ++i) {
                        const auto apart = embed(a, item(i)), together = embed(b, item(i));
                        for (size_t j = 0; j < apart.size(); ++j)
                          expect(std::abs(apart[j] - together[j]) < 2e-6, "item ", i, ": ", apart[j], " and ",
                                 together[j]);
                      }
                      TrainerOptions full;
                      full.full = true;
                      Trainer one(t.device(), tiny_config(), {checkpoint.path}, full);
                      Trainer other(t.device(), fused_config, {fused.path}, full);
                      const std::vector<float> d(32, 0.5f);
                      double norms[2];
                      Sequences sequences = item(1);
                      for (Trainer* trainer : {&one, &other}) {
                        trainer->backward(sequences.batch(), {0, 0, 0, 0}, d.data(), nullptr);
                        norms[trainer == &other] = trainer->update({1e-3f, 0, 0});
                      }
                      expect(norms[0] > 1e-3 && std::abs(norms[0] / norms[1] - 1) < 1e-5, "norms ", norms[0], " and ",
                             norms[1]);
                    }}});

}  // namespace
