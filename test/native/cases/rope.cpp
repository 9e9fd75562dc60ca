#include "ops/rope.h"

#include <cmath>

#include "harness.h"
#include "ops/rope_reference.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

using Numbers = std::vector<double>;

struct Table {
  std::vector<int32_t> positions, axis;
  std::vector<float> inverse_frequency;
  Numbers cos, sin;
  int64_t rows, half;
};

// Three axes of positions, turned by sections as in M-RoPE.
Table make_table(int64_t rows, int64_t half) {
  Table table{{}, {}, {}, Numbers(size_t(rows * half)), Numbers(size_t(rows * half)), rows, half};
  for (int64_t a = 0; a < 3; ++a)
    for (int64_t t = 0; t < rows; ++t) table.positions.push_back(int32_t(t * (a + 1) * 37 % 4001));
  for (int64_t j = 0; j < half; ++j) {
    table.axis.push_back(int32_t(j * 3 / half));
    table.inverse_frequency.push_back(float(std::pow(1e6, -double(j) / double(half))));
  }
  rope_table_reference(table.cos.data(), table.sin.data(), table.positions.data(), table.axis.data(),
                       table.inverse_frequency.data(), rows, half, 0, rows);
  return table;
}

Tensor positions_of(Tensors& t, const Table& table) { return t.indices(table.positions).reshape({3, table.rows}); }

Tensor frequencies_of(Tensors& t, const Table& table) {
  return t.values(DType::F32, {table.half}, Numbers(table.inverse_frequency.begin(), table.inverse_frequency.end()));
}

Numbers turned(Numbers x, const Table& table, int64_t heads, bool inverse) {
  rope_apply_reference(x.data(), table.cos.data(), table.sin.data(), table.rows, heads, table.half, inverse);
  return x;
}

const Cases cases(
    "rope",
    {
        {"the inverse rotation is the gradient of the rotation",
         [] {
           const Table table = make_table(3, 3);
           const Numbers x = random_numbers(3 * 2 * 6, 1), dout = random_numbers(3 * 2 * 6, 2);
           expect_gradient(
               "dx", [&](const Numbers& at) { return dot(turned(at, table, 2, false), dout); }, x,
               turned(dout, table, 2, true));
         }},
        {"the first dimension of a head turns with the middle one, by the position of its axis",
         [] {
           const int32_t positions[] = {1, 2, 5, 7}, axis[] = {0, 1};  // two axes, two rows
           const float frequency[] = {1, 0.5};
           double cos[4], sin[4];
           rope_table_reference(cos, sin, positions, axis, frequency, 2, 2, 0, 2);
           expect_near("cos", {cos, cos + 4}, {std::cos(1.0), std::cos(2.5), std::cos(2.0), std::cos(3.5)}, 1e-24);
           double x[] = {1, 2, 3, 4};
           rope_apply_reference(x, cos, sin, 1, 1, 2, false);
           expect_near("x", {x, x + 4},
                       {cos[0] - 3 * sin[0], 2 * cos[1] - 4 * sin[1], 3 * cos[0] + sin[0], 4 * cos[1] + 2 * sin[1]},
                       1e-24);
         }},
        {"the table agrees with the reference at large positions", Backends::Cpu,
         [](Tensors& t) {
           for (int64_t rows : {1, 3, 257})
             for (int64_t half : {1, 7, 40, 64}) {
               const Table table = make_table(rows, half);
               const Tensor cos = t.output(DType::F32, {rows, half}), sin = t.output(DType::F32, {rows, half});
               rope_table(cos, sin, positions_of(t, table), t.indices(table.axis), frequencies_of(t, table));
               expect_near(text("cos ", cos), cos, table.cos, 1e-13);
               expect_near(text("sin ", sin), sin, table.sin, 1e-13);
             }
         }},
        {"rotations agree with the reference in heads of a wider matrix, and touch nothing else", Backends::Cpu,
         [](Tensors& t) {
           for (DType type : {DType::F32, DType::BF16})
             for (int64_t half : {1, 7, 17, 40, 64})
               for (bool inverse : {false, true}) {
                 const int64_t rows = 5, heads = 3;
                 const Table table = make_table(rows, half);
                 const Tensor wide = t.random(type, {rows, heads * half * 2 + 11});
                 const Numbers before = read(wide);
                 const Tensor x = wide.heads(4, heads, half * 2);
                 const Numbers expected = turned(read(x), table, heads, inverse);
                 rope_apply(x, t.values(DType::F32, {rows, half}, table.cos),
                            t.values(DType::F32, {rows, half}, table.sin), inverse);
                 expect_near(text("x ", x), x, expected, bound_for(type, expected));
                 const Numbers after = read(wide);
                 for (size_t i = 0; i < after.size(); ++i) {
                   const int64_t column = int64_t(i) % wide.shape[1];
                   if (column < 4 || column >= 4 + heads * half * 2)
                     expect(after[i] == before[i], "column ", column, " changed");
                 }
               }
         }},
        {"a row has the same bits alone and among others", Backends::Cpu,
         [](Tensors& t) {
           const Table table = make_table(401, 20);
           const Tensor cos = t.values(DType::F32, {401, 20}, table.cos),
                        sin = t.values(DType::F32, {401, 20}, table.sin);
           const Tensor x = t.random(DType::F32, {401, 2, 40}), row = t.output(DType::F32, {1, 2, 40});
           t.device().copy(row.data, x.slice(399, 1).data, row.bytes());
           rope_apply(x, cos, sin, false);
           rope_apply(row, cos.slice(399, 1), sin.slice(399, 1), false);
           expect_same_bits("row 399", row, x.slice(399, 1));
         }},
        {"wrong shapes and axes are refused by name", Backends::Cpu,
         [](Tensors& t) {
           const Table table = make_table(4, 8);
           const Tensor cos = t.output(DType::F32, {4, 8}), sin = t.output(DType::F32, {4, 8}),
                        x = t.random(DType::F32, {4, 2, 16});
           expect_error("E_SHAPE", {"rope_apply", "cos (4, 8)", "x (4, 2, 14)"}, [&] {
             rope_apply(t.random(DType::F32, {4, 2, 14}), cos, sin, false);
           });
           expect_error("E_SHAPE", {"rope_apply", "not even"}, [&] {
             rope_apply(t.random(DType::F32, {4, 2, 15}), cos, sin, false);
           });
           expect_error("E_SHAPE", {"sin"}, [&] { rope_apply(x, cos, t.random(DType::F32, {3, 8}), false); });
           expect_error("E_BATCH", {"rope_table", "axis[7] = 3"}, [&] {
             rope_table(cos, sin, positions_of(t, table), t.indices({0, 0, 0, 1, 1, 2, 2, 3}),
                        frequencies_of(t, table));
           });
           expect_error("E_SHAPE", {"rope_table", "inverse_frequency"}, [&] {
             rope_table(cos, sin, positions_of(t, table), t.indices(table.axis), t.random(DType::F32, {7}));
           });
         }},
    });

}  // namespace
