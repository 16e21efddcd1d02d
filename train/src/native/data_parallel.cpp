// Data-parallel training: hooks on gradients, batch norm with the statistics of all ranks, and memory for NCCL.
//
// Every function returns null, or a message that the caller frees with `ferronnx_free`; no exception leaves.

#include <ATen/TensorOperators.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/batch_norm_update_stats.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "guarded.h"

namespace {

// Calls Rust when the gradient of a parameter is complete in a backward pass.
struct GradientHook : torch::autograd::PostAccumulateGradHook {
  void *context;
  void (*call)(void *);
  void (*release)(void *);

  GradientHook(void *context, void (*call)(void *), void (*release)(void *))
      : context(context), call(call), release(release) {}
  ~GradientHook() override { release(context); }
  void operator()(const at::Tensor &) override { call(context); }
};

// Adds a tensor over all ranks, in place. Backward passes keep it alive.
struct SumOverRanks : torch::CustomClassHolder {
  void *context;
  char *(*call)(void *, at::Tensor *);
  void (*release)(void *);

  SumOverRanks(void *context, char *(*call)(void *, at::Tensor *), void (*release)(void *))
      : context(context), call(call), release(release) {}
  ~SumOverRanks() override { release(context); }

  void operator()(at::Tensor tensor) const {
    char *message = call(context, &tensor);
    if (!message) return;
    const std::string text(message);
    std::free(message);
    TORCH_CHECK(false, text);
  }
};

// One number a channel beside `input` [N, C, ...]: shape [1, C, 1, ...], in the float type of `kind`.
at::Tensor by_channel(const at::Tensor &values, const at::Tensor &input, const at::Tensor &kind) {
  std::vector<int64_t> shape(input.dim(), 1);
  shape[1] = -1;
  return values.to(kind.scalar_type()).view(shape);
}

// Batch norm with mean and variance of the images of all ranks, as PyTorch's SyncBatchNorm; ranks may have different
// numbers of images, or none. `running_mean` and `running_var` [C] are updated.
struct SyncBatchNorm : torch::autograd::Function<SyncBatchNorm> {
  static at::Tensor forward(torch::autograd::AutogradContext *ctx, const at::Tensor &input, const at::Tensor &weight,
                            const at::Tensor &bias, const at::Tensor &running_mean, const at::Tensor &running_var,
                            double momentum, double eps, const c10::intrusive_ptr<SumOverRanks> &sum) {
    // Count, sums and sums of squares in double: their difference is exact enough even where means are large.
    const auto channels = input.size(1);
    const auto precise = weight.options().dtype(at::kDouble);
    const double own = input.numel() == 0 ? 0 : static_cast<double>(input.numel() / channels);
    auto sums = at::zeros({2 * channels + 1}, precise);
    if (own > 0) {
      const auto [mean, var] = at::batch_norm_update_stats(input, {}, {}, momentum);
      const auto m = mean.to(at::kDouble);
      sums = at::cat({m * own, (var.to(at::kDouble) + m * m) * own, at::full({1}, own, precise)});
    }
    (*sum)(sums);
    // Without images in any rank the statistics are zeros, and nothing reads them.
    const auto count = sums.narrow(0, 2 * channels, 1);
    const auto divisor = count.clamp_min(1);
    const auto mean = sums.narrow(0, 0, channels) / divisor;
    const auto var = (sums.narrow(0, channels, channels) / divisor - mean * mean).clamp_min(0);
    update(running_mean, mean, momentum, count > 0);
    update(running_var, var * count / (count - 1).clamp_min(1), momentum, count > 1);
    const auto kind = weight.scalar_type();
    const auto short_mean = mean.to(kind), short_var = var.to(kind);
    ctx->save_for_backward({input, weight, short_mean, short_var, divisor});
    ctx->saved_data["sum"] = c10::IValue::make_capsule(sum);
    ctx->saved_data["eps"] = eps;
    if (own == 0) return input.clone();
    return std::get<0>(at::native_batch_norm(input, weight, bias, short_mean, short_var, /*training=*/false, momentum, eps));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *ctx,
                                                 torch::autograd::variable_list outputs) {
    const auto saved = ctx->get_saved_variables();
    const auto &input = saved[0], &weight = saved[1], &mean = saved[2], &var = saved[3], &count = saved[4];
    const double eps = ctx->saved_data["eps"].toDouble();
    const auto sum = ctx->saved_data["sum"].toCapsule();
    auto grad_weight = at::zeros_like(weight), grad_bias = at::zeros_like(weight);
    if (input.numel() > 0) {
      std::tie(std::ignore, grad_weight, grad_bias) = at::native_batch_norm_backward(
          outputs[0], input, weight, mean, var, {}, {}, /*train=*/false, eps, {false, true, true});
    }
    auto sums = at::cat({grad_weight, grad_bias}).to(at::kDouble);
    (*static_cast<const SumOverRanks *>(sum.get()))(sums);
    // In the order of libtorch's own batch norm, so that rounding is as small.
    const auto channels = weight.size(0);
    const auto invstd = (var.to(at::kDouble) + eps).rsqrt();
    const auto share = [&](const at::Tensor &values) { return by_channel(values, input, weight); };
    auto grad_input = outputs[0] - share(sums.narrow(0, channels, channels) / count);
    grad_input.addcmul_(input - share(mean), share(sums.narrow(0, 0, channels) * invstd / count), /*value=*/-1);
    grad_input.mul_(share(weight.to(at::kDouble) * invstd));
    return {grad_input.to(input.scalar_type()), grad_weight, grad_bias, {}, {}, {}, {}, {}};
  }

  // Moves a running statistic towards `value` where `known` [1] holds.
  static void update(const at::Tensor &running, const at::Tensor &value, double momentum, const at::Tensor &known) {
    const auto weight = known.to(at::kDouble) * momentum;
    at::Tensor(running).copy_(running * (1 - weight) + value * weight);
  }
};

}  // namespace

extern "C" {

// A copy of a text, for an error of a function that C++ calls.
char *ferronnx_message(const char *text, size_t length) { return strndup(text, length); }

// Calls `call` with `context` whenever the gradient of `parameter` is complete, until another hook takes its place.
char *ferronnx_on_gradient(const at::Tensor *parameter, void *context, void (*call)(void *), void (*release)(void *)) {
  return guarded([&] {
    torch::autograd::impl::set_post_acc_grad_hooks(*parameter, std::make_unique<GradientHook>(context, call, release));
  });
}

// Removes the hook of `parameter`, and releases its context.
char *ferronnx_off_gradient(const at::Tensor *parameter) {
  return guarded([&] { torch::autograd::impl::set_post_acc_grad_hooks(*parameter, nullptr); });
}

// The gradient of `parameter`; null if it has none.
char *ferronnx_gradient(const at::Tensor *parameter, at::Tensor **gradient) {
  return guarded([&] {
    *gradient = parameter->grad().defined() ? new at::Tensor(parameter->grad()) : nullptr;
  });
}

// Replaces the gradients of all `parameters`.
char *ferronnx_set_gradients(at::Tensor *const *parameters, at::Tensor *const *gradients, size_t count) {
  return guarded([&] {
    for (size_t i = 0; i < count; ++i) parameters[i]->mutable_grad() = *gradients[i];
  });
}

// Copies each of the tensors `from` to that of `to`, on a GPU by a few kernels.
char *ferronnx_copy_all(at::Tensor *const *to, at::Tensor *const *from, size_t count) {
  return guarded([&] {
    const c10::NoGradGuard guard;
    std::vector<at::Tensor> targets, sources;
    for (size_t i = 0; i < count; ++i) {
      targets.push_back(*to[i]);
      sources.push_back(*from[i]);
    }
    if (count > 0) at::_foreach_copy_(targets, sources);
  });
}

// Memory of a tensor, whose elements are given to other ranks in the order in which they lie there, and the current
// stream of its GPU; null for the CPU.
char *ferronnx_memory(const at::Tensor *tensor, void **data, void **stream) {
  return guarded([&] {
    TORCH_CHECK(tensor->is_non_overlapping_and_dense(), "a tensor with gaps cannot be sent to other ranks");
    *data = tensor->mutable_data_ptr();
    *stream = nullptr;
    if (!tensor->is_cuda()) return;
    *stream = c10::impl::VirtualGuardImpl(at::kCUDA).getStream(tensor->device()).native_handle();
  });
}

// Batch norm with the statistics of all ranks, see SyncBatchNorm. `call` adds a tensor over the ranks, and returns null or
// a message of `ferronnx_message`.
char *ferronnx_sync_batch_norm(const at::Tensor *input, const at::Tensor *weight, const at::Tensor *bias,
                               const at::Tensor *running_mean, const at::Tensor *running_var, double momentum, double eps,
                               void *context, char *(*call)(void *, at::Tensor *), void (*release)(void *),
                               at::Tensor **output) {
  return guarded([&] {
    const auto sum = c10::make_intrusive<SumOverRanks>(context, call, release);
    *output = new at::Tensor(
        SyncBatchNorm::apply(*input, *weight, *bias, *running_mean, *running_var, momentum, eps, sum));
  });
}
}
