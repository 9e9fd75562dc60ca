// The handle of a trainer (src/native.ts, NativeTrainer).
#include "napi/exports.h"
#include "train/memory.h"

namespace vlm2vec {

namespace {

struct TrainerHandle {
  std::shared_ptr<DeviceExecutor> executor;
  std::unique_ptr<Trainer> trainer;  // made and destroyed on the executor's thread
  MemoryUse memory;                  // as of the last call that has ended
  bool closed = false;
};
using Handle = std::shared_ptr<TrainerHandle>;

// Runs `work` on the trainer, in order with the others.
Napi::Value run(const Handle& handle, const Napi::CallbackInfo& info, Napi::Value pin,
                std::function<void(Trainer&)> work, std::function<Napi::Value(Napi::Env)> result) {
  require(!handle->closed, "E_CLOSED", "the trainer has been closed");
  auto use = std::make_shared<MemoryUse>();
  return Environment::of(info.Env())
      .run(
          info.Env(), handle->executor->executor(), pin,
          [handle, work, use] {
            work(*handle->trainer);
            *use = handle->trainer->memory();
          },
          [handle, result, use](Napi::Env env) {
            handle->memory = *use;
            return result(env);
          });
}

Napi::Value undefined(Napi::Env env) { return env.Undefined(); }

ChunkPlace place_argument(Napi::Value value) {
  const auto json = to_json(value);
  return {field<int64_t>(json, "step"),
          field<int64_t>(json, "chunk"),
          field<int64_t>(json, "firstToken"),
          field<int64_t>(json, "firstPatch"),
          field<int64_t>(json, "stepTokens"),
          json.value("brought", std::vector<int64_t>()),
          json.value("known", std::vector<int64_t>())};
}

Napi::Value embed(const Handle& handle, const Napi::CallbackInfo& info) {
  const Batch batch = batch_argument(info[0]);
  const ChunkPlace place = place_argument(info[1]);
  auto embeddings = std::make_shared<std::vector<float>>();
  return run(
      handle, info, info[0],
      [handle, batch, place, embeddings](Trainer& trainer) {
        embeddings->resize(size_t(batch.sequence_count * trainer.dimension()));
        trainer.embed(batch, place, embeddings->data(), &handle->executor->executor().cancelled());
      },
      [embeddings](Napi::Env env) { return to_js(env, *embeddings); });
}

Napi::Value backward(const Handle& handle, const Napi::CallbackInfo& info) {
  const Batch batch = batch_argument(info[0]);
  Napi::Object arrays = Napi::Object::New(info.Env());
  arrays.Set("batch", info[0]);
  arrays.Set("dEmbeddings", info[1]);
  const FloatArray d = float_array(arrays, "dEmbeddings");
  const ChunkPlace place = place_argument(info[2]);
  return run(
      handle, info, arrays,
      [handle, batch, d, place](Trainer& trainer) {
        require(d.size == batch.sequence_count * trainer.dimension(), "E_SHAPE", "dEmbeddings holds ", d.size,
                " numbers, expected ", batch.sequence_count, " x ", trainer.dimension());
        trainer.backward(batch, place, d.data, &handle->executor->executor().cancelled());
      },
      undefined);
}

Napi::Value update(const Handle& handle, const Napi::CallbackInfo& info) {
  const auto json = to_json(info[0]);
  const UpdateOptions options{field<float>(json, "learningRate"), field<float>(json, "weightDecay"),
                              field<float>(json, "maxGradNorm")};
  auto norm = std::make_shared<double>();
  return run(
      handle, info, info.Env().Undefined(), [options, norm](Trainer& trainer) { *norm = trainer.update(options); },
      [norm](Napi::Env env) {
        Napi::Object result = Napi::Object::New(env);
        result.Set("gradNorm", *norm);
        return result;
      });
}

template <void (Trainer::*function)(const std::string&)>
Napi::Value with_path(const Handle& handle, const Napi::CallbackInfo& info) {
  require(info[0].IsString(), "E_OPTION", "expected a path");
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  return run(
      handle, info, info.Env().Undefined(), [path](Trainer& trainer) { (trainer.*function)(path); }, undefined);
}

Napi::Value save_weights(const Handle& handle, const Napi::CallbackInfo& info) {
  const SaveArguments to = save_arguments(info[0]);
  return run(
      handle, info, info.Env().Undefined(),
      [to](Trainer& trainer) { trainer.save_weights(to.path, to.dtype, to.keep_types); }, undefined);
}

Napi::Value memory(const Handle& handle, const Napi::CallbackInfo& info) { return to_js(info.Env(), handle->memory); }

Napi::Value close(const Handle& handle, const Napi::CallbackInfo& info) {
  handle->closed = true;
  return Environment::of(info.Env())
      .run(
          info.Env(), handle->executor->executor(), info.Env().Undefined(), [handle] { handle->trainer.reset(); },
          undefined);
}

TrainerOptions trainer_options(const nlohmann::json& json) {
  TrainerOptions options;
  options.compute = dtype_argument(field<std::string>(json, "dtype"));
  options.quantization = parse_quantization(json.value("quantize", std::string("none")));
  const auto mode = field<std::string>(json, "mode");
  require(mode == "lora" || mode == "full", "E_OPTION", "unknown mode \"", mode, "\"; expected lora or full");
  options.full = mode == "full";
  options.frozen = part_arguments(field<nlohmann::json>(json, "freeze"));
  options.adapters = adapter_arguments(json);
  options.adapter_file = json.value("adapterFile", std::string());
  options.activation_memory = size_t(field<double>(json, "activationMemory"));
  return options;
}

}  // namespace

Napi::Value create_trainer(const Napi::CallbackInfo& info) {
  const auto json = to_json(info[0]);
  const auto config = ModelConfig::from_json(field<nlohmann::json>(json, "config"));
  const auto files = field<std::vector<std::string>>(json, "files");
  TrainerOptions options = trainer_options(json);
  options.dropout = field<float>(json, "dropout");
  require(options.dropout >= 0 && options.dropout < 1, "E_OPTION", "dropout is ", options.dropout,
          ", expected 0 up to 1");
  const auto initialization = field<std::string>(json, "initialization");
  require(initialization == "kaiming" || initialization == "gaussian", "E_OPTION", "unknown initialization \"",
          initialization, "\"; expected kaiming or gaussian");
  options.initialization =
      initialization == "gaussian" ? Weights::Initialization::Gaussian : Weights::Initialization::Kaiming;
  options.seed = field<uint64_t>(json, "seed");

  Environment& environment = Environment::of(info.Env());
  auto handle = std::make_shared<TrainerHandle>();
  handle->executor = environment.device(field<std::string>(json, "device"), field<int>(json, "threads"));
  return environment.run(
      info.Env(), handle->executor->executor(), info.Env().Undefined(),
      [handle, config, files, options] {
        handle->trainer = std::make_unique<Trainer>(handle->executor->device(), config, files, options);
      },
      [handle](Napi::Env env) {
        Napi::Object object = Napi::Object::New(env);
        method<embed>(object, "embed", handle);
        method<backward>(object, "backward", handle);
        method<update>(object, "update", handle);
        method<with_path<&Trainer::save_gradients>>(object, "saveGradients", handle);
        method<with_path<&Trainer::save_state>>(object, "saveState", handle);
        method<with_path<&Trainer::restore_state>>(object, "restoreState", handle);
        method<save_weights>(object, "saveWeights", handle);
        method<memory>(object, "memory", handle);
        method<close>(object, "close", handle);
        return object;
      });
}

Napi::Value training_memory_export(const Napi::CallbackInfo& info) {
  const auto json = to_json(info[0]);
  const auto config = ModelConfig::from_json(field<nlohmann::json>(json, "config"));
  const StepSizes sizes = {field<int64_t>(json, "tokens"), field<int64_t>(json, "patches"),
                           field<int64_t>(json, "sequences"), field<int64_t>(json, "stepTokens"),
                           field<int64_t>(json, "stepPatches")};
  return to_js(info.Env(), training_memory(config, trainer_options(json), sizes));
}

}  // namespace vlm2vec
