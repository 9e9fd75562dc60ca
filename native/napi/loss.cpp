// The contrastive loss and exact search over host arrays, on any device (src/native.ts, ContrastiveLossInput,
// TopKInput).
#include <cstring>

#include "napi/exports.h"
#include "ops/info_nce.h"
#include "ops/top_k.h"

namespace vlm2vec {

namespace {

// Rows of f32 on a device: in place on the CPU, copied to CUDA.
Tensor upload(Arena& arena, FloatArray values, int64_t rows, int64_t width) {
  Device& device = arena.device();
  if (!device.is_cuda()) return Tensor(device, const_cast<float*>(values.data), DType::F32, {rows, width});
  Tensor tensor = arena.allocate(DType::F32, {rows, width});
  device.to_device(tensor.data, values.data, tensor.bytes());
  return tensor;
}

int64_t row_count(FloatArray values, int64_t dimension, const char* name) {
  require(dimension > 0, "E_SHAPE", "the dimension is ", dimension);
  require(values.size > 0 && values.size % dimension == 0, "E_SHAPE", name, " holds ", values.size,
          " numbers, no positive multiple of the dimension ", dimension);
  return values.size / dimension;
}

// Starts of `rows` lists in an array of `count` numbers.
void check_starts(IntArray starts, int64_t rows, int64_t count, const char* name) {
  require(starts.size == rows + 1 && starts.data[0] == 0 && starts.data[rows] == count, "E_SHAPE", name,
          " must hold one start a query, beginning with 0, and end with the number of entries (", count, ")");
  for (int64_t i = 0; i < rows; ++i)
    require(starts.data[i] <= starts.data[i + 1], "E_SHAPE", name, " falls at query ", i);
}

void check_indices(IntArray indices, int64_t limit, const char* name) {
  for (int64_t i = 0; i < indices.size; ++i)
    require(indices.data[i] >= 0 && indices.data[i] < limit, "E_BATCH", name, " holds ", indices.data[i], " at ", i,
            ", expected 0 to ", limit - 1);
}

struct DeviceArgument {
  std::string name;
  int threads;
};

DeviceArgument device_argument(Napi::Value value) {
  const auto json = to_json(value);
  return {field<std::string>(json, "device"), field<int>(json, "threads")};
}

// Where gradients go: memory of arrays made on JavaScript's thread, so that they are written once and never copied.
struct LossOutputs {
  float *dqueries = nullptr, *dtargets = nullptr;  // null: not wanted
};

Tensor output_rows(Arena& arena, float* to, int64_t rows, int64_t width) {
  if (!to) return {};
  Device& device = arena.device();
  return device.is_cuda() ? arena.allocate(DType::F32, {rows, width}) : Tensor(device, to, DType::F32, {rows, width});
}

InfoNceResult compute_loss(Device& device, FloatArray queries, FloatArray targets, int64_t dimension,
                           const InfoNceOptions& options, LossOutputs to) {
  const int64_t b = queries.size / dimension, n = targets.size / dimension;
  Arena rows(device, "loss"), scratch(device, "loss workspace");
  const Tensor dqueries = output_rows(rows, to.dqueries, b, dimension);
  const Tensor dtargets = output_rows(rows, to.dtargets, n, dimension);
  const InfoNceResult result = info_nce(dqueries, dtargets, upload(rows, queries, b, dimension),
                                        upload(rows, targets, n, dimension), options, scratch);
  if (device.is_cuda() && dqueries) {
    device.to_host(to.dqueries, dqueries.data, dqueries.bytes());
    device.to_host(to.dtargets, dtargets.data, dtargets.bytes());
  }
  return result;
}

}  // namespace

Napi::Value contrastive_loss(const Napi::CallbackInfo& info) {
  require(info[0].IsObject(), "E_OPTION", "contrastiveLoss: expected an object");
  Napi::Object input = info[0].As<Napi::Object>();
  const FloatArray queries = float_array(input, "queries"), targets = float_array(input, "targets");
  const int64_t dimension = input.Get("dimension").ToNumber().Int64Value();
  const int64_t b = row_count(queries, dimension, "queries"), n = row_count(targets, dimension, "targets");
  const IntArray starts = int_array(input, "positiveStarts"), positives = int_array(input, "positives");
  check_starts(starts, b, positives.size, "positiveStarts");
  check_indices(positives, n, "positives");

  InfoNceOptions options;
  options.temperature = input.Get("temperature").ToNumber().FloatValue();
  options.dtype = dtype_argument(input.Get("dtype").ToString().Utf8Value());
  options.symmetric = input.Get("symmetric").ToBoolean();
  options.positive_starts = starts.data;
  options.positives = positives.data;
  const auto id_starts = optional_int_array(input, "queryIdStarts"), ids = optional_int_array(input, "queryIds"),
             target_ids = optional_int_array(input, "targetIds");
  require(bool(id_starts) == bool(ids) && bool(ids) == bool(target_ids), "E_OPTION",
          "queryIdStarts, queryIds and targetIds go together");
  if (ids) {
    check_starts(*id_starts, b, ids->size, "queryIdStarts");
    require(target_ids->size == n, "E_SHAPE", "targetIds holds ", target_ids->size, " ids for ", n, " targets");
    options.query_id_starts = id_starts->data;
    options.query_ids = ids->data;
    options.target_ids = target_ids->data;
  }
  const auto where = device_argument(info[1]);
  Napi::Env env = info.Env();
  Napi::Object object = Napi::Object::New(env);  // the result; pins the input until it is settled
  object.Set("input", input);
  LossOutputs to;
  if (input.Get("gradients").ToBoolean()) {
    const auto output = [&](const char* name, int64_t size) {
      Napi::Float32Array array = Napi::Float32Array::New(env, size_t(size));
      object.Set(name, array);
      return array.Data();
    };
    to.dqueries = output("dQueries", queries.size);
    to.dtargets = output("dTargets", targets.size);
  }
  Environment& environment = Environment::of(env);
  auto device = environment.device(where.name, where.threads);
  auto result = std::make_shared<InfoNceResult>();
  auto kept = std::make_shared<Napi::ObjectReference>(Napi::Persistent(object));
  return environment.run(
      env, device->executor(), object,
      [=] { *result = compute_loss(device->device(), queries, targets, dimension, options, to); },
      [result, kept](Napi::Env) {
        Napi::Object settled = kept->Value();
        settled.Delete("input");
        settled.Set("loss", result->loss);
        settled.Set("dTemperature", result->dtemperature);
        return settled;
      });
}

Napi::Value top_k_export(const Napi::CallbackInfo& info) {
  require(info[0].IsObject(), "E_OPTION", "topK: expected an object");
  Napi::Object input = info[0].As<Napi::Object>();
  const FloatArray queries = float_array(input, "queries"), targets = float_array(input, "targets");
  const int64_t dimension = input.Get("dimension").ToNumber().Int64Value();
  const int64_t b = row_count(queries, dimension, "queries"), n = row_count(targets, dimension, "targets");
  TopKOptions options;
  options.k = input.Get("k").ToNumber().Int64Value();
  require(options.k > 0, "E_OPTION", "k is ", options.k, ", expected at least 1");
  const auto list = [&](const char* starts_name, const char* name, const int32_t*& starts, const int32_t*& values) {
    const auto given_starts = optional_int_array(input, starts_name), given = optional_int_array(input, name);
    require(bool(given_starts) == bool(given), "E_OPTION", starts_name, " and ", name, " go together");
    if (!given) return;
    check_starts(*given_starts, b, given->size, starts_name);
    check_indices(*given, n, name);
    starts = given_starts->data;
    values = given->data;
  };
  list("candidateStarts", "candidates", options.candidate_starts, options.candidates);
  list("lastStarts", "last", options.last_starts, options.last);
  const auto where = device_argument(info[1]);
  Environment& environment = Environment::of(info.Env());
  auto device = environment.device(where.name, where.threads);
  struct Result {
    std::vector<int32_t> indices;
    std::vector<float> scores;
  };
  auto result = std::make_shared<Result>();
  return environment.run(
      info.Env(), device->executor(), input,
      [=] {
        Arena rows(device->device(), "search"), scratch(device->device(), "search workspace");
        result->indices.resize(size_t(b * options.k));
        result->scores.resize(size_t(b * options.k));
        top_k(result->indices.data(), result->scores.data(), upload(rows, queries, b, dimension),
              upload(rows, targets, n, dimension), options, scratch);
      },
      [result](Napi::Env env) {
        Napi::Object object = Napi::Object::New(env);
        Napi::Int32Array indices = Napi::Int32Array::New(env, result->indices.size());
        std::memcpy(indices.Data(), result->indices.data(), result->indices.size() * sizeof(int32_t));
        object.Set("indices", indices);
        object.Set("scores", to_js(env, result->scores));
        return object;
      });
}

}  // namespace vlm2vec
