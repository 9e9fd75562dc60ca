// What embeds a batch: a decoder with a vision tower (model/encoder.h), or two towers (model/dual_encoder.h).
#pragma once
#include <memory>

#include "model/batch.h"
#include "model/context.h"
#include "model/weights.h"

namespace vlm2vec {

class Engine {
 public:
  virtual ~Engine() = default;
  virtual int64_t dimension() const = 0;
  virtual int64_t hidden_size() const = 0;  // of the text model
  // Embeddings (B, dimension) f32, unit rows, in the scratch memory. last_hidden (T, C) f32, the final norm of
  // every token, or absent.
  virtual Tensor embed(const Context& context, const Batch& batch, Tensor last_hidden) const = 0;
  virtual size_t packed_bytes() = 0;
};

std::unique_ptr<Engine> make_engine(Weights& weights);

}  // namespace vlm2vec
