// What tch does not offer of libtorch: fused optimizers, lists of gradients as one, autocast of a chosen kind.
//
// Every function returns null, or a message that the caller frees with `ferronnx_free`; no exception leaves.

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

#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <vector>

namespace {

template <typename Body>
char *guarded(Body body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const std::exception &error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("unknown exception");
  }
}

std::vector<at::Tensor> gradients(at::Tensor *const *parameters, size_t count) {
  std::vector<at::Tensor> found;
  found.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    if (parameters[i]->grad().defined()) found.push_back(parameters[i]->grad());
  }
  return found;
}

}  // namespace

extern "C" {

struct AdamOptions {
  double learning_rate, beta1, beta2, weight_decay, eps;
  bool decoupled;
};

struct SgdOptions {
  double learning_rate, momentum, weight_decay;
  bool nesterov;
};

void ferronnx_free(char *message) { std::free(message); }

// One step of Adam, or of AdamW when `decoupled`, on the parameters that have a gradient.
char *ferronnx_adam(at::Tensor *const *parameters, at::Tensor *const *exp_avgs, at::Tensor *const *exp_avg_sqs,
                    at::Tensor *const *steps, size_t count, const AdamOptions *options, at::Tensor *found_inf) {
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
    if (options->decoupled) {
      at::_fused_adamw_(values, grads, first, second, {}, counters, options->learning_rate, options->beta1,
                        options->beta2, options->weight_decay, options->eps, false, false, std::nullopt, inf);
    } else {
      at::_fused_adam_(values, grads, first, second, {}, counters, options->learning_rate, options->beta1,
                       options->beta2, options->weight_decay, options->eps, false, false, std::nullopt, inf);
    }
    if (inf) at::_foreach_sub_(counters, std::vector<at::Tensor>(counters.size(), inf->squeeze()));
  });
}

// One step of stochastic gradient descent on the parameters that have a gradient. Without momentum the list of buffers
// is not read. A buffer of zeros makes the first step what PyTorch's is: the buffer becomes the gradient.
char *ferronnx_sgd(at::Tensor *const *parameters, at::Tensor *const *momentum_buffers, size_t count,
                   const SgdOptions *options, at::Tensor *found_inf) {
  return guarded([&] {
    std::vector<at::Tensor> values, grads, buffers;
    for (size_t i = 0; i < count; ++i) {
      if (!parameters[i]->grad().defined()) continue;
      values.push_back(parameters[i]->detach());
      grads.push_back(parameters[i]->grad());
      if (options->momentum != 0) buffers.push_back(*momentum_buffers[i]);
    }
    if (values.empty()) return;
    const auto inf = found_inf ? std::optional<at::Tensor>(*found_inf) : std::nullopt;
    at::_fused_sgd_(values, grads, buffers, options->weight_decay, options->momentum, options->learning_rate,
                    /*dampening=*/0, options->nesterov, /*maximize=*/false, /*is_first_step=*/false, std::nullopt, inf);
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
