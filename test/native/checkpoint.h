// A checkpoint for cases about whole models.
#pragma once
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/random.h"
#include "core/safetensors.h"
#include "harness.h"
#include "model/family.h"

namespace vlm2vec::test {

// Random weights in a temporary file, removed at the end of the case. `change` sees the tensors before they are
// written.
class Checkpoint {
 public:
  explicit Checkpoint(const ModelConfig& config,
                      const std::function<void(std::vector<TensorToWrite>&)>& change = nullptr) {
    path = (std::filesystem::temp_directory_path() / "vlm2vec-test-XXXXXX").string();
    const int file = ::mkstemp(path.data());
    expect(file >= 0, "no temporary file");
    ::close(file);
    std::vector<TensorToWrite> tensors;
    uint64_t stream = 0;
    for (const auto& spec : parameter_table(config)) {
      const uint64_t own = ++stream;
      const bool norm = spec.role == Role::Vector && spec.name.find("norm") != std::string::npos;
      tensors.push_back({spec.name, DType::F32, spec.shape, [spec, own, norm](void* to) {
                           for (int64_t i = 0; i < spec.size(); ++i)
                             static_cast<float*>(to)[i] =
                                 0.25f * random_normal(7, own, uint64_t(i)) + (norm ? 1.0f : 0.0f);
                         }});
    }
    if (change) change(tensors);
    write_safetensors(path, tensors);
  }
  ~Checkpoint() { ::unlink(path.c_str()); }
  std::string path;
};

}  // namespace vlm2vec::test
