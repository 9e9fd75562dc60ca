#include "bench/cases.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/random.h"
#include "model/linear.h"
#include "ops/attention.h"
#include "ops/cast.h"
#include "ops/gelu.h"
#include "ops/layernorm.h"
#include "ops/rmsnorm.h"
#include "ops/rope.h"
#include "ops/swiglu.h"

namespace vlm2vec {

namespace {

// Fields of a case, and tensors in its arena.
class Maker {
 public:
  Maker(Device& device, const nlohmann::json& spec) : device_(device), spec_(spec) {
    made.arena = std::make_unique<Arena>(device, "bench");
    const auto type = text("dtype");
    require(type == "f32" || type == "bf16", "E_OPTION", "bench: unknown dtype \"", type, "\"");
    dtype = type == "bf16" ? DType::BF16 : DType::F32;
  }

  std::string text(const char* name) const { return get<std::string>(name); }
  bool flag(const char* name) const { return get<bool>(name); }
  int64_t size(const char* name, int64_t least = 1) const {
    const auto value = get<int64_t>(name);
    require(value >= least && value <= (int64_t(1) << 31), "E_OPTION", "bench: ", name, " is ", value,
            ", expected at least ", least);
    return value;
  }

  Device& device() const { return device_; }
  Arena& arena() { return *made.arena; }
  // Normally distributed numbers; 0 would be computed faster on some machines.
  Tensor random(DType type, std::initializer_list<int64_t> shape, float spread = 1) {
    Tensor result = arena().allocate(type, shape);
    std::vector<float> values(static_cast<size_t>(result.size()));
    const uint64_t stream = ++streams_;
    for (size_t i = 0; i < values.size(); ++i) values[i] = spread * (2 * random_uniform(1, stream, i) - 1) * 1.7f;
    return upload(result, values);
  }
  Tensor integers(const std::vector<int32_t>& values, std::initializer_list<int64_t> shape) {
    Tensor result = arena().allocate(DType::I32, shape);
    device_.to_device(result.data, values.data(), result.bytes());
    return result;
  }
  Tensor empty(DType type, std::initializer_list<int64_t> shape) { return arena().allocate_zero(type, shape); }

  BenchCase made;
  DType dtype;

 private:
  template <typename T>
  T get(const char* name) const {
    try {
      return spec_.at(name).get<T>();
    } catch (const nlohmann::json::exception&) {
      fail("E_OPTION", "bench: \"", name, "\" is missing or has the wrong type");
    }
  }
  Tensor upload(Tensor to, const std::vector<float>& values) {
    if (to.dtype == DType::F32) {
      device_.to_device(to.data, values.data(), to.bytes());
      return to;
    }
    std::vector<bf16> narrow(values.size());
    for (size_t i = 0; i < values.size(); ++i) narrow[i] = to_bf16(values[i]);
    device_.to_device(to.data, narrow.data(), to.bytes());
    return to;
  }

  Device& device_;
  const nlohmann::json& spec_;
  uint64_t streams_ = 0;
};

void make_attention(Maker& m) {
  const int64_t B = m.size("B"), NH = m.size("heads"), NKV = m.size("kv_heads"), L = m.size("tokens"),
                HS = m.size("size"), T = B * L;
  require(NH % NKV == 0, "E_OPTION", "bench: heads is ", NH, ", no multiple of kv_heads, ", NKV);
  const AttentionSizes sizes{1 / std::sqrt(float(HS)), m.flag("causal")};
  const bool backward = m.flag("backward");
  std::vector<int32_t> bounds;
  for (int64_t i = 0; i <= B; ++i) bounds.push_back(int32_t(i * L));
  const Tensor starts = m.integers(bounds, {B + 1});
  const Tensor q = m.random(m.dtype, {T, NH, HS}), k = m.random(m.dtype, {T, NKV, HS}),
               v = m.random(m.dtype, {T, NKV, HS}), out = m.empty(m.dtype, {T, NH, HS}),
               lse = m.empty(DType::F32, {NH, T});
  const double pairs = double(B) * double(sizes.causal ? L * (L + 1) / 2 : L * L);
  const double rows = double(size_of(m.dtype)) * double(T * HS);
  if (!backward) {
    m.made.flops = 4 * double(HS * NH) * pairs;
    m.made.bytes = rows * double(2 * NH + 2 * NKV) + 4 * double(NH * T);
    m.made.run = [=] { attention_forward(out, lse, q, k, v, starts, sizes); };
    return;
  }
  const Tensor dout = m.random(m.dtype, {T, NH, HS}), dq = m.empty(m.dtype, {T, NH, HS}),
               dk = m.empty(m.dtype, {T, NKV, HS}), dv = m.empty(m.dtype, {T, NKV, HS});
  attention_forward(out, lse, q, k, v, starts, sizes);
  m.made.flops = 10 * double(HS * NH) * pairs;
  m.made.bytes = rows * double(4 * NH + 4 * NKV) + 4 * double(NH * T);
  m.made.run = [=] { attention_backward(dq, dk, dv, dout, q, k, v, out, lse, starts, sizes); };
}

void make_matmul(Maker& m) {
  const int64_t M = m.size("M"), N = m.size("N"), K = m.size("K");
  const auto product = m.text("product");
  const Tensor x = m.random(m.dtype, {M, K}), dout = m.random(m.dtype, {M, N});
  const auto weight = std::make_shared<Weight>(m.random(m.dtype, {N, K}, 1 / std::sqrt(float(K))));
  m.made.flops = 2.0 * double(M) * double(N) * double(K);
  m.made.bytes = double(size_of(m.dtype)) * double(M * K + N * K + M * N);
  if (product == "forward") {
    const Tensor out = m.empty(m.dtype, {M, N});
    m.made.run = [=] { matmul_forward(out, x, *weight, {}); };
  } else if (product == "dx") {
    const Tensor dx = m.empty(m.dtype, {M, K});
    m.made.run = [=] { matmul_backward_x(dx, dout, *weight); };
  } else {
    require(product == "dw", "E_OPTION", "bench: unknown product \"", product, "\"; expected forward, dx or dw");
    const Tensor dw = m.empty(DType::F32, {N, K});
    m.made.run = [=] { matmul_backward_weight(dw, {}, dout, x); };
  }
}

// A linear layer as the model has it (model/linear.h): with an adapter in training, without one as loaded to embed.
struct LinearCase {
  explicit LinearCase(Device& device) : scratch(device, "activations") {}
  Arena scratch;
  Parameter weight;
  Adapter adapter;
  Linear linear;
  Linear::Saved saved;
};

Parameter parameter(Maker& m, int64_t n, int64_t k, bool trained) {
  Parameter result;
  result.spec.shape = {n, k};
  result.value = m.random(m.dtype, {n, k}, 1 / std::sqrt(float(k)));
  if (!trained) return result;
  result.master = m.empty(DType::F32, {n, k});
  result.gradient = m.empty(DType::F32, {n, k});
  return result;
}

void make_linear(Maker& m) {
  const int64_t M = m.size("M"), N = m.size("N"), K = m.size("K"), R = m.size("rank", 0);
  const auto state = std::make_shared<LinearCase>(m.device());
  state->weight = parameter(m, N, K, false);
  if (R > 0) {
    state->adapter.spec.rank = R;
    state->adapter.spec.scale = 2;
    state->adapter.spec.dora = false;
    state->adapter.a = parameter(m, R, K, true);
    state->adapter.b = parameter(m, N, R, true);
  }
  state->linear = Linear(state->weight, R > 0 ? &state->adapter : nullptr);
  const Tensor x = m.random(m.dtype, {M, K}), out = m.empty(m.dtype, {M, N});
  const auto context = std::make_shared<Context>(m.device(), m.dtype, state->scratch);
  const double product = 2.0 * double(M) * double(N) * double(K), skinny = 2.0 * double(M) * double(R);
  m.made.flops = product + skinny * double(N + K);
  m.made.bytes = double(size_of(m.dtype)) * double(M * K + N * K + M * N + R * (N + K));
  const auto forward = [=] {
    state->scratch.reset();
    state->linear.forward(*context, out, x, false, R > 0 ? &state->saved : nullptr);
  };
  if (!m.flag("backward")) {
    m.made.run = forward;
    return;
  }
  const Tensor dout = m.random(m.dtype, {M, N}), dx = m.empty(DType::F32, {M, K});
  forward();
  if (R == 0) state->saved.x = x;
  m.made.flops = product + 2 * skinny * double(N + K);
  m.made.bytes += 4.0 * double(M * K);
  m.made.run = [=] {
    ArenaScope scope(state->scratch);
    state->linear.backward(*context, dx, dout, state->saved, false);
  };
}

void make_layer(Maker& m) {
  const auto op = m.text("op");
  const int64_t M = m.size("M"), C = m.size("C");
  const bool backward = m.flag("backward");
  const double width = double(size_of(m.dtype)), count = double(M) * double(C);
  const Tensor x = m.random(DType::F32, {M, C}), dx = m.empty(DType::F32, {M, C}), out = m.empty(m.dtype, {M, C}),
               dout = m.random(DType::F32, {M, C}), weight = m.random(DType::F32, {C}),
               bias = m.random(DType::F32, {C}), mean = m.empty(DType::F32, {M}), rstd = m.empty(DType::F32, {M});
  const Tensor a = m.random(m.dtype, {M, C}), b = m.random(m.dtype, {M, C}), da = m.empty(m.dtype, {M, C}),
               db = m.empty(m.dtype, {M, C}), d = m.random(m.dtype, {M, C});
  constexpr float kEps = 1e-6f;
  const auto set = [&](double flops, double bytes, std::function<void()> run) {
    m.made.flops = flops * count;
    m.made.bytes = bytes * count;
    m.made.run = std::move(run);
  };
  if (op == "rmsnorm") {
    rmsnorm_forward(out, rstd, x, weight, kEps);
    if (backward) return set(9, 16, [=] { rmsnorm_backward(dx, {}, dout, x, weight, rstd); });
    return set(4, 4 + width, [=] { rmsnorm_forward(out, rstd, x, weight, kEps); });
  }
  if (op == "layernorm") {
    layernorm_forward(out, mean, rstd, x, weight, bias, kEps);
    if (backward) return set(12, 16, [=] { layernorm_backward(dx, {}, {}, dout, x, weight, mean, rstd); });
    return set(7, 4 + width, [=] { layernorm_forward(out, mean, rstd, x, weight, bias, kEps); });
  }
  if (op == "swiglu") {
    if (backward) return set(12, 5 * width, [=] { swiglu_backward(da, db, d, a, b); });
    return set(10, 3 * width, [=] { swiglu_forward(out, a, b); });
  }
  if (op == "gelu") {
    if (backward) return set(12, 3 * width, [=] { gelu_backward(da, d, a, Activation::GeluQuick); });
    return set(10, 2 * width, [=] { gelu_forward(out, a, Activation::GeluQuick); });
  }
  require(op == "rope", "E_OPTION", "bench: unknown op \"", op,
          "\"; expected rmsnorm, layernorm, swiglu, gelu or rope");
  constexpr int64_t kHead = 64;
  require(C % kHead == 0, "E_OPTION", "bench: C is ", C, ", expected a multiple of ", kHead, " for rope");
  const Tensor cos = m.random(DType::F32, {M, kHead / 2}, 0.5f), sin = m.random(DType::F32, {M, kHead / 2}, 0.5f);
  set(3, 2 * width, [=] { rope_apply(a.reshape({M, C / kHead, kHead}), cos, sin, backward); });
}

}  // namespace

BenchCase make_case(Device& device, const nlohmann::json& spec) {
  Maker maker(device, spec);
  const auto kind = maker.text("kind");
  if (kind == "attention") make_attention(maker);
  if (kind == "matmul") make_matmul(maker);
  if (kind == "linear") make_linear(maker);
  if (kind == "layers") make_layer(maker);
  require(bool(maker.made.run), "E_OPTION", "bench: unknown kind \"", kind, "\"");
  return std::move(maker.made);
}

}  // namespace vlm2vec
