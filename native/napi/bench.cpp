// What `vlm2vec-native bench` measures with (src/native.ts, benchPeak, benchCase, writeRandomModel).
#include <chrono>
#include <map>

#include "bench/cases.h"
#include "bench/peaks.h"
#include "bench/random_model.h"
#include "napi/exports.h"

namespace vlm2vec {

namespace {

struct CaseHandle {
  std::shared_ptr<DeviceExecutor> executor;
  BenchCase bench;  // made and destroyed on the executor's thread
  bool closed = false;
};
using Handle = std::shared_ptr<CaseHandle>;

std::shared_ptr<DeviceExecutor> device_of(const Napi::CallbackInfo& info, Napi::Value value) {
  const auto json = to_json(value);
  return Environment::of(info.Env()).device(field<std::string>(json, "device"), field<int>(json, "threads"));
}

// Seconds of each of `count` runs.
Napi::Value run(const Handle& handle, const Napi::CallbackInfo& info) {
  require(!handle->closed, "E_CLOSED", "the case has been closed");
  const int64_t count = info[0].ToNumber().Int64Value();
  auto seconds = std::make_shared<std::vector<double>>();
  return Environment::of(info.Env())
      .run(
          info.Env(), handle->executor->executor(), info.Env().Undefined(),
          [handle, seconds, count] {
            Device& device = handle->executor->device();
            for (int64_t i = 0; i < count && !handle->executor->executor().cancelled(); ++i) {
              const auto start = std::chrono::steady_clock::now();
              handle->bench.run();
              device.synchronize();
              seconds->push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
            }
          },
          [seconds](Napi::Env env) {
            Napi::Array array = Napi::Array::New(env, seconds->size());
            for (uint32_t i = 0; i < seconds->size(); ++i) array.Set(i, (*seconds)[i]);
            return array;
          });
}

Napi::Value close(const Handle& handle, const Napi::CallbackInfo& info) {
  handle->closed = true;
  return Environment::of(info.Env())
      .run(
          info.Env(), handle->executor->executor(), info.Env().Undefined(), [handle] { handle->bench = {}; },
          [](Napi::Env env) { return env.Undefined(); });
}

}  // namespace

Napi::Value bench_peak(const Napi::CallbackInfo& info) {
  static const std::map<std::string, Peak> kPeaks = {
      {"f32", Peak::F32}, {"bf16", Peak::Bf16}, {"int8", Peak::Int8}, {"bytes", Peak::Bytes}};
  const auto of = kPeaks.find(field<std::string>(to_json(info[0]), "of"));
  require(of != kPeaks.end(), "E_OPTION", "of is none of f32, bf16, int8 and bytes");
  auto device = device_of(info, info[0]);
  auto rate = std::make_shared<double>();
  return Environment::of(info.Env())
      .run(
          info.Env(), device->executor(), info.Env().Undefined(),
          [device, rate, peak = of->second] { *rate = measure_peak(device->device(), peak); },
          [rate](Napi::Env env) { return Napi::Number::New(env, *rate); });
}

Napi::Value bench_case(const Napi::CallbackInfo& info) {
  const auto spec = to_json(info[0]);
  auto handle = std::make_shared<CaseHandle>();
  handle->executor = device_of(info, info[1]);
  return Environment::of(info.Env())
      .run(
          info.Env(), handle->executor->executor(), info.Env().Undefined(),
          [handle, spec] { handle->bench = make_case(handle->executor->device(), spec); },
          [handle](Napi::Env env) {
            Napi::Object object = Napi::Object::New(env);
            object.Set("flops", handle->bench.flops);
            object.Set("bytes", handle->bench.bytes);
            method<run>(object, "run", handle);
            method<close>(object, "close", handle);
            return object;
          });
}

Napi::Value write_random_model_export(const Napi::CallbackInfo& info) {
  const auto json = to_json(info[0]);
  const auto config = ModelConfig::from_json(field<nlohmann::json>(json, "config"));
  const auto path = field<std::string>(json, "path");
  const DType dtype = dtype_argument(field<std::string>(json, "dtype"));
  const auto seed = field<uint64_t>(json, "seed");
  auto device = device_of(info, info[1]);
  return Environment::of(info.Env())
      .run(
          info.Env(), device->executor(), info.Env().Undefined(),
          [=] { write_random_model(path, config, dtype, seed, device->device().threads()); },
          [](Napi::Env env) { return env.Undefined(); });
}

}  // namespace vlm2vec
