#include "ops/matmul.h"

#include <cmath>
#include <cstring>

#include "harness.h"
#include "ops/matmul_dnnl.h"
#include "ops/matmul_reference.h"

namespace vlm2vec::test {

namespace {

using Numbers = std::vector<double>;

struct Sizes {
  int64_t M, N, K;
};

// One, primes, one less and one more than our tiles (12 x 32, 6 x 16, 4 x 8), blocks of 256, waves of 512 rows and
// blocks of 960; depths of one and of three parts.
const Sizes kSizes[] = {{1, 1, 1},     {5, 7, 13},   {12, 32, 256}, {11, 31, 255},  {13, 33, 257},  {241, 17, 65},
                        {967, 40, 24}, {3, 8, 1536}, {2, 300, 8},   {14, 35, 3100}, {1061, 290, 40}};

struct Types {
  DType in, out;
};
const Types kTypes[] = {{DType::F32, DType::F32}, {DType::BF16, DType::F32}, {DType::BF16, DType::BF16}};

std::string title(const char* what, const Sizes& s, const Types& t) {
  return text(what, " M=", s.M, " N=", s.N, " K=", s.K, " ", name_of(t.in), " to ", name_of(t.out));
}

Numbers sum_of(const Numbers& a, const Numbers& b) {
  Numbers result = a;
  for (size_t i = 0; i < a.size(); ++i) result[i] += b[i];
  return result;
}

// Tensor cores cut off, and do not round, what they add in steps of 16 products, so that errors add up: at most 2^-24
// of the sum a step. On an H100 cuBLASLt and PyTorch both have an NMSE of 2.4e-12 at a depth of 1,536, and 1.0e-11 at
// 6,144.
double product_bound(const Tensors& t, const Types& types, const Numbers& expected, int64_t depth) {
  const double cut = t.device().is_cuda() && types.in == DType::BF16 ? std::ldexp(double(depth) / 16, -24) : 0;
  return bound_for(types.out, expected) + cut * cut;
}

void check_forward(Tensors& t, const Sizes& s, const Types& types) {
  const Tensor x = t.random(types.in, {s.M, s.K}), w = t.random(types.in, {s.N, s.K}), b = t.random(DType::F32, {s.N});
  const Weight weight(w);
  const Numbers bias = read(b);
  for (const bool with_bias : {false, true}) {
    Numbers expected(size_t(s.M * s.N));
    matmul_forward_reference(expected.data(), read(x).data(), read(w).data(), with_bias ? bias.data() : nullptr, s.M,
                             s.N, s.K);
    const Tensor out = t.output(types.out, {s.M, s.N});
    matmul_forward(out, x, weight, with_bias ? b : Tensor());
    const double bound = product_bound(t, types, expected, s.K);
    expect_near(title("out", s, types), out, expected, bound);
    if (types.out != DType::F32) continue;
    const Tensor sum = t.random(DType::F32, {s.M, s.N});
    const Numbers before = read(sum);
    matmul_forward(sum, x, weight, with_bias ? b : Tensor(), true);
    expect_near(title("out +=", s, types), sum, sum_of(before, expected), bound);
  }
}

void check_backward_x(Tensors& t, const Sizes& s, const Types& types) {
  const Tensor dout = t.random(types.in, {s.M, s.N}), w = t.random(types.in, {s.N, s.K});
  const Weight weight(w);
  Numbers expected(size_t(s.M * s.K));
  matmul_backward_x_reference(expected.data(), read(dout).data(), read(w).data(), s.M, s.N, s.K);
  const Tensor dx = t.output(types.out, {s.M, s.K});
  matmul_backward_x(dx, dout, weight);
  const double bound = product_bound(t, types, expected, s.N);
  expect_near(title("dx", s, types), dx, expected, bound);
  if (types.out != DType::F32) return;
  const Tensor sum = t.random(DType::F32, {s.M, s.K});
  const Numbers before = read(sum);
  matmul_backward_x(sum, dout, weight, true);
  expect_near(title("dx +=", s, types), sum, sum_of(before, expected), bound);
}

void check_backward_weight(Tensors& t, const Sizes& s, const Types& types) {
  const Tensor dout = t.random(types.in, {s.M, s.N}), x = t.random(types.in, {s.M, s.K});
  const Tensor dweight = t.random(DType::F32, {s.N, s.K}), dbias = t.random(DType::F32, {s.N});
  Numbers dw = read(dweight), db = read(dbias);
  for (int repeat = 0; repeat < 2; ++repeat) {  // the second time without bias
    matmul_backward_weight_reference(dw.data(), repeat ? nullptr : db.data(), read(dout).data(), read(x).data(), s.M,
                                     s.N, s.K);
    matmul_backward_weight(dweight, repeat ? Tensor() : dbias, dout, x);
    expect_near(title("dweight", s, types), dweight, dw, product_bound(t, {types.in, DType::F32}, dw, s.M));
    expect_near(title("dbias", s, types), dbias, db, 1e-12);
  }
}

void check_products(Tensors& t) {
  for (const Sizes& sizes : kSizes)
    for (const Types& types : kTypes) {
      check_forward(t, sizes, types);
      check_backward_x(t, sizes, types);
      if (types.out == DType::F32) check_backward_weight(t, sizes, types);
    }
}

// A product of depth R beside that of the weight, plain or quantized, in both directions; rows alone have the same
// bits.
void check_low_rank(Tensors& t) {
  const Sizes sizes[] = {{1, 9, 11}, {13, 33, 257}, {241, 40, 65}, {30, 96, 320}, {13, 35, 1600}};
  for (const auto& [M, N, K] : sizes)
    for (const Types& types : kTypes)
      for (const Quantization kind : {Quantization::None, Quantization::Int8, Quantization::Nf4}) {
        const int64_t R = 5;
        const std::string name = text(name_of(kind), " ", title("low rank", {M, N, K}, types));
        const Tensor x = t.random(types.in, {M, K}), dout = t.random(types.in, {M, N}), w = t.random(types.in, {N, K});
        const Tensor u = t.random(types.in, {M, R}), a = t.random(types.in, {R, K}), b = t.random(types.in, {N, R});
        const Tensor bias = t.random(DType::F32, {N});
        const Weight weight = kind == Quantization::None ? Weight(w) : Weight(w, kind);
        const Weight left(a), right(b);
        const Tensor values = t.output(DType::F32, {N, K});
        weight.read_rows(values, 0);
        Numbers out(size_t(M * N)), more(out.size()), dx(size_t(M * K)), dmore(dx.size());
        matmul_forward_reference(out.data(), read(x).data(), read(values).data(), read(bias).data(), M, N, K);
        matmul_forward_reference<double>(more.data(), read(u).data(), read(b).data(), nullptr, M, N, R);
        matmul_backward_x_reference(dx.data(), read(dout).data(), read(values).data(), M, N, K);
        matmul_backward_x_reference(dmore.data(), read(u).data(), read(a).data(), M, R, K);
        const Numbers expected = sum_of(out, more), dexpected = sum_of(dx, dmore);
        const Tensor result = t.output(types.out, {M, N}), dresult = t.output(types.out, {M, K});
        matmul_forward(result, x, weight, bias, false, {u, &right});
        matmul_backward_x(dresult, dout, weight, false, {u, &left});
        expect_near(name + " out", result, expected, bound_for(types.out, expected));
        expect_near(name + " dx", dresult, dexpected, bound_for(types.out, dexpected));
        const Tensor last = t.output(types.out, {1, N});
        matmul_forward(last, x.slice(M - 1, 1), weight, bias, false, {u.slice(M - 1, 1), &right});
        expect_same_bits(name + " last row alone", last, result.slice(M - 1, 1));
        if (types.out != DType::F32) continue;
        const Tensor sum = t.random(DType::F32, {M, N});
        const Numbers before = read(sum);
        matmul_forward(sum, x, weight, bias, true, {u, &right});
        expect_near(name + " out +=", sum, sum_of(before, expected), 1e-12);
      }
  const Weight weight(t.random(DType::F32, {3, 4})), b(t.random(DType::F32, {3, 2}));
  expect_error("E_SHAPE", {"low-rank", "(3, 2)"}, [&] {
    matmul_forward(t.output(DType::F32, {5, 3}), t.random(DType::F32, {5, 4}), weight, {}, false,
                   {t.random(DType::F32, {5, 3}), &b});
  });
}

// Each of `rows` rows of the products in a batch, against the row alone, in other batches and at other places.
void check_rows(Tensors& t, Types types) {
  const int64_t M = 61, N = 70, K = 1700;
  const Tensor x = t.random(types.in, {M, K}), dout = t.random(types.in, {M, N});
  const Tensor w = t.random(types.in, {N, K}), bias = t.random(DType::F32, {N});
  const Weight weight(w);
  const Tensor out = t.output(types.out, {M, N}), dx = t.output(types.out, {M, K});
  matmul_forward(out, x, weight, bias);
  matmul_backward_x(dx, dout, weight);
  const Sizes parts[] = {{0, 1, 0}, {1, 1, 0}, {60, 1, 0}, {7, 2, 0}, {5, 13, 0}, {14, 47, 0}, {1, 60, 0}};
  for (const auto& [first, count, unused] : parts) {
    const Tensor part = t.output(types.out, {count, N}), dpart = t.output(types.out, {count, K});
    matmul_forward(part, x.slice(first, count), weight, bias);
    matmul_backward_x(dpart, dout.slice(first, count), weight);
    expect_same_bits(text("out rows ", first, " + ", count), part, out.slice(first, count));
    expect_same_bits(text("dx rows ", first, " + ", count), dpart, dx.slice(first, count));
  }
}

std::vector<uint8_t> product_bits(Tensors& t, DType type) {
  const int64_t M = 133, N = 71, K = 290;
  const Tensor x = t.random(type, {M, K}), dout = t.random(type, {M, N}), w = t.random(type, {N, K});
  const Weight weight(w);
  const Tensor out = t.output(type, {M, N}), dx = t.output(type, {M, K});
  const Tensor dw = t.zeros(DType::F32, {N, K}), db = t.zeros(DType::F32, {N});
  matmul_forward(out, x, weight, Tensor());
  matmul_backward_x(dx, dout, weight);
  matmul_backward_weight(dw, db, dout, x);
  std::vector<uint8_t> all;
  for (const Tensor& result : {out, dx, dw, db}) {
    const auto part = bits(result);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

struct OwnKernels {
  explicit OwnKernels(Device& device) : dnnl(device.state<DnnlMatmul>()), before(dnnl.disabled) {
    dnnl.disabled = true;
  }
  ~OwnKernels() { dnnl.disabled = before; }
  DnnlMatmul& dnnl;
  bool before;
};

void check_gradients() {
  const Sizes s = {3, 4, 5};
  const Numbers x = random_numbers(s.M * s.K, 1), w = random_numbers(s.N * s.K, 2), b = random_numbers(s.N, 3);
  const Numbers dout = random_numbers(s.M * s.N, 4);
  const auto loss = [&](const Numbers& x, const Numbers& w, const Numbers& b) {
    Numbers out(dout.size());
    matmul_forward_reference(out.data(), x.data(), w.data(), b.data(), s.M, s.N, s.K);
    return dot(out, dout);
  };
  Numbers dx(x.size()), dw(w.size()), db(b.size());
  matmul_backward_x_reference(dx.data(), dout.data(), w.data(), s.M, s.N, s.K);
  matmul_backward_weight_reference(dw.data(), db.data(), dout.data(), x.data(), s.M, s.N, s.K);
  expect_gradient(
      "dx", [&](const Numbers& at) { return loss(at, w, b); }, x, dx);
  expect_gradient(
      "dweight", [&](const Numbers& at) { return loss(x, at, b); }, w, dw);
  expect_gradient(
      "dbias", [&](const Numbers& at) { return loss(x, w, at); }, b, db);
}

void check_packed_copy(Tensors& t) {
  const Tensor x = t.random(DType::F32, {9, 40}), w = t.random(DType::F32, {50, 40});
  const Tensor before = t.output(DType::F32, {9, 50}), after = t.output(DType::F32, {9, 50});
  const Tensor dbefore = t.output(DType::F32, {9, 40}), dafter = t.output(DType::F32, {9, 40});
  Weight weight(w);
  expect(weight.packed_bytes() == 0, "a copy was made before it was needed");
  expect(weight.pack(), "no copy was made");
  expect(weight.packed_bytes() >= w.bytes(), "pack made no copy");
  matmul_forward(before, x, weight, Tensor());
  matmul_backward_x(dbefore, before, weight);
  std::vector<float> saved(size_t(w.size()));
  std::memcpy(saved.data(), w.data, w.bytes());
  for (float& value : saved) value *= 2;
  std::memset(w.data, 0xff, w.bytes());
  matmul_forward(after, x, weight, Tensor());
  expect_same_bits("out from the packed copy alone", before, after);
  std::memcpy(w.data, saved.data(), w.bytes());
  weight.invalidate();
  matmul_forward(after, x, weight, Tensor());
  matmul_backward_x(dafter, before, weight);
  Numbers doubled = read(before), ddoubled = read(dbefore);
  for (double& value : doubled) value *= 2;
  for (double& value : ddoubled) value *= 2;
  expect_near("out after the values changed", after, doubled, 0);
  expect_near("dx after the values changed", dafter, ddoubled, 0);
}

void check_unaligned(Tensors& t) {
  for (const DType type : {DType::F32, DType::BF16}) {
    const Tensor x = t.random(type, {9, 40}), w = t.random(type, {50, 40}), bytes = t.output(DType::U8, {16000});
    const Tensor out = t.output(DType::F32, {9, 50}), dx = t.output(DType::F32, {9, 40}),
                 dout = t.random(type, {9, 50});
    const Tensor out1 = t.output(DType::F32, {9, 50}), dx1 = t.output(DType::F32, {9, 40});
    Tensor shifted = w;
    shifted.data = bytes.as<uint8_t>() + 1;
    std::memcpy(shifted.data, w.data, w.bytes());
    const Weight aligned(w), unaligned(shifted);
    matmul_forward(out, x, aligned, Tensor());
    matmul_forward(out1, x, unaligned, Tensor());
    expect_same_bits("out", out, out1);
    matmul_backward_x(dx, dout, aligned);
    matmul_backward_x(dx1, dout, unaligned);
    expect_same_bits("dx", dx, dx1);
  }
}

void check_unaligned_bias(Tensors& t) {
  const Tensor x = t.random(DType::F32, {5, 24}), w = t.random(DType::F32, {16, 24}), wide = t.random(DType::F32, {17});
  const Weight weight(w);
  const Tensor bias = wide.slice(1, 16), out = t.output(DType::F32, {5, 16});
  Numbers expected(5 * 16);
  matmul_forward_reference(expected.data(), read(x).data(), read(w).data(), read(bias).data(), 5, 16, 24);
  matmul_forward(out, x, weight, bias);
  expect_near("out", out, expected, 1e-12);
}

void check_no_rows(Tensors& t) {
  const Tensor x = t.zeros(DType::F32, {0, 4}), out = t.output(DType::F32, {0, 3});
  const Tensor w = t.random(DType::F32, {3, 4}), dw = t.random(DType::F32, {3, 4}), db = t.random(DType::F32, {3});
  const Numbers dw_before = read(dw), db_before = read(db);
  const Weight weight(w);
  matmul_forward(out, x, weight, Tensor());
  matmul_backward_x(x, out, weight);
  matmul_backward_weight(dw, db, out, x);
  expect_near("dweight", dw, dw_before, 0);
  expect_near("dbias", db, db_before, 0);
}

void check_errors(Tensors& t) {
  const Tensor x = t.random(DType::F32, {2, 4}), out = t.output(DType::F32, {2, 3}), w = t.random(DType::F32, {3, 4});
  const Tensor half = t.random(DType::BF16, {2, 4}), half_out = t.output(DType::BF16, {2, 3});
  const Weight weight(w);
  const Tensor none;
  expect_error("E_SHAPE", {"matmul_forward", "x (2, 3)", "(3, 4)"}, [&] { matmul_forward(out, out, weight, none); });
  expect_error("E_SHAPE", {"x (2, 4) bf16"}, [&] { matmul_forward(out, half, weight, none); });
  expect_error("E_SHAPE", {"out (2, 4)"}, [&] { matmul_forward(x, x, weight, none); });
  expect_error("E_SHAPE", {"bias"}, [&] { matmul_forward(out, x, weight, t.random(DType::F32, {4})); });
  expect_error("E_SHAPE", {"accumulate"}, [&] { matmul_forward(half_out, x, weight, none, true); });
  expect_error("E_SHAPE", {"x (2, 3)", "dense"}, [&] {
    matmul_forward(out, t.random(DType::F32, {2, 3}, 1, 5), weight, none);
  });
  expect_error("E_SHAPE", {"matmul_backward_x", "dout (2, 4)"}, [&] { matmul_backward_x(x, x, weight); });
  expect_error("E_SHAPE", {"matmul_backward_x", "dx (2, 3)"}, [&] { matmul_backward_x(out, out, weight); });
  expect_error("E_SHAPE", {"matmul_backward_weight", "dweight (3, 4)"},
               [&] { matmul_backward_weight(w, none, x, out); });
  expect_error("E_SHAPE", {"dout (3, 4)"}, [&] { matmul_backward_weight(w, none, w, x); });
  expect_error("E_SHAPE", {"weight"}, [&] { Weight(t.random(DType::F32, {3})); });
}

const Cases cases(
    "matmul",
    {
        {"the backward formulas agree with differences of the forward one", [] { check_gradients(); }},
        {"products agree with the reference", Backends::CpuAndCuda, [](Tensors& t) { check_products(t); }},
        {"products by our own kernels agree with the reference", Backends::Cpu,
         [](Tensors& t) {
           const OwnKernels own(t.device());
           check_products(t);
         }},
        {"a low-rank product is added in the same pass", Backends::Cpu,
         [](Tensors& t) {
           check_low_rank(t);
           const OwnKernels own(t.device());
           check_low_rank(t);
         }},
        {"a row has the same bits alone, in any batch and at any place", Backends::Cpu,
         [](Tensors& t) {
           for (const Types& types : kTypes) check_rows(t, types);
           const OwnKernels own(t.device());
           for (const Types& types : kTypes) check_rows(t, types);
         }},
        {"results do not depend on the number of threads", Backends::Cpu,
         [](Tensors& t) {
           for (const DType type : {DType::F32, DType::BF16}) {
             const auto run = [type](Tensors& other) { return product_bits(other, type); };
             expect_same_bits_for_any_threads(name_of(type), t.device().isa(), run);
             const auto own = [type](Tensors& other) {
               const OwnKernels own(other.device());
               return product_bits(other, type);
             };
             expect_same_bits_for_any_threads(text("own kernels, ", name_of(type)), t.device().isa(), own);
           }
         }},
        {"oneDNN computes where the machine has AVX-512, and is left alone for lesser sets", Backends::Cpu,
         [](Tensors& t) {
           const bool taken = t.device().state<DnnlMatmul>().packed_layout(Product::Forward, 64, 48, DType::F32);
           expect(taken == (t.device().isa() == detect_isa() && detect_isa() >= Isa::Avx512), "taken: ", taken);
         }},
        {"pack makes the copy that forward reads, invalidate remakes it", Backends::Cpu,
         [](Tensors& t) {
           check_packed_copy(t);
           const OwnKernels own(t.device());
           check_packed_copy(t);
         }},
        {"weights may lie at any address", Backends::Cpu,
         [](Tensors& t) {
           check_unaligned(t);
           const OwnKernels own(t.device());
           check_unaligned(t);
         }},
        {"a bias may begin anywhere", Backends::CpuAndCuda, [](Tensors& t) { check_unaligned_bias(t); }},
        {"no rows are no work", Backends::CpuAndCuda, [](Tensors& t) { check_no_rows(t); }},
        {"refuses sizes and types that do not fit", Backends::Cpu, [](Tensors& t) { check_errors(t); }},
    });

}  // namespace

}  // namespace vlm2vec::test
