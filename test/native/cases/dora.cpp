#include "ops/dora.h"

#include "harness.h"
#include "ops/dora_reference.h"

using namespace vlm2vec;
using namespace vlm2vec::test;

namespace {

using Numbers = std::vector<double>;

Numbers scaled(const Numbers& z, const Numbers& c, const Numbers* bias, int64_t rows, int64_t columns) {
  Numbers out(z.size());
  row_scale_forward_reference(out.data(), z.data(), c.data(), bias ? bias->data() : nullptr, rows, columns);
  return out;
}

const Cases cases(
    "dora",
    {
        {"the reference's gradients are those of finite differences, with the norm held constant",
         [] {
           const int64_t rows = 3, columns = 5;
           const Numbers z = random_numbers(15, 1), m = random_numbers(5, 2), dout = random_numbers(15, 3),
                         norm = {1, 2, 0.5, 3, 4};
           const auto c = [&](const Numbers& at) {
             Numbers result = at;
             for (size_t i = 0; i < 5; ++i) result[i] /= norm[i];
             return result;
           };
           Numbers dz(15), dm(5);
           row_scale_backward_reference(dz.data(), dm.data(), dout.data(), z.data(), c(m).data(), norm.data(), rows,
                                        columns);
           expect_gradient(
               "dz", [&](const Numbers& at) { return dot(scaled(at, c(m), nullptr, rows, columns), dout); }, z, dz);
           expect_gradient(
               "dm", [&](const Numbers& at) { return dot(scaled(z, c(at), nullptr, rows, columns), dout); }, m, dm);
         }},
        {"norms of W + s B A agree with the reference", Backends::Cpu,
         [](Tensors& t) {
           for (DType type : {DType::F32, DType::BF16})
             for (int64_t columns : {1, 7, 17, 130})
               for (int64_t rank : {1, 3, 8}) {
                 const Tensor w = t.random(type, {11, columns}), a = t.random(DType::F32, {rank, columns}),
                              b = t.random(DType::F32, {11, rank}), norm = t.output(DType::F32, {11});
                 dora_norm(norm, w, a, b, 0.7f);
                 Numbers expected(11);
                 dora_norm_reference(expected.data(), read(w).data(), read(a).data(), read(b).data(), double(0.7f), 11,
                                     columns, rank);
                 expect_near(text("norm of w ", w), norm, expected, 1e-12);
               }
         }},
        {"row scaling agrees with the reference for all types, with and without bias", Backends::Cpu,
         [](Tensors& t) {
           for (DType type : {DType::F32, DType::BF16})
             for (DType in : {DType::F32, DType::BF16})
               for (int64_t columns : {1, 7, 17, 64, 65}) {
                 const Tensor z = t.random(in, {19, columns}), c = t.random(DType::F32, {columns}),
                              bias = t.random(DType::F32, {columns});
                 const Numbers shift = read(bias);
                 for (const Numbers* b : {&shift, static_cast<const Numbers*>(nullptr)}) {
                   const Tensor out = t.output(type, {19, columns});
                   row_scale_forward(out, z, c, b ? bias : Tensor());
                   const Numbers expected = scaled(read(z), read(c), b, 19, columns);
                   expect_near(text("out ", out, b ? " with bias" : ""), out, expected, bound_for(type, expected));
                 }
               }
         }},
        {"backward agrees with the reference, in place too, and adds to dm", Backends::Cpu,
         [](Tensors& t) {
           for (DType type : {DType::F32, DType::BF16})
             for (int64_t columns : {1, 7, 17, 64, 65}) {
               const Tensor z = t.random(type, {19, columns}), dout = t.random(type, {19, columns}),
                            dz = t.output(type, {19, columns});
               const Tensor c = t.random(DType::F32, {columns}),
                            norm = t.values(DType::F32, {columns}, Numbers(size_t(columns), 1.7));
               const Tensor dm = t.random(DType::F32, {columns}), dm_again = t.values(DType::F32, {columns}, read(dm));
               Numbers dm_expected = read(dm), dz_expected(size_t(19 * columns));
               row_scale_backward_reference(dz_expected.data(), dm_expected.data(), read(dout).data(), read(z).data(),
                                            read(c).data(), read(norm).data(), 19, columns);
               row_scale_backward(dz, dm, dout, z, c, norm);
               expect_near(text("dz ", dz), dz, dz_expected, bound_for(type, dz_expected));
               expect_near(text("dm ", dz), dm, dm_expected, 1e-12);
               row_scale_backward(dout, dm_again, dout, z, c, norm);
               expect_same_bits("dz in place", dout, dz);
               expect_same_bits("dm in place", dm_again, dm);
             }
         }},
        {"gradients are the same bits for any number of threads", Backends::Cpu,
         [](Tensors& t) {
           expect_same_bits_for_any_threads("dm and norm", t.device().isa(), [](Tensors& own) {
             const Tensor z = own.random(DType::F32, {333, 259}), dout = own.random(DType::F32, {333, 259}),
                          dm = own.zeros(DType::F32, {259});
             const Tensor c = own.random(DType::F32, {259}), norm = own.output(DType::F32, {259});
             dora_norm(norm, own.random(DType::F32, {259, 200}), own.random(DType::F32, {4, 200}),
                       own.random(DType::F32, {259, 4}), 2);
             row_scale_backward(dout, dm, dout, z, c, norm);
             std::vector<uint8_t> all = bits(dm);
             for (const Tensor& more : {norm, dout}) {
               const std::vector<uint8_t> bytes = bits(more);
               all.insert(all.end(), bytes.begin(), bytes.end());
             }
             return all;
           });
         }},
        {"wrong shapes and types are refused by name", Backends::Cpu,
         [](Tensors& t) {
           const Tensor w = t.random(DType::F32, {6, 8}), a = t.random(DType::F32, {2, 8}),
                        b = t.random(DType::F32, {6, 2}), six = t.random(DType::F32, {6}),
                        eight = t.random(DType::F32, {8});
           expect_error("E_SHAPE", {"dora_norm", "b (6, 2)", "w (6, 8)", "(6, 3)"}, [&] {
             dora_norm(six, w, t.random(DType::F32, {3, 8}), b, 1);
           });
           expect_error("E_SHAPE", {"norm (8)"}, [&] { dora_norm(eight, w, a, b, 1); });
           expect_error("E_SHAPE", {"row_scale_forward", "c (6)"}, [&] { row_scale_forward(w, w, six, Tensor()); });
           expect_error("E_SHAPE", {"row_scale_backward", "dm (6)"},
                        [&] { row_scale_backward(w, six, w, w, eight, eight); });
           expect_error("E_SHAPE", {"dout (6, 8) bf16"}, [&] {
             row_scale_backward(w, eight, t.random(DType::BF16, {6, 8}), w, eight, eight);
           });
         }},
    });

}  // namespace
