#include "ops/layernorm.h"

#include "harness.h"
#include "ops/layernorm_reference.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

constexpr float kEps = 1e-6f;
using Numbers = std::vector<double>;

struct Sizes {
  int64_t rows, columns;
};
const Sizes kSizes[] = {{3, 7}, {5, 15}, {17, 16}, {2, 17}, {33, 63}, {16, 64}, {4, 65}, {3, 1280}, {0, 8}};

struct Reference {
  Numbers out, mean, rstd, dx, dweight, dbias;
};

Reference reference(const Numbers& x, const Numbers& weight, const Numbers& bias, const Numbers& dout, Sizes s) {
  Reference y{Numbers(x.size()), Numbers(size_t(s.rows)), Numbers(size_t(s.rows)),
              Numbers(x.size()), Numbers(weight.size()),  Numbers(weight.size())};
  layernorm_forward_reference(y.out.data(), y.mean.data(), y.rstd.data(), x.data(), weight.data(), bias.data(),
                              double(kEps), s.rows, s.columns);
  layernorm_backward_reference(y.dx.data(), y.dweight.data(), y.dbias.data(), dout.data(), x.data(), weight.data(),
                               y.mean.data(), y.rstd.data(), s.rows, s.columns);
  return y;
}

Numbers plus(Numbers a, const Numbers& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

const Cases cases(
    "layernorm",
    {
        {"the reference's gradients are those of finite differences",
         [] {
           const Sizes s{3, 7};
           const Numbers x = random_numbers(21, 1), weight = random_numbers(7, 2), bias = random_numbers(7, 3),
                         dout = random_numbers(21, 4);
           const Reference y = reference(x, weight, bias, dout, s);
           expect_gradient(
               "dx", [&](const Numbers& at) { return dot(reference(at, weight, bias, dout, s).out, dout); }, x, y.dx);
           expect_gradient(
               "dweight", [&](const Numbers& at) { return dot(reference(x, at, bias, dout, s).out, dout); }, weight,
               y.dweight);
           expect_gradient(
               "dbias", [&](const Numbers& at) { return dot(reference(x, weight, at, dout, s).out, dout); }, bias,
               y.dbias);
         }},
        {"forward agrees with the reference, also far from zero", Backends::Cpu,
         [](Tensors& t) {
           for (Sizes s : kSizes)
             for (DType type : {DType::F32, DType::BF16})
               for (double shift : {0.0, 10.0}) {
                 Numbers numbers = random_numbers(s.rows * s.columns, 9, 2);
                 for (double& v : numbers) v += shift;
                 const Tensor x = t.values(DType::F32, {s.rows, s.columns}, numbers),
                              weight = t.random(DType::F32, {s.columns}), bias = t.random(DType::F32, {s.columns});
                 const Tensor out = t.output(type, {s.rows, s.columns}), mean = t.output(DType::F32, {s.rows}),
                              rstd = t.output(DType::F32, {s.rows});
                 layernorm_forward(out, mean, rstd, x, weight, bias, kEps);
                 const Reference y = reference(read(x), read(weight), read(bias), Numbers(numbers.size()), s);
                 expect_near(text("out ", out), out, y.out, bound_for(type, y.out));
                 expect_near(text("mean ", out), mean, y.mean, 1e-11);  // it cancels around zero: 4.2e-12 seen
                 expect_near(text("rstd ", out), rstd, y.rstd, 1e-12);
               }
         }},
        {"backward adds what the reference adds", Backends::Cpu,
         [](Tensors& t) {
           for (Sizes s : kSizes)
             for (DType type : {DType::F32, DType::BF16}) {
               const Tensor x = t.random(DType::F32, {s.rows, s.columns}, 2),
                            weight = t.random(DType::F32, {s.columns}), dout = t.random(type, {s.rows, s.columns});
               const Tensor dx = t.random(DType::F32, {s.rows, s.columns}), dweight = t.random(DType::F32, {s.columns}),
                            dbias = t.random(DType::F32, {s.columns});
               const Reference y = reference(read(x), read(weight), Numbers(size_t(s.columns)), read(dout), s);
               const Numbers dx_expected = plus(read(dx), y.dx), dweight_expected = plus(read(dweight), y.dweight),
                             dbias_expected = plus(read(dbias), y.dbias);
               const Tensor mean = t.values(DType::F32, {s.rows}, y.mean),
                            rstd = t.values(DType::F32, {s.rows}, y.rstd);
               const Tensor again = t.values(DType::F32, {s.rows, s.columns}, read(dx));
               layernorm_backward(dx, dweight, dbias, dout, x, weight, mean, rstd);
               layernorm_backward(again, Tensor(), Tensor(), dout, x, weight, mean, rstd);
               expect_near(text("dx ", x), dx, dx_expected, 1e-12);
               expect_near(text("dweight ", x), dweight, dweight_expected, 1e-12);
               expect_near(text("dbias ", x), dbias, dbias_expected, 1e-12);
               expect_same_bits(text("dx without dweight ", x), again, dx);
             }
         }},
        {"a single column gives the bias, and no gradient", Backends::Cpu,
         [](Tensors& t) {
           const Tensor x = t.random(DType::F32, {4, 1}), weight = t.random(DType::F32, {1}),
                        bias = t.random(DType::F32, {1}), dx = t.zeros(DType::F32, {4, 1});
           const Tensor out = t.output(DType::F32, {4, 1}), mean = t.output(DType::F32, {4}),
                        rstd = t.output(DType::F32, {4});
           layernorm_forward(out, mean, rstd, x, weight, bias, kEps);
           expect_near("out", out, Numbers(4, read(bias)[0]), 0);
           layernorm_backward(dx, Tensor(), Tensor(), t.random(DType::F32, {4, 1}), x, weight, mean, rstd);
           // rstd is 1000 here, and what it multiplies the rounding of dout * weight: 3.2e-6 seen
           for (double v : read(dx)) expect_close("dx", v, 0, 1e-5, 1);
         }},
        {"a row has the same bits alone and among others, for any number of threads", Backends::Cpu,
         [](Tensors& t) {
           expect_same_bits_for_any_threads("all", t.device().isa(), [](Tensors& own) {
             const Tensor x = own.random(DType::F32, {301, 101}), weight = own.random(DType::F32, {101}),
                          bias = own.random(DType::F32, {101}), dout = own.random(DType::F32, {301, 101});
             const Tensor out = own.output(DType::F32, {301, 101}), mean = own.output(DType::F32, {301}),
                          rstd = own.output(DType::F32, {301});
             const Tensor dx = own.zeros(DType::F32, {301, 101}), dweight = own.zeros(DType::F32, {101}),
                          dbias = own.zeros(DType::F32, {101});
             layernorm_forward(out, mean, rstd, x, weight, bias, kEps);
             layernorm_backward(dx, dweight, dbias, dout, x, weight, mean, rstd);
             const Tensor row = own.output(DType::F32, {1, 101}), row_mean = own.output(DType::F32, {1}),
                          row_rstd = own.output(DType::F32, {1}), row_dx = own.zeros(DType::F32, {1, 101});
             layernorm_forward(row, row_mean, row_rstd, x.slice(300, 1), weight, bias, kEps);
             layernorm_backward(row_dx, Tensor(), Tensor(), dout.slice(300, 1), x.slice(300, 1), weight, row_mean,
                                row_rstd);
             expect_same_bits("out of row 300", row, out.slice(300, 1));
             expect_same_bits("dx of row 300", row_dx, dx.slice(300, 1));
             std::vector<uint8_t> all = bits(dx);
             for (const Tensor& more : {out, dweight, dbias}) {
               const std::vector<uint8_t> bytes = bits(more);
               all.insert(all.end(), bytes.begin(), bytes.end());
             }
             return all;
           });
         }},
        {"wrong shapes and types are refused by name", Backends::Cpu,
         [](Tensors& t) {
           const Tensor x = t.random(DType::F32, {2, 8}), c = t.random(DType::F32, {8}), r = t.random(DType::F32, {2}),
                        seven = t.random(DType::F32, {7});
           expect_error("E_SHAPE", {"layernorm_forward", "bias (7)", "x (2, 8)"},
                        [&] { layernorm_forward(x, r, r, x, c, seven, kEps); });
           expect_error("E_SHAPE", {"x (2, 8) bf16"}, [&] {
             layernorm_forward(x, r, r, t.random(DType::BF16, {2, 8}), c, c, kEps);
           });
           expect_error("E_SHAPE", {"layernorm_backward", "dbias is absent"},
                        [&] { layernorm_backward(x, c, Tensor(), x, x, c, r, r); });
           expect_error("E_SHAPE", {"mean"}, [&] { layernorm_backward(x, c, c, x, x, c, c, r); });
         }},
    });

}  // namespace
