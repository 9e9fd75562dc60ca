// What a step of training allocates and keeps.
#include "tiny_model.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

// Of four short sequences, some with pictures, and one that needs more than an arena's smallest block.
Sequences chunk_of(int chunk) {
  Sequences sequences;
  for (int i = 0; i < 4; ++i) append(sequences, item(3 * chunk + i));
  sequences.add(chunk == 0 ? 900 : 20, 90 + chunk);  // the last one to go backward
  return sequences;
}

// Steps of equal sizes, in three chunks; after each, how often the device has allocated memory.
std::vector<size_t> allocations(Device& device, Trainer& trainer, int steps) {
  std::vector<size_t> counts;
  for (int step = 0; step < steps; ++step) {
    std::vector<ChunkPlace> places(3);
    std::vector<std::vector<float>> gradients(3);
    for (bool backward : {false, true})
      for (int c = 0; c < 3; ++c) {
        const int chunk = backward ? 2 - c : c;
        Sequences sequences = chunk_of(chunk);
        ChunkPlace& place = places[size_t(chunk)];
        place.step = step;
        place.chunk = chunk;
        for (int i = 0; i < 3; ++i) place.step_tokens += int64_t(chunk_of(i).tokens.size());
        auto& rows = gradients[size_t(chunk)];
        rows.resize(5 * 32, 0.1f);
        if (backward)
          trainer.backward(sequences.batch(), place, rows.data(), nullptr);
        else
          trainer.embed(sequences.batch(), place, rows.data(), nullptr);
        place.step_tokens = 0;
      }
    trainer.update({1e-3f, 0, 1});
    counts.push_back(device.allocations());
  }
  return counts;
}

void expect_steady(Device& device, const TrainerOptions& options) {
  const TinyCheckpoint checkpoint;
  Trainer trainer(device, tiny_config(), {checkpoint.path}, options);
  const auto counts = allocations(device, trainer, 3);
  const size_t peak = trainer.memory().activations;
  expect(peak > size_t(1) << 20, "an arena's smallest block holds all activations");
  expect(counts[2] == counts[0], "allocated ", counts[2] - counts[0], " times after step 1 in ",
         name_of(options.compute), ", limit ", options.activation_memory);
}

const Cases cases("trainer_memory", {{"a step allocates nothing after the first one", Backends::Cpu, [](Tensors& t) {
                                        TrainerOptions full, lora;
                                        full.full = true;
                                        expect_steady(t.device(), full);
                                        lora.adapters = {
                                            {"model.language_model.layers.0.self_attn.q_proj", 3, 2.0f, false},
                                            {"model.language_model.layers.1.mlp.up_proj", 2, 0.5f, true},
                                            {"model.visual.blocks.1.attn.qkv", 4, 1.0f, false}};
                                        for (size_t memory : {size_t(0), size_t(1), size_t(1) << 30}) {
                                          lora.activation_memory = memory;
                                          expect_steady(t.device(), lora);
                                        }
                                        TrainerOptions text = lora;
                                        text.activation_memory = 0;
                                        text.adapters.pop_back();
                                        text.dropout = 0.1f;
                                        text.compute = DType::BF16;
                                        expect_steady(t.device(), text);
                                      }}});

}  // namespace
