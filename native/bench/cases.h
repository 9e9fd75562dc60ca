// Single operations at given sizes, called as the model calls them, for `vlm2vec-native bench`.
#pragma once
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "core/arena.h"

namespace vlm2vec {

struct BenchCase {
  double flops = 0, bytes = 0;  // of one run: what the mathematics needs, and what must pass through main memory
  std::function<void()> run;
  std::unique_ptr<Arena> arena;  // inputs and outputs, of random numbers
};

// {"kind": "attention", "dtype", "B", "heads", "kv_heads", "tokens", "size", "causal", "backward"}
// {"kind": "matmul", "dtype", "M", "N", "K", "product": forward | dx | dw}
// {"kind": "linear", "dtype", "M", "N", "K", "rank" (0: no adapter), "backward"}
// {"kind": "layers", "dtype", "op": rmsnorm | layernorm | rope | swiglu | gelu, "M", "C", "backward"}
// E_OPTION for a kind, field or size that is none.
BenchCase make_case(Device& device, const nlohmann::json& spec);

}  // namespace vlm2vec
