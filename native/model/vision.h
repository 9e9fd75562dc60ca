// A vision tower: the pictures of a batch -> features (M, C), which are then placed (model/placement.h). One class or
// spec a kind, in its own files; `make_vision_tower` is the only place that asks for the kind.
#pragma once
#include <functional>
#include <memory>

#include "model/batch.h"
#include "model/block.h"

namespace vlm2vec {

class VisionTower {
 public:
  // What backward needs of one pass. Its tensors lie in the pass's scratch memory.
  struct Saved {
    virtual ~Saved() = default;
  };

  virtual ~VisionTower() = default;
  // 1, and one more for each text layer that is given features of its own (DeepStack).
  virtual int64_t levels() const { return 1; }
  // S: learned vectors that stand between features.
  virtual int64_t separators() const { return 0; }
  // features (levels M + S, C) f32: of the merged patches, level by level, then the separators. keep: returns what
  // backward needs, with as many activations as fit into `memory` bytes (0: no limit); otherwise null.
  virtual std::unique_ptr<Saved> forward(const Context& context, Tensor features, const Batch& batch, bool keep,
                                         size_t memory) const = 0;
  virtual void backward(const Context& context, Tensor dfeatures, const Batch& batch, Saved& saved) const = 0;
  // Whether anything in the tower or the merger is trained.
  virtual bool trains() = 0;
  virtual void each_linear(const std::function<void(Linear&)>& f) = 0;
};

std::unique_ptr<VisionTower> make_vision_tower(Weights& weights);
// Bytes that a pass over so many patches takes.
PassBytes vision_bytes(const VisionConfig& config, DType compute, int64_t patches);

// A batch's array as a tensor of the device that it is in.
inline Tensor view(Device& device, const void* data, DType dtype, std::initializer_list<int64_t> shape) {
  return Tensor(device, const_cast<void*>(data), dtype, shape);
}
// The patches of all pictures of a batch, (P, PD) of the compute type, in scratch memory; order: of ops/patchify.h.
Tensor joined_patches(const Context& context, const Batch& batch, const std::vector<int32_t>& order = {});
Tensor to_tensor(Arena& arena, const std::vector<int32_t>& values, std::initializer_list<int64_t> shape);

}  // namespace vlm2vec
