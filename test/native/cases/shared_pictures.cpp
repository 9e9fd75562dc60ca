// Pictures that several sequences of a step show: encoded once, and the gradients of all uses added up before the
// tower's backward pass. Against the same step with a copy of the picture for each use.
#include <algorithm>
#include <cmath>

#include "tiny_model.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

const std::vector<std::vector<int32_t>> kGrids = {{1, 4, 2}, {2, 2, 4}, {1, 2, 2}};

// A sequence: which picture it shows (-1: none), and its text.
struct Shown {
  int picture, text;
};
// Within a chunk and across; a chunk whose pictures others have brought, one of which it shows twice; one without any.
const std::vector<std::vector<Shown>> kChunks = {
    {{0, 1}, {1, 2}, {0, 3}}, {{1, 4}, {2, 5}}, {{2, 6}, {0, 7}, {2, 8}}, {{-1, 9}}};

// Each use with patches of its own, as without sharing.
std::vector<Sequences> apart() {
  std::vector<Sequences> result(kChunks.size());
  for (size_t c = 0; c < kChunks.size(); ++c)
    for (const Shown& shown : kChunks[c]) {
      if (shown.picture >= 0) result[c].bring(100 + shown.picture, kGrids[size_t(shown.picture)]);
      result[c].show(4, shown.text, shown.picture < 0 ? std::vector<int32_t>() : kGrids[size_t(shown.picture)]);
    }
  return result;
}

int32_t features_of(int picture) {
  const auto& grid = kGrids[size_t(picture)];
  return grid[0] * grid[1] * grid[2] / 4;
}

std::vector<Sequences> shared(std::vector<ChunkPlace>& places) {
  std::vector<Sequences> result(kChunks.size());
  std::vector<bool> brought(kGrids.size());
  for (size_t c = 0; c < kChunks.size(); ++c) {
    std::vector<int> own, known;
    for (const Shown& shown : kChunks[c]) {
      if (shown.picture < 0) continue;
      auto& list = brought[size_t(shown.picture)] ? known : own;
      if (std::find(list.begin(), list.end(), shown.picture) == list.end()) list.push_back(shown.picture);
    }
    std::map<int, int32_t> first;
    int32_t next = 0;
    for (const auto* list : {&own, &known})
      for (int picture : *list) {
        first[picture] = next;
        next += features_of(picture);
      }
    for (const Shown& shown : kChunks[c]) {
      result[c].show(4, shown.text, shown.picture < 0 ? std::vector<int32_t>() : kGrids[size_t(shown.picture)]);
      if (shown.picture >= 0)
        for (int32_t i = 0; i < features_of(shown.picture); ++i)
          result[c].feature_rows.push_back(first[shown.picture] + i);
    }
    for (int picture : own) {
      result[c].bring(100 + picture, kGrids[size_t(picture)]);
      places[c].brought.push_back(picture);
      brought[size_t(picture)] = true;
    }
    places[c].known.assign(known.begin(), known.end());
  }
  return result;
}

struct Outcome {
  std::vector<float> embeddings;
  std::map<std::string, std::vector<float>> gradients;
};

Outcome train(Device& device, const TrainerOptions& options, bool share) {
  const TinyCheckpoint checkpoint, out;
  Trainer trainer(device, tiny_config(), {checkpoint.path}, options);
  Outcome outcome;
  for (int step = 0; step < 3; ++step) {  // after two updates the adapters' B is not zero
    std::vector<ChunkPlace> places(kChunks.size());
    std::vector<Sequences> chunks = share ? shared(places) : apart();
    std::vector<std::vector<float>> gradients;
    for (size_t c = 0; c < chunks.size(); ++c) {
      places[c].step = step;
      places[c].chunk = int64_t(c);
      for (const auto& each : chunks) places[c].step_tokens += int64_t(each.tokens.size());
      std::vector<float> embeddings(kChunks[c].size() * 32);
      trainer.embed(chunks[c].batch(), places[c], embeddings.data(), nullptr);
      outcome.embeddings.insert(outcome.embeddings.end(), embeddings.begin(), embeddings.end());
      for (size_t i = 0; i < embeddings.size(); ++i)
        embeddings[i] = random_normal(11, uint64_t(step), 100 * c + i) + 0.1f * embeddings[i];
      gradients.push_back(embeddings);
    }
    for (size_t c = chunks.size(); c-- > 0;)
      trainer.backward(chunks[c].batch(), places[c], gradients[c].data(), nullptr);
    if (step < 2) trainer.update({1e-3f, 0, 1});
  }
  trainer.save_gradients(out.path);
  const SafetensorsFile file(out.path);
  for (const auto& tensor : file.tensors()) {
    const float* data = static_cast<const float*>(tensor.data);
    outcome.gradients[tensor.name].assign(data, data + tensor.size());
  }
  return outcome;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double(a[i]) - b[i], 2);
    norm += double(a[i]) * a[i];
  }
  return std::sqrt(difference / norm);
}

TrainerOptions adapters(std::vector<AdapterSpec> specs) {
  TrainerOptions options;
  options.adapters = std::move(specs);
  options.seed = 9;
  return options;
}

const AdapterSpec kText = {"model.language_model.layers.0.self_attn.q_proj", 3, 2.0f, false};
const AdapterSpec kVision = {"model.visual.blocks.1.attn.qkv", 4, 1.0f, true};

const Cases cases("shared_pictures",
                  {{"a frozen tower's features are shared without changing a bit", Backends::Cpu,
                    [](Tensors& t) {
                      for (size_t memory : {size_t(0), size_t(1)})
                        for (DType compute : {DType::F32, DType::BF16}) {
                          TrainerOptions options = adapters({kText});
                          options.activation_memory = memory;
                          options.compute = compute;
                          const Outcome one = train(t.device(), options, false),
                                        other = train(t.device(), options, true);
                          expect(one.embeddings == other.embeddings, "embeddings differ in ", name_of(compute));
                          expect(one.gradients == other.gradients, "gradients differ in ", name_of(compute));
                        }
                    }},
                   {"a trained tower gets the gradients of all uses", Backends::Cpu,
                    [](Tensors& t) {
                      TrainerOptions full;
                      full.full = true;
                      for (TrainerOptions options : {full, adapters({kText, kVision})})
                        for (size_t memory : {size_t(0), size_t(1), size_t(1) << 30}) {
                          options.activation_memory = memory;
                          const Outcome one = train(t.device(), options, false),
                                        other = train(t.device(), options, true);
                          expect(one.gradients.size() == other.gradients.size(), "other gradients");
                          expect(distance(one.embeddings, other.embeddings) < 1e-3, "embeddings differ");
                          for (const auto& [name, values] : one.gradients) {
                            const double off = distance(values, other.gradients.at(name));
                            expect(off < 1e-3, name, " is off by ", off, " with a limit of ", memory);
                          }
                        }
                    }},
                   {"a picture that no chunk has brought is refused", [] {
                      const TinyCheckpoint checkpoint;
                      const auto device = Device::cpu(1);
                      Trainer trainer(*device, tiny_config(), {checkpoint.path}, adapters({kText}));
                      std::vector<ChunkPlace> places(kChunks.size());
                      std::vector<Sequences> chunks = shared(places);
                      std::vector<float> embeddings(kChunks[2].size() * 32);
                      expect_error("E_BATCH", {"picture 2", "brought"},
                                   [&] { trainer.embed(chunks[2].batch(), places[2], embeddings.data(), nullptr); });
                    }}});

}  // namespace
