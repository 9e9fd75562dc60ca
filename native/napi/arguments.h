// What crosses from JavaScript: plain objects as JSON, typed arrays in place. Everything is checked here; a wrong type
// or length is an error that names the field.
#pragma once
#include <napi.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "model/batch.h"
#include "model/embedding_model.h"
#include "napi/environment.h"
#include "train/trainer.h"

namespace vlm2vec {

// An object without its typed arrays, through JSON.stringify.
nlohmann::json to_json(Napi::Value value);

// A field of JSON with the type asked for; E_OPTION naming the field otherwise.
template <typename T>
T field(const nlohmann::json& json, const char* name) {
  try {
    return json.at(name).get<T>();
  } catch (const nlohmann::json::exception&) {
    fail("E_OPTION", "option \"", name, "\" is missing or has the wrong type");
  }
}

// A typed array's numbers where they lie; the caller pins the object. count < 0: any length.
struct FloatArray {
  const float* data = nullptr;
  int64_t size = 0;
};
struct IntArray {
  const int32_t* data = nullptr;
  int64_t size = 0;
};
FloatArray float_array(Napi::Object object, const char* name);
IntArray int_array(Napi::Object object, const char* name);
std::optional<IntArray> optional_int_array(Napi::Object object, const char* name);

// E_BATCH unless its parts fit each other.
Picture picture_argument(Napi::Value value);
Batch batch_argument(Napi::Value value);
DType dtype_argument(const std::string& name);
std::vector<AdapterSpec> adapter_arguments(const nlohmann::json& json);
std::vector<Part> part_arguments(const nlohmann::json& names);
// {"path", "dtype": f32 | bf16 | base}
struct SaveArguments {
  std::string path;
  DType dtype;
  bool keep_types;
};
SaveArguments save_arguments(Napi::Value value);

Napi::Object to_js(Napi::Env env, const MemoryUse& use);
Napi::Float32Array to_js(Napi::Env env, const std::vector<float>& values);

// Numbers that a thread writes, every one of them: they are not zeroed first, and JavaScript takes them without a copy.
template <typename T>
struct Written {
  explicit Written(size_t count = 0) : values(new T[count]), size(count) {}
  T* data() { return values.get(); }
  std::unique_ptr<T[]> values;
  size_t size;
};
Napi::Float32Array take_to_js(Napi::Env env, Written<float> numbers);
Napi::Uint8Array take_to_js(Napi::Env env, Written<uint8_t> bytes);

}  // namespace vlm2vec
