// A checkpoint of random weights for a configuration: a model to time where there is none at hand.
#pragma once
#include "model/parameters.h"

namespace vlm2vec {

// Matrices are uniform with variance 1 / K, norms' weights 1 (or random around it), biases small. The same seed gives
// the same file.
void write_random_model(const std::string& path, const ModelConfig& config, DType dtype, uint64_t seed, int threads);

}  // namespace vlm2vec
