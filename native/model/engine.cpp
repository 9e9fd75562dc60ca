#include "model/engine.h"

#include "model/dual_encoder.h"
#include "model/encoder.h"

namespace vlm2vec {

std::unique_ptr<Engine> make_engine(Weights& weights) {
  if (weights.config().dual()) return std::make_unique<DualEncoder>(weights);
  return std::make_unique<Encoder>(weights);
}

}  // namespace vlm2vec
