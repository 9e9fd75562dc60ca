#include "napi/environment.h"

#include "core/error.h"

namespace vlm2vec {

Executor::Executor(int thread_count) {
  for (int i = 0; i < thread_count; ++i) threads_.emplace_back([this] { run(); });
}

Executor::~Executor() { stop(); }

void Executor::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
    queue_.clear();
  }
  wake_.notify_all();
  for (auto& thread : threads_)
    if (thread.joinable()) thread.join();
}

void Executor::post(std::function<void()> work) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (cancelled_) return;
    queue_.push_back(std::move(work));
  }
  wake_.notify_one();
}

void Executor::run() {
  for (;;) {
    std::function<void()> work;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return cancelled_ || !queue_.empty(); });
      if (cancelled_) return;
      work = std::move(queue_.front());
      queue_.pop_front();
    }
    work();
  }
}

Device& DeviceExecutor::device() {
  if (!device_) device_ = name_ == "cpu" ? Device::cpu(threads_) : Device::cuda(std::stoi(name_.substr(5)));
  return *device_;
}

// ---------------------------------------------------------------------------------------------------------------------

struct Environment::Task {
  Napi::Promise::Deferred deferred;
  Napi::Reference<Napi::Value> pin;
  std::function<void()> work;
  std::function<Napi::Value(Napi::Env)> result;
  std::exception_ptr error;
};

void Environment::create(Napi::Env env) {
  auto* environment = new Environment;
  environment->completions_ = Napi::ThreadSafeFunction::New(
      env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "vlm2vec-native", 0, 1);
  environment->completions_.Unref(env);
  const unsigned cores = std::thread::hardware_concurrency();
  environment->pictures_ = std::make_unique<Executor>(cores > 0 ? int(cores) : 1);
  env.SetInstanceData(environment);
  // before the thread-safe function is torn down: hooks run in reverse order of registration
  env.AddCleanupHook([environment] { environment->close(); });
  // process.exit() runs no such hooks, but destroys static objects that the threads may still compute with.
  const auto process = env.Global().Get("process").As<Napi::Object>();
  const auto close = Napi::Function::New(env, [environment](const Napi::CallbackInfo&) { environment->close(); });
  process.Get("once").As<Napi::Function>().Call(process, {Napi::String::New(env, "exit"), close});
}

Environment& Environment::of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

void Environment::close() {
  for (auto& device : all_devices_)
    if (auto alive = device.lock()) alive->executor().stop();
  pictures_->stop();
}

std::shared_ptr<DeviceExecutor> Environment::device(const std::string& name, int threads) {
  std::string resolved = name == "auto" ? "cpu" : name == "cuda" ? "cuda:0" : name;
  const bool numbered = resolved.rfind("cuda:", 0) == 0 && resolved.size() > 5 && resolved.size() < 9 &&
                        resolved.find_first_not_of("0123456789", 5) == std::string::npos;
  require(resolved == "cpu" || numbered, "E_OPTION", "unknown device \"", name,
          "\"; expected auto, cpu, cuda or cuda:N");
  require(threads >= 0, "E_OPTION", "threads is ", threads, "; expected a number of at least 1, or 0 for one a core");
  auto& slot = devices_[resolved + "/" + std::to_string(threads)];
  if (!slot) {
    slot = std::make_shared<DeviceExecutor>(resolved, threads);
    all_devices_.push_back(slot);
  }
  return slot;
}

Napi::Promise Environment::run(Napi::Env env, Executor& executor, Napi::Value pin, std::function<void()> work,
                               std::function<Napi::Value(Napi::Env)> result) {
  // Node-API 9 has references to objects only; there is nothing to keep alive in other values.
  auto held = pin.IsObject() ? Napi::Reference<Napi::Value>::New(pin, 1) : Napi::Reference<Napi::Value>();
  auto* task =
      new Task{Napi::Promise::Deferred::New(env), std::move(held), std::move(work), std::move(result), nullptr};
  Napi::Promise promise = task->deferred.Promise();
  if (pending_++ == 0) completions_.Ref(env);  // keeps the event loop alive while something runs
  executor.post([this, task] {
    try {
      task->work();
    } catch (...) {
      task->error = std::current_exception();
    }
    task->work = nullptr;  // what it holds is released on this thread
    completions_.NonBlockingCall(task, [this](Napi::Env js, Napi::Function, Task* done) {
      if (static_cast<napi_env>(js) == nullptr) return;  // the environment is closing
      Napi::HandleScope scope(js);
      if (--pending_ == 0) completions_.Unref(js);
      if (done->error) {
        done->deferred.Reject(to_js_error(js, done->error).Value());
      } else {
        try {
          done->deferred.Resolve(done->result(js));
        } catch (...) {
          done->deferred.Reject(to_js_error(js, std::current_exception()).Value());
        }
      }
      delete done;
    });
  });
  return promise;
}

Napi::Error to_js_error(Napi::Env env, std::exception_ptr error) {
  const auto with_code = [&](const std::string& message, const char* code) {
    Napi::Error result = Napi::Error::New(env, message);
    result.Set("code", Napi::String::New(env, code));
    return result;
  };
  try {
    std::rethrow_exception(error);
  } catch (const Napi::Error& thrown) {
    return thrown;
  } catch (const Error& thrown) {
    return with_code(thrown.what(), thrown.code.c_str());
  } catch (const std::bad_alloc&) {
    return with_code("out of memory; use a smaller chunk, smaller pictures or --dtype bf16", "E_MEMORY");
  } catch (const std::exception& thrown) {
    return with_code(thrown.what(), "E_INTERNAL");
  } catch (...) {
    return with_code("unknown native error", "E_INTERNAL");
  }
}

}  // namespace vlm2vec
