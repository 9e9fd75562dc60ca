// What training would take, without loading anything.
#pragma once
#include "train/trainer.h"

namespace vlm2vec {

// Of the largest chunk, and of a whole step.
struct StepSizes {
  int64_t tokens = 0, patches = 0, sequences = 0, step_tokens = 0, step_patches = 0;
};

// Bytes by kind for a model of this table on this machine's CPU.
MemoryUse training_memory(const ModelConfig& config, const TrainerOptions& options, const StepSizes& sizes);

}  // namespace vlm2vec
