// Contrastive training of a model in GradCache's three calls (Gao et al. 2021): `embed` a chunk; `backward`: forward
// again, then push the gradient of its embeddings back; `update`: clip and one AdamW step. Where the inputs of the text
// model's layers fit the memory limit for all chunks of a step, `embed` keeps them, and `backward` recomputes layer by
// layer from them; whole layers are kept of what is left. The result has the same bits. What is random depends on the
// place of a row in its batch, so that the chunk size does not change the result.
#pragma once
#include <map>

#include "model/encoder.h"

namespace vlm2vec {

struct TrainerOptions {
  DType compute = DType::F32;
  Quantization quantization = Quantization::None;  // of the frozen base: adapters only
  bool full = false;                               // else adapters only
  std::vector<Part> frozen;
  std::vector<AdapterSpec> adapters;
  std::string adapter_file;  // empty: new adapters
  Weights::Initialization initialization = Weights::Initialization::Kaiming;
  float dropout = 0;
  uint64_t seed = 0;
  size_t activation_memory = 0;  // bytes of kept activations; 0: as few as cost no time, at most what one chunk has
};

// Where a chunk stands in its batch.
struct ChunkPlace {
  int64_t step = 0, chunk = 0, first_token = 0, first_patch = 0;
  int64_t step_tokens = 0;  // of all chunks together; 0: not known
  // Pictures that several chunks of the step use have numbers. Of those that this chunk brings, one a picture (-1: no
  // other chunk uses it; empty: none is shared); and of those that an earlier chunk has brought. Whoever brings a
  // picture goes backward after all who know it.
  std::vector<int64_t> brought{}, known{};
};

struct UpdateOptions {
  float learning_rate = 0, weight_decay = 0, max_grad_norm = 0;  // max_grad_norm 0: no clipping
};

// Bytes by kind.
struct MemoryUse {
  size_t weights = 0, packed = 0, gradients = 0, optimizer = 0, activations = 0;
};

class Trainer {
 public:
  Trainer(Device& device, const ModelConfig& config, const std::vector<std::string>& files,
          const TrainerOptions& options);

  int64_t dimension() const { return encoder_->dimension(); }
  // embeddings (B, C), host memory. Features of a frozen vision tower are kept for `backward` of the same step and
  // chunk, where it will read them.
  void embed(Batch batch, const ChunkPlace& place, float* embeddings, const std::atomic<bool>* cancelled);
  // dembeddings (B, C), host memory. Adds to the gradients.
  void backward(Batch batch, const ChunkPlace& place, const float* dembeddings, const std::atomic<bool>* cancelled);
  // Returns the norm of all gradients before clipping. E_NUMERIC if it is not finite; then nothing has changed.
  double update(const UpdateOptions& options);

  void save_gradients(const std::string& path);
  // Adapters by PEFT's names, or the whole model.
  void save_weights(const std::string& path, DType dtype, bool keep_types);
  void save_state(const std::string& path);
  void restore_state(const std::string& path);
  MemoryUse memory();
  // The most that passes have kept for each other.
  size_t kept_bytes() const { return kept_.peak(); }

 private:
  struct Moments {
    Parameter* parameter;
    Tensor m, v;
  };
  Context context(const Batch& batch, const ChunkPlace& place, const std::atomic<bool>* cancelled, bool vision);
  // The pictures that the chunk shares with others; checks the batch. `first`: it makes those that it brings.
  Sharing share(Batch& batch, const ChunkPlace& place, bool first);
  Tensor row_ids(int64_t first, int64_t count);
  void forget(int64_t step);
  // Bytes of kept activations that the text model may take for a chunk like this.
  size_t text_limit(const Batch& batch) const;
  // How many layers apart inputs are kept, for all chunks of the step, so that `backward` begins from them; 0: they do
  // not fit. `spare`: bytes left for whole layers.
  size_t stride_of_inputs(const Batch& batch, const ChunkPlace& place, size_t* spare) const;

  TrainerOptions options_;
  Weights weights_;
  std::unique_ptr<Encoder> encoder_;
  Arena optimizer_, scratch_, features_, kept_;
  std::vector<Moments> moments_;
  // Of the step that is under way, by chunk: own features of a frozen vision tower, and what the first pass has kept.
  std::map<int64_t, Tensor> chunk_features_;
  std::map<int64_t, SharedPicture> shared_;  // by number
  struct ChunkSaved {
    Encoder::Saved pass;
    Arena::Mark before, after;  // in kept_
  };
  std::map<int64_t, ChunkSaved> chunk_saved_;
  int64_t step_ = -1;
  int64_t largest_chunk_ = 0;  // tokens, of all steps
  size_t kept_layers_ = 0;     // bytes of whole layers in chunk_saved_
  int64_t updates_ = 0;
};

}  // namespace vlm2vec
