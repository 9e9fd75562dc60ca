// A loaded model that embeds batches. Its base weights are packed for products as they are loaded; mapped pages go
// back.
#pragma once
#include "model/engine.h"

namespace vlm2vec {

struct LoadOptions {
  DType compute = DType::F32;
  Quantization quantization = Quantization::None;
  std::vector<AdapterSpec> adapters;
  std::string adapter_file;
  // Bytes that packed copies of the weights may take; above it products read the mapped files. 0: two thirds of the
  // memory that the system has left.
  size_t memory_limit = 0;
};

class EmbeddingModel {
 public:
  EmbeddingModel(Device& device, const ModelConfig& config, const std::vector<std::string>& files,
                 const LoadOptions& options);

  int64_t dimension() const { return engine_->dimension(); }
  int64_t hidden_size() const { return engine_->hidden_size(); }
  // embeddings (B, C); last_hidden (T, C) or null. Host memory. The observer, if any, sees states in host memory.
  void embed(const Batch& batch, float* embeddings, float* last_hidden, const std::atomic<bool>* cancelled,
             const Observer* observer = nullptr);
  Weights& weights() { return weights_; }
  size_t packed_bytes() { return engine_->packed_bytes(); }
  size_t activation_bytes() const { return scratch_.peak(); }

 private:
  Weights weights_;
  std::unique_ptr<Engine> engine_;
  Arena scratch_;
};

// Writes every parameter by the name and shape of the checkpoint it came from, adapters merged in f32, lm_head copied
// unchanged. `dtype`: of every tensor, or, with `keep_types`, each as it was stored.
void save_model(Weights& weights, const std::string& path, DType dtype, bool keep_types);

}  // namespace vlm2vec
