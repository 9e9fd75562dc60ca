// Properties of the whole model and trainer on a tiny random Qwen2-VL: what the numbers are is tested against recorded
// PyTorch states (test/integration); here is what must hold whatever they are.
#include <cmath>
#include <cstring>

#include "model/family.h"
#include "tiny_model.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

const std::vector<AdapterSpec> kAdapters = {{"model.language_model.layers.0.self_attn.q_proj", 3, 2.0f, false},
                                            {"model.language_model.layers.2.mlp.down_proj", 2, 0.5f, true},
                                            {"model.visual.blocks.1.attn.qkv", 4, 1.0f, true},
                                            {"model.visual.merger.mlp.0", 2, 1.0f, false},
                                            {"model.visual.patch_embed.proj", 2, 1.0f, false}};

// Gradients by name after one pass over `count` items in chunks of `chunk`, by way of the file that users read.
std::map<std::string, std::vector<float>> gradients(Device& device, TrainerOptions options, int count, int chunk,
                                                    bool keeping = false, size_t* kept = nullptr) {
  const TinyCheckpoint checkpoint, out;
  Trainer trainer(device, tiny_config(), {checkpoint.path}, options);
  // two optimizer steps first, so that the adapters' B is not zero
  for (int step = 0; step < 3; ++step) {
    std::vector<std::vector<float>> d;
    for (bool backward : {false, true}) {  // the first pass through all chunks, then the second
      ChunkPlace place;
      place.step = step;
      for (int i = 0; keeping && i < count; ++i) place.step_tokens += int64_t(item(i).tokens.size());
      for (int first = 0; first < count; first += chunk, ++place.chunk) {
        Sequences sequences;  // other memory in each pass
        for (int i = first; i < std::min(count, first + chunk); ++i) append(sequences, item(i));
        if (backward) {
          trainer.backward(sequences.batch(), place, d[size_t(place.chunk)].data(), nullptr);
        } else {
          std::vector<float> embeddings((sequences.starts.size() - 1) * 32);
          trainer.embed(sequences.batch(), place, embeddings.data(), nullptr);
          for (size_t i = 0; i < embeddings.size(); ++i)
            embeddings[i] = random_normal(11, uint64_t(step), uint64_t(first) * 32 + i) + 0.1f * embeddings[i];
          d.push_back(embeddings);
        }
        place.first_token += int64_t(sequences.tokens.size());
        place.first_patch += sequences.patch_count();
      }
    }
    if (step < 2) trainer.update({1e-2f, 0, 1});
  }
  if (kept) *kept = trainer.kept_bytes();
  trainer.save_gradients(out.path);
  std::map<std::string, std::vector<float>> result;
  const SafetensorsFile file(out.path);
  for (const auto& tensor : file.tensors()) {
    const float* data = static_cast<const float*>(tensor.data);
    result[tensor.name].assign(data, data + tensor.size());
  }
  return result;
}

void expect_same_gradients(const std::map<std::string, std::vector<float>>& a,
                           const std::map<std::string, std::vector<float>>& b, double bound) {
  expect(a.size() == b.size() && !a.empty(), a.size(), " and ", b.size(), " gradients");
  double total = 0;
  for (const auto& [name, values] : a)
    for (float value : values) total += double(value) * value;
  for (const auto& [name, values] : a) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      difference += std::pow(double(values[i]) - b.at(name)[i], 2);
      norm += double(values[i]) * values[i];
    }
    expect(norm > 0, name, " has a gradient of norm ", norm);
    expect(std::sqrt(difference) <= bound * std::max(std::sqrt(norm), 1e-2 * std::sqrt(total)), name,
           ": gradients differ by ", std::sqrt(difference), " of ", std::sqrt(norm));
  }
}

TrainerOptions lora_options(float dropout) {
  TrainerOptions options;
  options.adapters = kAdapters;
  options.dropout = dropout;
  options.seed = 9;
  return options;
}

void expect_checkpoint_error(std::initializer_list<const char*> words,
                             const std::function<void(std::vector<TensorToWrite>&)>& change) {
  const TinyCheckpoint checkpoint(change);
  const auto device = Device::cpu(1);
  expect_error("E_CHECKPOINT", words, [&] { EmbeddingModel(*device, tiny_config(), {checkpoint.path}, {}); });
}

// Behind 1,100 tokens and 1,120 patches, and alone.
void check_many_rows(Device& device) {
  const TinyCheckpoint checkpoint;
  TrainerOptions options = lora_options(0.3f);
  options.adapters.push_back({"model.language_model.layers.0.mlp.up_proj", 2, 1.0f, false});
  options.adapters.push_back({"model.visual.blocks.0.mlp.fc2", 2, 1.0f, false});
  Trainer trainer(device, tiny_config(), {checkpoint.path}, options);
  Sequences first = item(1), large, all;
  std::vector<float> d(32, 0.1f), alone(32);
  for (int step = 0; step < 2; ++step) {  // so that the adapters' B is not zero
    trainer.embed(first.batch(), {}, alone.data(), nullptr);
    trainer.backward(first.batch(), {}, d.data(), nullptr);
    trainer.update({1e-2f, 0, 1});
  }
  large.add(820, 77, {1, 28, 40});
  append(all, large);
  append(all, item(4));
  std::vector<float> together(64);
  ChunkPlace place;
  place.step = 2;
  trainer.embed(all.batch(), place, together.data(), nullptr);
  place.first_token = int64_t(large.tokens.size());
  place.first_patch = large.patch_count();
  trainer.embed(item(4).batch(), place, alone.data(), nullptr);
  expect(std::memcmp(alone.data(), together.data() + 32, 32 * 4) == 0, "an item behind many rows differs");
}

const Cases cases(
    "model",
    {{"knows a tensor by each of its three names",
      [] {
        const Family& family = find_family("qwen2_vl");
        const std::string layer = "language_model.layers.1.mlp.up_proj.weight";
        const auto names = [&](const char* name, const std::string& canonical) {
          expect(family.canonical_name(name) == canonical, name, " is ", family.canonical_name(name));
        };
        names("visual.merger.ln_q.bias", "model.visual.merger.ln_q.bias");
        names("model.layers.1.mlp.up_proj.weight", "model." + layer);
        names("language_model.layers.1.mlp.up_proj.weight", "model." + layer);
        names("model.language_model.layers.1.mlp.up_proj.weight", "model." + layer);
        names("model.norm.weight", "model.language_model.norm.weight");
        names("lm_head.weight", "lm_head.weight");
        for (const Naming& naming : family.namings)
          expect(family.canonical_name(family.spell("model." + layer, naming)) == "model." + layer, naming.name);
      }},
     {"names a missing, unexpected, misshapen or damaged tensor",
      [] {
        expect_checkpoint_error({"model.visual.blocks.1.norm1.bias", "missing"}, [](auto& tensors) {
          for (size_t i = 0; i < tensors.size(); ++i)
            if (tensors[i].name == "model.visual.blocks.1.norm1.bias") tensors.erase(tensors.begin() + long(i));
        });
        expect_checkpoint_error({"model.visual.blocks.2.norm1.bias", "unexpected"}, [](auto& tensors) {
          tensors.push_back(
              {"model.visual.blocks.2.norm1.bias", DType::F32, {1}, [](void* to) { std::memset(to, 0, 4); }});
        });
        expect_checkpoint_error({"model.language_model.norm.weight", "(31)", "(32)"}, [](auto& tensors) {
          for (auto& tensor : tensors)
            if (tensor.name == "model.language_model.norm.weight")
              tensor = {tensor.name, DType::F32, {31}, [](void* to) { std::memset(to, 0, 31 * 4); }};
        });
        expect_checkpoint_error({"model.language_model.layers.0.mlp.up_proj.weight", "NaN"}, [](auto& tensors) {
          for (auto& tensor : tensors)
            if (tensor.name == "model.language_model.layers.0.mlp.up_proj.weight") {
              const auto fill = tensor.fill;
              tensor.fill = [fill](void* to) {
                fill(to);
                static_cast<float*>(to)[17] = NAN;
              };
            }
        });
      }},
     {"an item alone has the bits that it has in any batch", Backends::Cpu,
      [](Tensors& t) {
        const TinyCheckpoint checkpoint;
        for (DType compute : {DType::F32, DType::BF16}) {
          LoadOptions options;
          options.compute = compute;
          EmbeddingModel model(t.device(), tiny_config(), {checkpoint.path}, options);
          Sequences all;
          for (int i = 0; i < 11; ++i) append(all, item(i));
          const std::vector<float> together = embed(model, all);
          for (int i = 0; i < 11; ++i) {
            const std::vector<float> alone = embed(model, item(i));
            expect(std::memcmp(alone.data(), together.data() + i * 32, 32 * 4) == 0, "item ", i, " differs in ",
                   name_of(compute));
          }
        }
      }},
     {"more rows than pass through an MLP at a time change no bit, dropout included", Backends::Cpu,
      [](Tensors& t) { check_many_rows(t.device()); }},
     {"the chunk size does not change a gradient, dropout included", Backends::Cpu,
      [](Tensors& t) {
        for (float dropout : {0.0f, 0.3f}) {
          const auto whole = gradients(t.device(), lora_options(dropout), 7, 7);
          expect_same_gradients(whole, gradients(t.device(), lora_options(dropout), 7, 1), 2e-4);
          expect_same_gradients(whole, gradients(t.device(), lora_options(dropout), 7, 3), 2e-4);
        }
      }},
     {"what is recomputed has the bits of what was kept", Backends::Cpu,
      [](Tensors& t) {
        TrainerOptions full;
        full.full = true;
        for (TrainerOptions options : {full, lora_options(0.2f)}) {
          const auto kept = gradients(t.device(), options, 5, 5);
          for (size_t memory : {size_t(1), size_t(150000)}) {
            options.activation_memory = memory;
            expect_same_gradients(kept, gradients(t.device(), options, 5, 5), 0);
          }
        }
      }},
     {"what the first pass keeps for the second changes no bit", Backends::Cpu,
      [](Tensors& t) {
        TrainerOptions full, bf16;
        full.full = true;
        bf16 = lora_options(0);
        bf16.compute = DType::BF16;
        for (TrainerOptions options : {full, lora_options(0.2f), bf16}) {
          size_t none = 0, inputs = 0, layers = 0;
          const auto nothing = gradients(t.device(), options, 7, 3, false, &none);
          options.activation_memory = 120000;
          expect_same_gradients(nothing, gradients(t.device(), options, 7, 3, true, &inputs), 0);
          options.activation_memory = size_t(1) << 30;
          expect_same_gradients(nothing, gradients(t.device(), options, 7, 3, true, &layers), 0);
          expect(none == 0 && inputs > 0 && layers > inputs, "kept ", none, ", ", inputs, " and ", layers, " bytes");
        }
      }},
     {"full training begins with the checkpoint's weights", Backends::Cpu,
      [](Tensors& t) {
        const TinyCheckpoint checkpoint, written;
        TrainerOptions options;
        options.full = true;
        for (DType compute : {DType::F32, DType::BF16}) {
          options.compute = compute;
          Trainer trainer(t.device(), tiny_config(), {checkpoint.path}, options);
          trainer.save_weights(written.path, DType::F32, true);
          const SafetensorsFile before(checkpoint.path), after(written.path);
          for (const auto& tensor : before.tensors())
            expect(std::memcmp(tensor.data, after.find(tensor.name)->data, tensor.bytes) == 0, tensor.name, " differs");
        }
      }},
     {"frozen parts get no gradient", Backends::Cpu,
      [](Tensors& t) {
        TrainerOptions full, frozen;
        full.full = frozen.full = true;
        frozen.frozen = {Part::Vision, Part::Merger};
        const auto text = gradients(t.device(), frozen, 5, 2);
        for (const auto& [name, values] : text) expect(name.find("visual") == std::string::npos, name, " is trained");
        expect(gradients(t.device(), full, 5, 2).size() > text.size(), "nothing was frozen");
      }},
     {"a saved state goes on with the same bits", Backends::Cpu,
      [](Tensors& t) {
        const TinyCheckpoint checkpoint, state, first, second;
        Sequences sequences;
        for (int i = 0; i < 4; ++i) append(sequences, item(i));
        TrainerOptions options = lora_options(0.1f);
        const auto step = [&](Trainer& trainer, int number) {
          ChunkPlace place;
          place.step = number;
          std::vector<float> embeddings(4 * 32);
          trainer.embed(sequences.batch(), place, embeddings.data(), nullptr);
          trainer.backward(sequences.batch(), place, embeddings.data(), nullptr);
          trainer.update({1e-2f, 0.1f, 1});
        };
        Trainer straight(t.device(), tiny_config(), {checkpoint.path}, options);
        for (int i = 0; i < 2; ++i) step(straight, i);
        straight.save_state(state.path);
        step(straight, 2);
        straight.save_state(first.path);
        Trainer resumed(t.device(), tiny_config(), {checkpoint.path}, options);
        resumed.restore_state(state.path);
        step(resumed, 2);
        resumed.save_state(second.path);
        const SafetensorsFile a(first.path), b(second.path);
        for (const auto& tensor : a.tensors())
          expect(std::memcmp(tensor.data, b.find(tensor.name)->data, tensor.bytes) == 0, tensor.name, " differs");
      }},
     {"a merged model embeds as the adapted one does", Backends::Cpu,
      [](Tensors& t) {
        const TinyCheckpoint checkpoint, adapter, merged;
        {
          TrainerOptions options = lora_options(0);
          Trainer trainer(t.device(), tiny_config(), {checkpoint.path}, options);
          Sequences sequences = item(1);
          std::vector<float> d(32, 0.5f);
          for (int i = 0; i < 3; ++i) {
            trainer.backward(sequences.batch(), {i, 0, 0, 0}, d.data(), nullptr);
            trainer.update({3e-2f, 0, 0});
          }
          trainer.save_weights(adapter.path, DType::F32, false);
        }
        LoadOptions options;
        options.adapters = kAdapters;
        options.adapter_file = adapter.path;
        EmbeddingModel plain(t.device(), tiny_config(), {checkpoint.path}, {});
        EmbeddingModel adapted(t.device(), tiny_config(), {checkpoint.path}, options);
        save_model(adapted.weights(), merged.path, DType::F32, false);
        EmbeddingModel whole(t.device(), tiny_config(), {merged.path}, {});
        const auto a = embed(adapted, item(1)), b = embed(whole, item(1)), without = embed(plain, item(1));
        double far = 0;
        for (size_t i = 0; i < a.size(); ++i) {
          expect(std::abs(a[i] - b[i]) < 2e-6, "element ", i, ": ", a[i], " and ", b[i]);
          far = std::max(far, double(std::abs(a[i] - without[i])));
        }
        expect(far > 1e-2, "the adapter changes nothing: ", far);
      }},
     {"a batch that does not fit the model is refused", [] {
        const ModelConfig config = tiny_config();
        Sequences sequences = item(1);
        Batch batch = sequences.batch();
        batch.check(config);
        batch.pictures[0].size -= 24;
        expect_error("E_BATCH", {"picture 0", "bytes"}, [&] { batch.check(config); });
        batch = sequences.batch();
        batch.pictures[0].layout.temporal_patch_size = 1;
        expect_error("E_BATCH", {"picture 0", "layout"}, [&] { batch.check(config); });
        sequences.tokens.back() = 48;
        expect_error("E_BATCH", {"placeholder"}, [&] { sequences.batch().check(config); });
        Sequences empty;
        expect_error("E_BATCH", {"empty"}, [&] { empty.batch().check(config); });
      }}});

}  // namespace
