#include "ops/cast.h"

#include <cmath>
#include <cstring>

#include "harness.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

using Numbers = std::vector<double>;

// What the 16 bits of an IEEE half mean, by its definition.
double half_value(uint32_t bits) {
  const int exponent = int(bits >> 10 & 31);
  const double sign = bits >> 15 ? -1 : 1, fraction = double(bits & 1023) / 1024;
  if (exponent == 31) return bits & 1023 ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(1 + fraction, exponent - 15) : std::ldexp(fraction, -14));
}

std::vector<uint16_t> all_halves() {
  std::vector<uint16_t> bits(65536);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = uint16_t(i);
  return bits;
}

bool same(double a, double b) { return a == b ? std::signbit(a) == std::signbit(b) : std::isnan(a) && std::isnan(b); }

const Cases cases(
    "cast", {
                {"every half becomes exactly its value in f32, and that rounded in bf16", Backends::Cpu,
                 [](Tensors& t) {
                   const std::vector<uint16_t> halves = all_halves();
                   const Tensor from = t.raw(DType::F16, {65536}, halves.data()), f32 = t.output(DType::F32, {65536}),
                                b16 = t.output(DType::BF16, {65536});
                   cast(f32, from);
                   cast(b16, from);
                   const Numbers wide = read(f32), narrow = read(b16);
                   for (uint32_t i = 0; i < 65536; ++i) {
                     const double exact = half_value(i);
                     expect(same(wide[i], exact), "half ", i, ": ", wide[i], ", expected ", exact);
                     expect(same(narrow[i], to_float(to_bf16(float(exact)))), "half ", i, " in bf16: ", narrow[i],
                            " for ", exact);
                   }
                 }},
                {"every bf16 survives the way to f32 and back", Backends::Cpu,
                 [](Tensors& t) {
                   const std::vector<uint16_t> all = all_halves();
                   const Tensor from = t.raw(DType::BF16, {65536}, all.data()), f32 = t.output(DType::F32, {65536}),
                                back = t.output(DType::BF16, {65536});
                   cast(f32, from);
                   cast(back, f32);
                   const Numbers values = read(f32);
                   const std::vector<uint8_t> bytes = bits(back);
                   for (uint32_t i = 0; i < 65536; ++i) {
                     expect(same(values[i], to_float(bf16{uint16_t(i)})), "bf16 ", i, ": ", values[i]);
                     const uint32_t got = bytes[2 * i] | uint32_t(bytes[2 * i + 1]) << 8;
                     expect(got == i || (std::isnan(values[i]) && got == (i | 0x40)), "bf16 ", i, " came back as ",
                            got);
                   }
                 }},
                {"f32 is rounded to the nearest bf16, ties to even, NaN to NaN", Backends::Cpu,
                 [](Tensors& t) {
                   const uint32_t from[] = {0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0x7f7fffff, 0x7f800000,
                                            0xff800000, 0x7f800001, 0x00000001, 0x80000000, 0x007fffff};
                   const uint16_t to[] = {0x3f80, 0x3f82, 0x3f81, 0x3f80, 0x7f80, 0x7f80,
                                          0xff80, 0x7fc0, 0x0000, 0x8000, 0x0080};
                   const Tensor x = t.raw(DType::F32, {11}, from), y = t.output(DType::BF16, {11});
                   cast(y, x);
                   expect_same_bits("bf16", bits(y), bits(t.raw(DType::BF16, {11}, to)));
                 }},
                {"equal types are copied, whatever the shapes", Backends::Cpu,
                 [](Tensors& t) {
                   for (DType type : {DType::F32, DType::BF16}) {
                     const Tensor x = t.random(type, {3, 7}), y = t.output(type, {21});
                     cast(y, x);
                     expect_same_bits("copy", y, x);
                   }
                 }},
                {"all_finite finds a single NaN or infinity wherever it is", Backends::Cpu,
                 [](Tensors& t) {
                   const uint16_t halves[] = {0x7bff, 0xfbff, 0x0001};
                   expect(all_finite(t.raw(DType::F16, {3}, halves)), "the largest halves are finite");
                   const uint16_t infinite[] = {0, 0xfc00, 0};
                   expect(!all_finite(t.raw(DType::F16, {3}, infinite)), "-inf in f16 was missed");
                   expect(all_finite(t.output(DType::F32, {0})), "nothing is finite");
                   for (DType type : {DType::F32, DType::BF16})
                     for (int64_t place : {0, 15, 16, 20002}) {
                       Numbers numbers(20003, 3e38);
                       expect(all_finite(t.values(type, {20003}, numbers)), "large numbers are finite");
                       for (double bad : {double(NAN), double(INFINITY), -double(INFINITY)}) {
                         numbers[size_t(place)] = bad;
                         Tensors own(t.device());
                         expect(!all_finite(own.values(type, {20003}, numbers)), bad, " at ", place, " was missed");
                       }
                     }
                 }},
                {"add_scaled adds, and scale scales, in place too", Backends::Cpu,
                 [](Tensors& t) {
                   for (DType type : {DType::F32, DType::BF16})
                     for (int64_t size : {1, 17, 5000}) {
                       const Tensor x = t.random(DType::F32, {size}), y = t.random(type, {size});
                       Numbers sum = read(x), product = read(y);
                       for (size_t i = 0; i < sum.size(); ++i) sum[i] += 0.37f * product[i];
                       for (double& v : product) v *= -2.5;
                       add_scaled(x, y, 0.37f);
                       expect_near(text("x ", x), x, sum, 1e-13);
                       for (DType to : {DType::F32, DType::BF16}) {
                         const Tensor out = t.output(to, {size});
                         scale(out, y, -2.5f);
                         expect_near(text("out ", out, " of ", y), out, product, bound_for(to, product));
                       }
                       scale(y, y, -2.5f);
                       expect_near(text("in place ", y), y, product, bound_for(type, product));
                     }
                 }},
                {"wrong sizes and types are refused by name", Backends::Cpu,
                 [](Tensors& t) {
                   const Tensor x = t.random(DType::F32, {6}), b = t.random(DType::BF16, {6});
                   expect_error("E_SHAPE", {"cast", "from (5)", "to (6)"}, [&] { cast(x, t.random(DType::F32, {5})); });
                   expect_error("E_SHAPE", {"cast", "i32"}, [&] { cast(x, t.indices({1, 2, 3, 4, 5, 6})); });
                   expect_error("E_SHAPE", {"add_scaled", "bf16"}, [&] { add_scaled(b, x, 1); });
                   expect_error("E_SHAPE", {"scale", "out (5)"}, [&] { scale(t.random(DType::F32, {5}), x, 1); });
                   expect_error("E_SHAPE", {"all_finite"}, [&] { all_finite(t.indices({1})); });
                 }},
            });

}  // namespace
