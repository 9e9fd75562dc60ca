#include "ops/rmsnorm.h"

#include "harness.h"
#include "ops/rmsnorm_reference.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

constexpr float kEps = 1e-6f;
using Numbers = std::vector<double>;

struct Sizes {
  int64_t rows, columns;
};
// 1, a prime, around the vector and the tile of the column sums, a model's width
const Sizes kSizes[] = {{1, 1}, {3, 7}, {5, 15}, {17, 16}, {2, 17}, {33, 63}, {16, 64}, {4, 65}, {3, 1536}, {0, 8}};

struct Reference {
  Numbers out, rstd, dx, dweight;
};

Reference reference(const Numbers& x, const Numbers& weight, const Numbers& dout, Sizes sizes) {
  Reference y{Numbers(x.size()), Numbers(size_t(sizes.rows)), Numbers(x.size()), Numbers(weight.size())};
  rmsnorm_forward_reference(y.out.data(), y.rstd.data(), x.data(), weight.data(), double(kEps), sizes.rows,
                            sizes.columns);
  rmsnorm_backward_reference(y.dx.data(), y.dweight.data(), dout.data(), x.data(), weight.data(), y.rstd.data(),
                             sizes.rows, sizes.columns);
  return y;
}

Numbers plus(Numbers a, const Numbers& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

const Cases cases(
    "rmsnorm",
    {
        {"the reference's gradients are those of finite differences",
         [] {
           const Sizes sizes{3, 7};
           const Numbers x = random_numbers(21, 1), weight = random_numbers(7, 2), dout = random_numbers(21, 3);
           const Reference y = reference(x, weight, dout, sizes);
           expect_gradient(
               "dx", [&](const Numbers& at) { return dot(reference(at, weight, dout, sizes).out, dout); }, x, y.dx);
           expect_gradient(
               "dweight", [&](const Numbers& at) { return dot(reference(x, at, dout, sizes).out, dout); }, weight,
               y.dweight);
         }},
        {"forward agrees with the reference, for strided rows of either type", Backends::CpuAndCuda,
         [](Tensors& t) {
           for (Sizes sizes : kSizes)
             for (DType in : {DType::F32, DType::BF16})
               for (DType type : {DType::F32, DType::BF16}) {
                 const Tensor x = t.random(in, {sizes.rows, sizes.columns}, 3, sizes.columns + 5),
                              weight = t.random(DType::F32, {sizes.columns});
                 const Tensor out = t.output(type, {sizes.rows, sizes.columns}, sizes.columns + 3),
                              rstd = t.output(DType::F32, {sizes.rows});
                 rmsnorm_forward(out, rstd, x, weight, kEps);
                 const Reference y = reference(read(x), read(weight), Numbers(size_t(x.size())), sizes);
                 expect_near(text("out of x ", x), out, y.out, bound_for(type, y.out));
                 expect_near(text("rstd of x ", x), rstd, y.rstd, 1e-12);
               }
         }},
        {"backward adds what the reference adds", Backends::CpuAndCuda,
         [](Tensors& t) {
           for (Sizes sizes : kSizes)
             for (DType in : {DType::F32, DType::BF16})
               for (DType type : {DType::F32, DType::BF16}) {
                 const Tensor x = t.random(in, {sizes.rows, sizes.columns}, 3),
                              weight = t.random(DType::F32, {sizes.columns});
                 const Tensor dout = t.random(type, {sizes.rows, sizes.columns});
                 const Tensor dx = t.random(DType::F32, {sizes.rows, sizes.columns}),
                              dweight = t.random(DType::F32, {sizes.columns});
                 const Reference y = reference(read(x), read(weight), read(dout), sizes);
                 const Numbers expected_dx = plus(read(dx), y.dx), expected_dweight = plus(read(dweight), y.dweight);
                 rmsnorm_backward(dx, dweight, dout, x, weight, t.values(DType::F32, {sizes.rows}, y.rstd));
                 // of one column nothing is left but rounding: 3.5e-11 seen
                 expect_near(text("dx of x ", x), dx, expected_dx, sizes.columns == 1 ? 1e-10 : 1e-12);
                 expect_near(text("dweight of x ", x), dweight, expected_dweight, 1e-12);
               }
         }},
        {"backward without dweight gives the same dx", Backends::CpuAndCuda,
         [](Tensors& t) {
           const Tensor x = t.random(DType::F32, {5, 33}), weight = t.random(DType::F32, {33}),
                        dout = t.random(DType::F32, {5, 33});
           const Tensor rstd = t.values(DType::F32, {5}, Numbers(5, 0.7)), dweight = t.zeros(DType::F32, {33});
           const Tensor a = t.zeros(DType::F32, {5, 33}), b = t.zeros(DType::F32, {5, 33});
           rmsnorm_backward(a, dweight, dout, x, weight, rstd);
           rmsnorm_backward(b, Tensor(), dout, x, weight, rstd);
           expect_same_bits("dx", a, b);
         }},
        {"a row has the same bits alone and among others", Backends::CpuAndCuda,
         [](Tensors& t) {
           const Tensor x = t.random(DType::F32, {37, 101}), weight = t.random(DType::F32, {101}),
                        dout = t.random(DType::F32, {37, 101});
           const Tensor out = t.output(DType::F32, {37, 101}), rstd = t.output(DType::F32, {37}),
                        dx = t.zeros(DType::F32, {37, 101});
           rmsnorm_forward(out, rstd, x, weight, kEps);
           rmsnorm_backward(dx, Tensor(), dout, x, weight, rstd);
           for (int64_t r : {0, 5, 36}) {
             const Tensor out_r = t.output(DType::F32, {1, 101}), rstd_r = t.output(DType::F32, {1}),
                          dx_r = t.zeros(DType::F32, {1, 101});
             rmsnorm_forward(out_r, rstd_r, x.slice(r, 1), weight, kEps);
             rmsnorm_backward(dx_r, Tensor(), dout.slice(r, 1), x.slice(r, 1), weight, rstd_r);
             expect_same_bits(text("out, row ", r), out_r, out.slice(r, 1));
             expect_same_bits(text("dx, row ", r), dx_r, dx.slice(r, 1));
           }
         }},
        {"the number of threads does not change a bit", Backends::Cpu,
         [](Tensors& t) {
           expect_same_bits_for_any_threads("dx and dweight", t.device().isa(), [](Tensors& own) {
             const Tensor x = own.random(DType::F32, {301, 259}), weight = own.random(DType::F32, {259}),
                          dout = own.random(DType::F32, {301, 259});
             const Tensor out = own.output(DType::F32, {301, 259}), rstd = own.output(DType::F32, {301});
             const Tensor dx = own.zeros(DType::F32, {301, 259}), dweight = own.zeros(DType::F32, {259});
             rmsnorm_forward(out, rstd, x, weight, kEps);
             rmsnorm_backward(dx, dweight, dout, x, weight, rstd);
             std::vector<uint8_t> result = bits(dx), more = bits(dweight);
             result.insert(result.end(), more.begin(), more.end());
             return result;
           });
         }},
        {"wrong shapes and types are refused by name", Backends::CpuAndCuda,
         [](Tensors& t) {
           const Tensor x = t.random(DType::F32, {2, 8}), out = t.output(DType::F32, {2, 8}),
                        rstd = t.output(DType::F32, {2});
           expect_error("E_SHAPE", {"rmsnorm_forward", "weight (7) f32", "x (2, 8) f32", "(8)"},
                        [&] { rmsnorm_forward(out, rstd, x, t.random(DType::F32, {7}), kEps); });
           expect_error("E_SHAPE", {"out (3, 8)"}, [&] {
             rmsnorm_forward(t.output(DType::F32, {3, 8}), rstd, x, t.random(DType::F32, {8}), kEps);
           });
           expect_error("E_SHAPE", {"rstd"},
                        [&] { rmsnorm_forward(out, t.output(DType::F32, {3}), x, t.random(DType::F32, {8}), kEps); });
           expect_error("E_SHAPE", {"weight", "bf16"},
                        [&] { rmsnorm_forward(out, rstd, x, t.random(DType::BF16, {8}), kEps); });
           expect_error("E_SHAPE", {"rmsnorm_backward", "dout"}, [&] {
             rmsnorm_backward(t.zeros(DType::F32, {2, 8}), Tensor(), t.random(DType::F32, {2, 9}), x,
                              t.random(DType::F32, {8}), rstd);
           });
           expect_error("E_SHAPE", {"weight is absent"}, [&] { rmsnorm_forward(out, rstd, x, Tensor(), kEps); });
         }},
    });

}  // namespace
