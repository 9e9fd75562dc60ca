#include "bench/random_model.h"

#include <cmath>

#include "core/parallel.h"
#include "core/random.h"
#include "core/safetensors.h"

namespace vlm2vec {

void write_random_model(const std::string& path, const ModelConfig& config, DType dtype, uint64_t seed, int threads) {
  std::vector<TensorToWrite> tensors;
  uint64_t stream = 0;
  for (const ParameterSpec& spec : parameter_table(config)) {
    ++stream;
    const bool norm = spec.role == Role::Vector && spec.name.find("norm") != std::string::npos &&
                      spec.name.find("weight") != std::string::npos;
    const float spread = spec.role == Role::Vector ? 0.1f : std::sqrt(3.0f / float(spec.k()));
    const int64_t size = spec.role == Role::Vector ? spec.shape[0] : spec.size();
    tensors.push_back({spec.name, dtype, spec.shape, [=](void* to) {
                         parallel_blocks(threads, size, 4096, [&](int64_t begin, int64_t end) {
                           for (int64_t i = begin; i < end; ++i) {
                             const float x =
                                 spread * (2 * random_uniform(seed, stream, uint64_t(i)) - 1) + (norm ? 1.0f : 0.0f);
                             if (dtype == DType::BF16)
                               static_cast<bf16*>(to)[i] = to_bf16(x);
                             else
                               static_cast<float*>(to)[i] = x;
                           }
                         });
                       }});
  }
  write_safetensors(path, tensors);
}

}  // namespace vlm2vec
