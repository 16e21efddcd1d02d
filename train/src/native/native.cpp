// What tch does not offer of libtorch: fused optimizers, lists of tensors as one, autocast of a chosen kind, graphs.
//
// Every function returns null, or a message that the caller frees with `ferronnx_free`; no exception leaves.

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Version.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_foreach_sub.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/stack.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Logging.h>

#ifndef _WIN32
#include <dlfcn.h>
#endif

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "guarded.h"

struct AdamOptions {
  double learning_rate, beta1, beta2, weight_decay, eps;
  bool decoupled;
};

struct SgdOptions {
  double learning_rate, momentum, weight_decay;
  bool nesterov;
};

// at::cuda::CUDAGraph, which lies in libtorch's CUDA library: that is opened when the program runs, and the class's header
// needs CUDA's. So its functions are found by the names that they have in libtorch 2.13, the only version that tch takes.
class CudaGraph {
 public:
  CudaGraph() { function<void(void *, bool)>("_ZN2at4cuda9CUDAGraphC1Eb")(memory, /*keep_graph=*/false); }
  CudaGraph(const CudaGraph &) = delete;
  ~CudaGraph() { function<void(void *)>("_ZN2at4cuda9CUDAGraphD1Ev")(memory); }

  // Only this thread is kept from calls that would disturb the recording.
  void begin() {
    using Pool = std::pair<unsigned long long, unsigned long long>;
    constexpr int thread_local_mode = 1;  // cudaStreamCaptureModeThreadLocal
    function<void(void *, Pool, int)>(
        "_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode")(memory, {0, 0}, thread_local_mode);
  }
  void end() { function<void(void *)>("_ZN2at4cuda9CUDAGraph11capture_endEv")(memory); }
  void replay() { function<void(void *)>("_ZN2at4cuda9CUDAGraph6replayEv")(memory); }

 private:
  alignas(std::max_align_t) unsigned char memory[1024];  // the class takes 344 bytes

  template <typename Signature>
  static Signature *function(const char *name) {
    void *found = nullptr;
#ifndef _WIN32
    found = dlsym(RTLD_DEFAULT, name);
#endif
    TORCH_CHECK(found, "libtorch's CUDA library has no CUDA graphs of this version");
    return reinterpret_cast<Signature *>(found);
  }
};

// Work of a CUDA device that was recorded once. The recording is made on a stream of its own, as CUDA demands, and
// replayed on the current one.
struct GraphRecording {
  CudaGraph graph;
  c10::impl::VirtualGuardImpl streams;
  c10::Stream current;
  bool recording = true;

  explicit GraphRecording(at::Device device) : streams(device.type()), current(streams.getStream(device)) {
    streams.exchangeStream(streams.getStreamFromGlobalPool(device, /*isHighPriority=*/false));
  }
  ~GraphRecording() { leave_stream(); }

  void leave_stream() {
    if (recording) streams.exchangeStream(current);
    recording = false;
  }
};

namespace {

std::vector<at::Tensor> gradients(at::Tensor *const *parameters, size_t count) {
  std::vector<at::Tensor> found;
  found.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    if (parameters[i]->grad().defined()) found.push_back(parameters[i]->grad());
  }
  return found;
}

// libtorch's fused kernels; `Rate` is a number or a tensor [].
using Tensors = const std::vector<at::Tensor> &;
template <typename Rate>
void fused_adamw(const AdamOptions &options, const Rate &rate, Tensors values, Tensors grads, Tensors first,
                 Tensors second, Tensors counters, const std::optional<at::Tensor> &inf) {
  at::_fused_adamw_(values, grads, first, second, {}, counters, rate, options.beta1, options.beta2,
                    options.weight_decay, options.eps, false, false, std::nullopt, inf);
}
template <typename Rate>
void fused_adam(const AdamOptions &options, const Rate &rate, Tensors values, Tensors grads, Tensors first,
                Tensors second, Tensors counters, const std::optional<at::Tensor> &inf) {
  at::_fused_adam_(values, grads, first, second, {}, counters, rate, options.beta1, options.beta2,
                   options.weight_decay, options.eps, false, false, std::nullopt, inf);
}
template <typename Rate>
void fused_sgd(const SgdOptions &options, const Rate &rate, Tensors values, Tensors grads, Tensors buffers,
               const std::optional<at::Tensor> &inf) {
  at::_fused_sgd_(values, grads, buffers, options.weight_decay, options.momentum, rate, /*dampening=*/0,
                  options.nesterov, /*maximize=*/false, /*is_first_step=*/false, std::nullopt, inf);
}

// The fused kernel's step with a momentum [] that is on the device, which the kernel does not take.
void sgd_with_momentum(const SgdOptions &options, const at::Tensor &rate, const at::Tensor &momentum, Tensors values,
                       Tensors grads, Tensors buffers) {
  const auto decayed =
      options.weight_decay == 0 ? grads : at::_foreach_add(grads, values, options.weight_decay);
  at::_foreach_mul_(buffers, momentum);
  at::_foreach_add_(buffers, decayed);
  auto steps = options.nesterov ? at::_foreach_mul(buffers, momentum) : std::vector<at::Tensor>();
  if (options.nesterov) {
    at::_foreach_add_(steps, decayed);
    at::_foreach_mul_(steps, rate);
  } else {
    steps = at::_foreach_mul(buffers, rate);
  }
  at::_foreach_sub_(values, steps);
}

}  // namespace

extern "C" {

void ferronnx_free(char *message) { std::free(message); }

// One step of Adam, or of AdamW when `decoupled`, on the parameters that have a gradient. A tensor `learning_rate` []
// replaces that of the options.
char *ferronnx_adam(at::Tensor *const *parameters, at::Tensor *const *exp_avgs, at::Tensor *const *exp_avg_sqs,
                    at::Tensor *const *steps, size_t count, const AdamOptions *options,
                    const at::Tensor *learning_rate, at::Tensor *found_inf) {
  return guarded([&] {
    std::vector<at::Tensor> values, grads, first, second, counters;
    for (size_t i = 0; i < count; ++i) {
      if (!parameters[i]->grad().defined()) continue;
      values.push_back(parameters[i]->detach());
      grads.push_back(parameters[i]->grad());
      first.push_back(*exp_avgs[i]);
      second.push_back(*exp_avg_sqs[i]);
      counters.push_back(*steps[i]);
    }
    if (values.empty()) return;
    // The kernels read the counters; counting is the caller's.
    at::_foreach_add_(counters, 1);
    const auto inf = found_inf ? std::optional<at::Tensor>(*found_inf) : std::nullopt;
    const auto update = [&](const auto &rate) {
      const auto step = options->decoupled ? &fused_adamw<std::decay_t<decltype(rate)>>
                                           : &fused_adam<std::decay_t<decltype(rate)>>;
      step(*options, rate, values, grads, first, second, counters, inf);
    };
    if (learning_rate) {
      update(*learning_rate);
    } else {
      update(options->learning_rate);
    }
    if (inf) at::_foreach_sub_(counters, std::vector<at::Tensor>(counters.size(), inf->squeeze()));
  });
}

// One step of stochastic gradient descent on the parameters that have a gradient. Without momentum the list of buffers
// is not read. A buffer of zeros makes the first step what PyTorch's is: the buffer becomes the gradient. Tensors
// `learning_rate` [] and `momentum` [] replace those of the options; a momentum comes with a rate, without `found_inf`.
char *ferronnx_sgd(at::Tensor *const *parameters, at::Tensor *const *momentum_buffers, size_t count,
                   const SgdOptions *options, const at::Tensor *learning_rate, const at::Tensor *momentum,
                   at::Tensor *found_inf) {
  return guarded([&] {
    std::vector<at::Tensor> values, grads, buffers;
    for (size_t i = 0; i < count; ++i) {
      if (!parameters[i]->grad().defined()) continue;
      values.push_back(parameters[i]->detach());
      grads.push_back(parameters[i]->grad());
      if (momentum || options->momentum != 0) buffers.push_back(*momentum_buffers[i]);
    }
    if (values.empty()) return;
    const auto inf = found_inf ? std::optional<at::Tensor>(*found_inf) : std::nullopt;
    if (momentum) {
      sgd_with_momentum(*options, *learning_rate, *momentum, values, grads, buffers);
    } else if (learning_rate) {
      fused_sgd(*options, *learning_rate, values, grads, buffers, inf);
    } else {
      fused_sgd(*options, options->learning_rate, values, grads, buffers, inf);
    }
  });
}

// Forgets all gradients: the next backward pass makes new ones.
char *ferronnx_forget_gradients(at::Tensor *const *parameters, size_t count) {
  return guarded([&] {
    for (size_t i = 0; i < count; ++i) parameters[i]->mutable_grad() = at::Tensor();
  });
}

// Moves all `averages` by the share `weight` [] of the way to their `values`.
char *ferronnx_average(at::Tensor *const *averages, at::Tensor *const *values, size_t count,
                       const at::Tensor *weight) {
  return guarded([&] {
    std::vector<at::Tensor> to, from;
    for (size_t i = 0; i < count; ++i) {
      to.push_back(*averages[i]);
      from.push_back(values[i]->detach());
    }
    const auto difference = at::_foreach_sub(from, to);
    at::_foreach_mul_(difference, *weight);
    at::_foreach_add_(to, difference);
  });
}

// Multiplies all gradients by `inv_scale`, and sets `found_inf` to 1 when one of them is not finite.
char *ferronnx_unscale(at::Tensor *const *parameters, size_t count, at::Tensor *found_inf,
                       const at::Tensor *inv_scale) {
  return guarded([&] {
    const auto grads = gradients(parameters, count);
    if (!grads.empty()) at::_amp_foreach_non_finite_check_and_unscale_(grads, *found_inf, *inv_scale);
  });
}

// Scales all gradients so that their norm together is at most `max_norm`, as torch.nn.utils.clip_grad_norm_.
char *ferronnx_clip(at::Tensor *const *parameters, size_t count, double max_norm) {
  return guarded([&] {
    const auto grads = gradients(parameters, count);
    if (grads.empty()) return;
    const auto norm = at::stack(at::_foreach_norm(grads, 2)).norm(2);
    at::_foreach_mul_(grads, (max_norm / (norm + 1e-6)).clamp_max(1.0));
  });
}

// A copy of `tensor` on a CUDA device, through pinned memory: the caller goes on while the device is busy.
char *ferronnx_upload(const at::Tensor *tensor, int index, at::Tensor **copy) {
  return guarded([&] {
    const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
    *copy = new at::Tensor(tensor->pin_memory().to(device, tensor->scalar_type(), /*non_blocking=*/true));
  });
}

// Seeds the random numbers of libtorch, whose generator it makes at first, which reads /dev/urandom.
char *ferronnx_seed(uint64_t seed) {
  return guarded([&] { at::manual_seed(seed); });
}

// Uses the same algorithms every time: no search by cuDNN for the fastest, and none whose sums come in any order.
char *ferronnx_deterministic() {
  return guarded([&] {
    at::globalContext().setBenchmarkCuDNN(false);
    at::globalContext().setDeterministicCuDNN(true);
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
    at::globalContext().setDeterministicFillUninitializedMemory(false);
  });
}

// libtorch's description of itself, which the caller frees with `ferronnx_free`.
char *ferronnx_show_config() { return strdup(at::show_config().c_str()); }

// Makes a GPU the current one of this thread, to which its streams and graphs belong.
char *ferronnx_set_gpu(int index) {
  return guarded([&] { at::accelerator::setDeviceIndex(static_cast<c10::DeviceIndex>(index)); });
}

// Waits until a GPU has done all its work.
char *ferronnx_wait_for_gpu(int index) {
  return guarded([&] { at::accelerator::synchronizeDevice(static_cast<c10::DeviceIndex>(index)); });
}

// Keeps libtorch from writing warnings and errors to standard error: its errors come back as exceptions, and say more.
void ferronnx_quiet() { FLAGS_caffe2_log_level = 3; /* FATAL */ }

// Begins to record the work of this thread for a CUDA device: until the end, nothing is computed.
char *ferronnx_graph_begin(int index, GraphRecording **made) {
  return guarded([&] {
    const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
    at::accelerator::synchronizeDevice(device.index());
    // The graph has memory of its own; that of earlier steps is given back first.
    at::accelerator::emptyCache();
    auto graph = std::make_unique<GraphRecording>(device);
    graph->graph.begin();
    *made = graph.release();
  });
}

// Ends the recording.
char *ferronnx_graph_end(GraphRecording *graph) {
  const auto error = guarded([&] { graph->graph.end(); });
  graph->leave_stream();
  return error;
}

// Computes what was recorded, with what lies in the same memory now.
char *ferronnx_graph_replay(GraphRecording *graph) {
  return guarded([&] { graph->graph.replay(); });
}

char *ferronnx_graph_free(GraphRecording *graph) {
  return guarded([&] { delete graph; });
}

// Enters (`kind` is a ScalarType) or leaves (`kind` is negative) autocast on a kind of device.
char *ferronnx_autocast(int device_type, int kind) {
  return guarded([&] {
    const auto device = static_cast<at::DeviceType>(device_type);
    if (kind >= 0) {
      at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(kind));
      at::autocast::increment_nesting();
    } else if (at::autocast::decrement_nesting() == 0) {
      at::autocast::clear_cache();
    }
    at::autocast::set_autocast_enabled(device, kind >= 0);
  });
}
}
