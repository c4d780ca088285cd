#include <creel/models/functional.hpp>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/normal.h>

#include <cmath>

namespace creel::nn {

at::Generator make_generator(std::uint64_t seed) { return at::make_generator<at::CPUGeneratorImpl>(seed); }

void normal_(Tensor x, double mean, double std, at::Generator& generator) {
  const NoGradGuard no_grad;
  x.normal_(mean, std, generator);
}

void fused_adamw_(at::TensorList parameters, at::TensorList gradients, at::TensorList first_moments,
                  at::TensorList second_moments, at::TensorList steps, const AdamWArguments& arguments) {
  const NoGradGuard no_grad;
  at::_fused_adamw_(parameters, gradients, first_moments, second_moments, /*max_exp_avg_sqs=*/{}, steps,
                    arguments.lr, arguments.beta1, arguments.beta2, arguments.weight_decay, arguments.eps,
                    /*amsgrad=*/false, /*maximize=*/false);
}

double global_norm(at::TensorList tensors) {
  const NoGradGuard no_grad;
  double sum = 0;
  for (const Tensor& tensor : tensors) {
    const double norm = at::linalg_vector_norm(tensor).item<double>();
    sum += norm * norm;
  }
  return std::sqrt(sum);
}

}  // namespace creel::nn
