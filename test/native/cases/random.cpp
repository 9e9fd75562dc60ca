#include "core/random.h"

#include <cmath>

#include "harness.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

const Cases cases("random", {
                                {"the numbers are those recorded: checkpoints and data order rest on them",
                                 [] {
                                   const uint64_t recorded[][4] = {
                                       {0x2aull, 0ull, 0ull, 0x8ea373fce8c4b147ull},
                                       {0x2aull, 1ull, 0ull, 0xb2fbeb166ce0fdd9ull},
                                       {0x2aull, 0ull, 1ull, 0x9e29780c22976897ull},
                                       {0xffffffffffffffffull, 7ull, 123456789012ull, 0xa69eaf21f04b57faull}};
                                   for (const auto& [seed, stream, counter, expected] : recorded) {
                                     const uint64_t value = random_bits(seed, stream, counter);
                                     expect(value == expected, "bits of (", seed, ", ", stream, ", ", counter,
                                            "): ", value, ", expected ", expected);
                                     expect(random_uniform(seed, stream, counter) == float(expected >> 40) / 16777216,
                                            "uniform of (", seed, ", ", stream, ", ", counter, ")");
                                   }
                                 }},
                                {"uniform numbers are in [0, 1), with the mean and variance of that",
                                 [] {
                                   double total = 0, squares = 0;
                                   for (uint64_t i = 0; i < 100000; ++i) {
                                     const double u = random_uniform(1, 2, i);
                                     expect(u >= 0 && u < 1, "uniform ", u);
                                     total += u;
                                     squares += u * u;
                                   }
                                   expect_close("mean", total / 100000, 0.5, 0.01);
                                   expect_close("variance", squares / 100000 - 0.25, 1.0 / 12, 0.03);
                                 }},
                                {"normal numbers have mean 0, variance 1 and fourth moment 3",
                                 [] {
                                   double total = 0, squares = 0, fourths = 0;
                                   for (uint64_t i = 0; i < 100000; ++i) {
                                     const double z = random_normal(1, 2, i);
                                     expect(std::isfinite(z), "normal ", z);
                                     total += z;
                                     squares += z * z;
                                     fourths += z * z * z * z;
                                   }
                                   expect_close("mean", total / 100000, 0, 0.015, 1);
                                   expect_close("variance", squares / 100000, 1, 0.02);
                                   expect_close("fourth moment", fourths / 100000, 3, 0.06);
                                 }},
                                {"seeds, streams and counters give independent numbers",
                                 [] {
                                   double products[3] = {};
                                   for (uint64_t i = 0; i < 100000; ++i) {
                                     const double z = random_normal(1, 1, i);
                                     products[0] += z * random_normal(2, 1, i);
                                     products[1] += z * random_normal(1, 2, i);
                                     products[2] += z * random_normal(1, 1, i + 1);
                                   }
                                   for (double product : products)
                                     expect_close("correlation", product / 100000, 0, 0.015,
                                                  1);  // 4.7 standard deviations
                                 }},
                            });

}  // namespace
