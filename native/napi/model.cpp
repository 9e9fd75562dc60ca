// The handle of a loaded model (src/native.ts, NativeModel). Its methods are closures over it: there is no receiver to
// get wrong, and nothing to unwrap.
#include "napi/exports.h"

namespace vlm2vec {

namespace {

struct ModelHandle {
  std::shared_ptr<DeviceExecutor> executor;
  std::unique_ptr<EmbeddingModel> model;  // made and destroyed on the executor's thread
  bool closed = false;                    // JavaScript's thread
};
using Handle = std::shared_ptr<ModelHandle>;

void require_open(const Handle& handle) { require(!handle->closed, "E_CLOSED", "the model has been closed"); }

Napi::Value embed(const Handle& handle, const Napi::CallbackInfo& info) {
  require_open(handle);
  const Batch batch = batch_argument(info[0]);
  const bool with_hidden = info[1].IsObject() && info[1].As<Napi::Object>().Get("lastHidden").ToBoolean();
  const bool with_states = with_hidden && info[1].As<Napi::Object>().Get("states").ToBoolean();
  struct State {
    std::string name;
    int64_t rows;
    std::vector<float> values;
  };
  struct Result {
    std::vector<float> embeddings, last_hidden;
    std::vector<State> states;
  };
  auto result = std::make_shared<Result>();
  return Environment::of(info.Env())
      .run(
          info.Env(), handle->executor->executor(), info[0],
          [handle, batch, result, with_hidden, with_states] {
            const size_t width = size_t(handle->model->dimension());
            result->embeddings.resize(size_t(batch.sequence_count) * width);
            if (with_hidden) result->last_hidden.resize(size_t(batch.token_count * handle->model->hidden_size()));
            const Observer observer = [&](const std::string& name, Tensor state) {
              std::vector<float> values(size_t(state.size()));
              state.device->to_host(values.data(), state.data, state.bytes());
              result->states.push_back({name, state.rows(), std::move(values)});
            };
            handle->model->embed(batch, result->embeddings.data(), with_hidden ? result->last_hidden.data() : nullptr,
                                 &handle->executor->executor().cancelled(), with_states ? &observer : nullptr);
          },
          [result, with_hidden, with_states](Napi::Env env) {
            Napi::Object object = Napi::Object::New(env);
            object.Set("embeddings", to_js(env, result->embeddings));
            if (with_hidden) object.Set("lastHidden", to_js(env, result->last_hidden));
            if (with_states) {
              Napi::Array states = Napi::Array::New(env);
              for (const State& each : result->states) {
                Napi::Object state = Napi::Object::New(env);
                state.Set("name", each.name);
                state.Set("rows", double(each.rows));
                state.Set("data", to_js(env, each.values));
                states.Set(states.Length(), state);
              }
              object.Set("states", states);
            }
            return object;
          });
}

Napi::Value save(const Handle& handle, const Napi::CallbackInfo& info) {
  require_open(handle);
  const SaveArguments to = save_arguments(info[0]);
  return Environment::of(info.Env())
      .run(
          info.Env(), handle->executor->executor(), info.Env().Undefined(),
          [handle, to] { save_model(handle->model->weights(), to.path, to.dtype, to.keep_types); },
          [](Napi::Env env) { return env.Undefined(); });
}

Napi::Value memory(const Handle& handle, const Napi::CallbackInfo& info) {
  require_open(handle);
  MemoryUse use;
  use.weights = handle->model->weights().bytes();
  use.packed = handle->model->packed_bytes();
  use.activations = handle->model->activation_bytes();
  return to_js(info.Env(), use);
}

Napi::Value close(const Handle& handle, const Napi::CallbackInfo& info) {
  handle->closed = true;
  return Environment::of(info.Env())
      .run(
          info.Env(), handle->executor->executor(), info.Env().Undefined(), [handle] { handle->model.reset(); },
          [](Napi::Env env) { return env.Undefined(); });
}

}  // namespace

Napi::Value load_model(const Napi::CallbackInfo& info) {
  const auto json = to_json(info[0]);
  const auto config = ModelConfig::from_json(field<nlohmann::json>(json, "config"));
  const auto files = field<std::vector<std::string>>(json, "files");
  LoadOptions options;
  options.compute = dtype_argument(field<std::string>(json, "dtype"));
  options.quantization = parse_quantization(json.value("quantize", std::string("none")));
  options.adapters = adapter_arguments(json);
  options.adapter_file = json.value("adapterFile", std::string());
  Environment& environment = Environment::of(info.Env());
  auto handle = std::make_shared<ModelHandle>();
  handle->executor = environment.device(field<std::string>(json, "device"), field<int>(json, "threads"));
  return environment.run(
      info.Env(), handle->executor->executor(), info.Env().Undefined(),
      [handle, config, files, options] {
        handle->model = std::make_unique<EmbeddingModel>(handle->executor->device(), config, files, options);
      },
      [handle](Napi::Env env) {
        Napi::Object object = Napi::Object::New(env);
        method<embed>(object, "embed", handle);
        method<save>(object, "save", handle);
        method<memory>(object, "memory", handle);
        method<close>(object, "close", handle);
        return object;
      });
}

}  // namespace vlm2vec
