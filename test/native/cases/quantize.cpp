#include "ops/quantize.h"

#include <cstring>

#include "harness.h"
#include "ops/matmul.h"
#include "ops/matmul_int8_kernels.h"
#include "ops/matmul_reference.h"
#include "ops/quantize_reference.h"

namespace vlm2vec::test {

namespace {

using Numbers = std::vector<double>;
constexpr Quantization kKinds[] = {Quantization::Int8, Quantization::Nf4};

struct Quantized {
  Quantized(Quantization kind, Tensor w) : codes(size_t(w.size()) + 64, 0xee), scales(size_t(w.size()) + 64, -7) {
    matrix = {kind, w.rows(), w.shape[1], codes.data(), scales.data()};
    quantize(matrix, w);
  }
  std::vector<uint8_t> codes;
  std::vector<float> scales;
  QuantizedMatrix matrix;
};

Numbers quantized_numbers(Tensor w, Quantization kind) {
  const Numbers wide = read(w);
  const std::vector<float> narrow(wide.begin(), wide.end());
  Numbers result(wide.size());
  quantized_values_reference(result.data(), narrow.data(), kind, w.rows(), w.shape[1]);
  return result;
}

// Shapes whose rows are whole blocks of 64, are not, and are odd; a matrix smaller than a block.
const int64_t kShapes[][2] = {{3, 128}, {5, 70}, {4, 33}, {7, 3}, {1, 1}, {2, 300}};

void check_values(Tensors& t) {
  for (const Quantization kind : kKinds)
    for (const auto& [n, k] : kShapes)
      for (const DType type : {DType::F32, DType::BF16}) {
        const Tensor w = t.random(type, {n, k}, 0.3);
        const Quantized q(kind, w);
        const std::string title = text(name_of(kind), " (", n, ", ", k, ") ", name_of(type));
        expect(q.codes[q.matrix.code_bytes()] == 0xee, title, ": writes behind the codes");
        expect(q.scales[size_t(q.matrix.scale_count())] == -7, title, ": writes behind the scales");
        const Numbers expected = quantized_numbers(w, kind);
        const Tensor out = t.output(DType::F32, {n, k});
        dequantize(out, q.matrix, 0);
        expect_near(title, out, expected, 1e-13);
        if (n < 3) continue;
        const Tensor part = t.output(DType::BF16, {2, k});
        dequantize(part, q.matrix, 1);
        const Numbers rows = rounded(Numbers(expected.begin() + k, expected.begin() + 3 * k), DType::BF16);
        expect_near(title + " rows", part, rows, 1e-13);
      }
}

// Codes of levels are those levels: what bitsandbytes writes for them is their order, two a byte, the first above.
void check_nf4_codes(Tensors& t) {
  Numbers numbers;
  for (int i = 0; i < 64; ++i) numbers.push_back(double(kNf4Levels[i % 16]) * 2);
  const Quantized q(Quantization::Nf4, t.values(DType::F32, {1, 64}, numbers));
  expect(q.scales[0] == 2, "the scale is ", q.scales[0], ", expected 2");
  for (int i = 0; i < 32; ++i) {
    const int expected = (i % 8) * 2 * 16 + (i % 8) * 2 + 1;
    expect(q.codes[size_t(i)] == expected, "byte ", i, " is ", int(q.codes[size_t(i)]), ", expected ", expected);
  }
}

void check_zeros(Tensors& t) {
  for (const Quantization kind : kKinds) {
    Numbers numbers(3 * 64, 0);
    numbers[64] = -3;
    const Quantized q(kind, t.values(DType::F32, {3, 64}, numbers));
    const Tensor out = t.output(DType::F32, {3, 64});
    dequantize(out, q.matrix, 0);
    expect_near(name_of(kind), out, numbers, 1e-13);
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Products

struct Sizes {
  int64_t M, N, K;
};
const Sizes kSizes[] = {{1, 1, 1}, {13, 33, 257}, {241, 17, 65}, {24, 64, 320}, {5, 31, 700}, {3, 40, 64}};

// Weight as a kind of storage, and the numbers that it stands for.
struct Stored {
  std::string name;
  Weight weight;
  Numbers numbers;
};

std::vector<Stored> stored_forms(Tensor w) {
  std::vector<Stored> forms;
  for (const Quantization kind : kKinds) forms.push_back({name_of(kind), Weight(w, kind), quantized_numbers(w, kind)});
  forms.push_back({"in place", Weight(w, Weight::Use::InPlace), read(w)});
  return forms;
}

void check_products(Tensors& t) {
  for (const auto& [M, N, K] : kSizes)
    for (const DType type : {DType::F32, DType::BF16})
      for (const Stored& form : stored_forms(t.random(type, {N, K}))) {
        const DType x_type = form.weight.quantized() ? type : DType::F32;  // in place: of another type than the weight
        const std::string title = text(form.name, " M=", M, " N=", N, " K=", K, " ", name_of(type));
        const Tensor x = t.random(x_type, {M, K}), dout = t.random(x_type, {M, N}), bias = t.random(DType::F32, {N});
        Numbers expected(size_t(M * N)), dexpected(size_t(M * K));
        matmul_forward_reference(expected.data(), read(x).data(), form.numbers.data(), read(bias).data(), M, N, K);
        matmul_backward_x_reference(dexpected.data(), read(dout).data(), form.numbers.data(), M, N, K);
        const Tensor out = t.output(DType::F32, {M, N}), dx = t.output(DType::F32, {M, K});
        const Tensor narrow = t.output(DType::BF16, {M, N});
        matmul_forward(out, x, form.weight, bias);
        expect_near(title + " out", out, expected, 1e-12);
        matmul_forward(narrow, x, form.weight, bias);
        expect_near(title + " bf16 out", narrow, expected, bound_for(DType::BF16, expected));
        matmul_backward_x(dx, dout, form.weight);
        expect_near(title + " dx", dx, dexpected, 1e-12);
        const Tensor sum = t.zeros(DType::F32, {M, K});
        matmul_backward_x(sum, dout, form.weight, true);
        expect_near(title + " dx +=", sum, dexpected, 1e-12);
      }
}

void check_whole_numbers(Tensors& t) {
  for (const auto& [M, N, K] : kSizes)
    for (const DType type : {DType::F32, DType::BF16}) {
      const std::string title = text("M=", M, " N=", N, " K=", K, " ", name_of(type));
      const Tensor w = t.random(type, {N, K}), x = t.random(type, {M, K}, 3), bias = t.random(DType::F32, {N});
      const Numbers wide = read(x);
      Numbers rows(wide.size()), expected(size_t(M * N));
      quantized_rows_reference(rows.data(), std::vector<float>(wide.begin(), wide.end()).data(), M, K, kInt8Run);
      const Numbers values = quantized_numbers(w, Quantization::Int8);
      matmul_forward_reference(expected.data(), rows.data(), values.data(), read(bias).data(), M, N, K);
      Weight weight(w, Quantization::Int8);
      weight.pack_whole_numbers();
      const Tensor out = t.output(DType::F32, {M, N}), sum = t.zeros(DType::F32, {M, N});
      const Tensor narrow = t.output(DType::BF16, {M, N});
      matmul_forward(out, x, weight, bias);
      expect_near(title, out, expected, 1e-12);
      matmul_forward(sum, x, weight, bias, true);
      expect_near(title + " +=", sum, expected, 1e-12);
      matmul_forward(narrow, x, weight, bias);
      expect_near(title + " bf16 out", narrow, expected, bound_for(DType::BF16, expected));
      const Tensor last = t.output(DType::F32, {1, N});
      matmul_forward(last, x.slice(M - 1, 1), weight, bias);
      expect_same_bits(title + " last row alone", last, out.slice(M - 1, 1));
    }
  Weight weight(t.random(DType::F32, {3, 8}), Quantization::Int8);
  weight.pack_whole_numbers();
  expect_error("E_INTERNAL", {"whole numbers"}, [&] {
    matmul_backward_x(t.output(DType::F32, {2, 8}), t.random(DType::F32, {2, 3}), weight);
  });
  expect_error("E_INTERNAL", {"whole numbers"}, [&] { weight.read_rows(t.output(DType::F32, {1, 8}), 0); });
}

void check_outlier(Tensors& t) {
  Numbers x(512, 0), w(512, 0);
  x[3] = 1e4, x[300] = 1, w[300] = 1;
  Weight weight(t.values(DType::F32, {1, 512}, w), Quantization::Int8);
  weight.pack_whole_numbers();
  const Tensor out = t.output(DType::F32, {1, 1});
  matmul_forward(out, t.values(DType::F32, {1, 512}, x), weight, {});
  expect_near("out", out, Numbers{1}, 1e-12);
}

void check_rows(Tensors& t) {
  const int64_t M = 61, N = 70, K = 330;
  const Tensor x = t.random(DType::F32, {M, K}), dout = t.random(DType::F32, {M, N});
  for (const Stored& form : stored_forms(t.random(DType::BF16, {N, K}))) {
    const Tensor out = t.output(DType::F32, {M, N}), dx = t.output(DType::F32, {M, K});
    matmul_forward(out, x, form.weight, {});
    matmul_backward_x(dx, dout, form.weight);
    const Sizes parts[] = {{0, 1, 0}, {60, 1, 0}, {5, 13, 0}, {14, 47, 0}};
    for (const auto& [first, count, unused] : parts) {
      const Tensor part = t.output(DType::F32, {count, N}), dpart = t.output(DType::F32, {count, K});
      matmul_forward(part, x.slice(first, count), form.weight, {});
      matmul_backward_x(dpart, dout.slice(first, count), form.weight);
      expect_same_bits(text(form.name, " out rows ", first, " + ", count), part, out.slice(first, count));
      expect_same_bits(text(form.name, " dx rows ", first, " + ", count), dpart, dx.slice(first, count));
    }
  }
}

std::vector<uint8_t> all_bits(Tensors& t) {
  const int64_t M = 133, N = 71, K = 290;
  const Tensor x = t.random(DType::F32, {M, K}), dout = t.random(DType::F32, {M, N});
  std::vector<uint8_t> all;
  for (const Stored& form : stored_forms(t.random(DType::F32, {N, K}))) {
    const Tensor out = t.output(DType::F32, {M, N}), dx = t.output(DType::F32, {M, K});
    matmul_forward(out, x, form.weight, {});
    matmul_backward_x(dx, dout, form.weight);
    for (const Tensor& result : {out, dx})
      for (const uint8_t byte : bits(result)) all.push_back(byte);
  }
  return all;
}

void check_weight(Tensors& t) {
  const Tensor w = t.random(DType::F32, {20, 64});
  for (const Stored& form : stored_forms(w)) {
    const Tensor rows = t.output(DType::F32, {5, 64});
    form.weight.read_rows(rows, 7);
    expect_near(form.name, rows, Numbers(form.numbers.begin() + 7 * 64, form.numbers.begin() + 12 * 64), 1e-13);
  }
  expect(Weight(w, Quantization::Int8).packed_bytes() == 20 * 64 + 20 * 4, "int8 takes other than a byte a number");
  expect(Weight(w, Quantization::Nf4).packed_bytes() == 20 * 32 + 20 * 4, "nf4 takes other than 4.5 bits a number");
  Weight in_place(w, Weight::Use::InPlace);
  expect(!in_place.pack(), "a weight that is used in place was packed");
  expect(in_place.packed_bytes() == 0, "a weight that is used in place was copied");
}

const Cases cases(
    "quantize",
    {
        {"codes and scales give the reference's numbers back", Backends::Cpu, [](Tensors& t) { check_values(t); }},
        {"NF4 codes count the levels from below, two a byte, the first in the upper half", Backends::Cpu,
         [](Tensors& t) { check_nf4_codes(t); }},
        {"zeros stay zeros", Backends::Cpu, [](Tensors& t) { check_zeros(t); }},
        {"products with quantized weights and with weights in place agree with the reference", Backends::Cpu,
         [](Tensors& t) { check_products(t); }},
        {"products of whole numbers are exact but for the rounding of x and W", Backends::Cpu,
         [](Tensors& t) { check_whole_numbers(t); }},
        {"a large number of x spoils no more than its run", Backends::Cpu, [](Tensors& t) { check_outlier(t); }},
        {"a row has the same bits alone, in any batch and at any place", Backends::Cpu,
         [](Tensors& t) { check_rows(t); }},
        {"results do not depend on the number of threads", Backends::Cpu,
         [](Tensors& t) { expect_same_bits_for_any_threads("products", t.device().isa(), all_bits); }},
        {"a weight gives its rows back and says what it takes", Backends::Cpu, [](Tensors& t) { check_weight(t); }},
        {"refuses names and sizes that do not fit", Backends::Cpu,
         [](Tensors& t) {
           expect_error("E_OPTION", {"int4", "none, int8 or nf4"}, [] { parse_quantization("int4"); });
           const Quantized q(Quantization::Int8, t.random(DType::F32, {3, 4}));
           expect_error("E_SHAPE", {"quantize", "(2, 4)"}, [&] { quantize(q.matrix, t.random(DType::F32, {2, 4})); });
           expect_error("E_SHAPE", {"dequantize"}, [&] { dequantize(t.output(DType::F32, {2, 4}), q.matrix, 2); });
           const Weight weight(t.random(DType::F32, {3, 4}), Quantization::Nf4);
           expect_error("E_SHAPE", {"matmul_forward", "(3, 4) nf4"}, [&] {
             matmul_forward(t.output(DType::F32, {2, 3}), t.random(DType::F32, {2, 3}), weight, {});
           });
         }},
    });

}  // namespace

}  // namespace vlm2vec::test
