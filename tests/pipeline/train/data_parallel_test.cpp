#include <creel/models/functional.hpp>
#include <creel/models/outputs.hpp>
#include <creel/models/registry.hpp>
#include <creel/pipeline/train/data_parallel.hpp>
#include <creel/pipeline/train/gather.hpp>
#include <creel/pipeline/train/train_step.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <csignal>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <vector>

namespace nn = creel::nn;
namespace comm = creel::comm;
namespace models = creel::models;
using creel::nn::operator*;
using creel::nn::operator+;
using creel::pipeline::DataParallel;
using creel::pipeline::TrainStep;

namespace {

/// Runs `body(group)` as each rank of a world of this process; rethrows the first failure.
void on_ranks(int ranks, const std::function<void(comm::Group&)>& body) {
  comm::World world = comm::World::create(ranks);
  std::vector<creel::Thread> threads;
  std::vector<std::exception_ptr> failures(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    threads.push_back(creel::Thread::of_platform().name("rank-" + std::to_string(rank)).start([&, rank] {
      try {
        comm::Group group = comm::Group::join(world, rank);
        body(group);
      } catch (const std::exception& error) {
        failures[static_cast<std::size_t>(rank)] = std::current_exception();
        world.abort(rank, error.what());
      }
    }));
  }
  for (const creel::Thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

models::ModelSpec tiny_clip() {
  models::ClipSpec clip;
  clip.image = {.size = 16, .patch = 8, .channels = 3, .width = 16, .layers = 1, .heads = 2, .mlp = 32};
  clip.text = {
      .vocabulary = 50, .context = 6, .width = 16, .layers = 1, .heads = 2, .mlp = 32, .bos = 48, .eos = 49};
  clip.embed = 8;
  return {"clip", clip};
}

constexpr std::int64_t kRows = 8;

/// Rows [from, to) of a fixed batch.
nn::Inputs rows(std::int64_t from, std::int64_t to) {
  at::Generator generator = nn::make_generator(3);
  at::Tensor pixels = nn::empty({kRows, 3, 16, 16});
  nn::normal_(pixels, 0, 1, generator);
  at::Tensor ids = nn::empty({kRows, 6}, at::kLong);
  auto* id = ids.data_ptr<std::int64_t>();
  for (std::int64_t row = 0; row < kRows; ++row) {
    const std::int64_t line[6] = {48, row + 1, 2 * row + 3, 7, 49, 49};
    for (const std::int64_t value : line) *id++ = value;
  }
  return {{models::names::pixel_values, pixels.slice(0, from, to)},
          {models::names::input_ids, ids.slice(0, from, to)}};
}

struct Trained {
  std::vector<double> losses;
  std::vector<at::Tensor> gradients;  // of the first step
  std::vector<at::Tensor> weights;
};

Trained train(comm::Group& group, int steps) {
  const std::unique_ptr<models::Model> model = models::Registry::builtin().create(tiny_clip());
  model->initialize(5);
  const auto objective = models::ObjectiveRegistry::builtin().create("softmax_contrastive");
  models::AdamW optimizer(models::decay_groups(model->named_parameters(), 0.1));
  TrainStep step({*model, *objective, optimizer, {.lr = 1e-3, .warmup = 2, .total = 10}, group});
  const std::int64_t share = kRows / group.size();
  const nn::Inputs inputs = rows(group.rank() * share, (group.rank() + 1) * share);
  Trained trained;
  for (int i = 0; i < steps; ++i) {
    trained.losses.push_back(step.run(inputs, i, 0).loss);
    if (i > 0) continue;
    for (const nn::NamedTensor& entry : model->named_parameters()) {
      trained.gradients.push_back(entry.tensor.grad().clone());
    }
  }
  for (const nn::NamedTensor& entry : model->named_parameters())
    trained.weights.push_back(entry.tensor.detach().clone());
  return trained;
}

std::span<const float> values(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  double worst = 0;
  for (std::size_t i = 0; i < values(a).size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(values(a)[i]) - static_cast<double>(values(b)[i])));
  }
  return worst;
}

}  // namespace

TEST_CASE("ranks train as one rank with the whole batch") {
  comm::Group alone = comm::Group::alone();
  const Trained whole = train(alone, 4);
  for (const int ranks : {2, 4}) {
    CAPTURE(ranks);
    std::vector<Trained> split(static_cast<std::size_t>(ranks));
    on_ranks(ranks,
             [&](comm::Group& group) { split[static_cast<std::size_t>(group.rank())] = train(group, 4); });
    for (const Trained& rank : split) {
      for (std::size_t i = 0; i < whole.losses.size(); ++i) {
        CHECK(rank.losses[i] == doctest::Approx(whole.losses[i]).epsilon(1e-5));
        CHECK(rank.losses[i] == split[0].losses[i]);
      }
      for (std::size_t i = 0; i < whole.gradients.size(); ++i) {
        CAPTURE(i);
        CHECK(largest_difference(rank.gradients[i], whole.gradients[i]) < 1e-5);
        CHECK(largest_difference(rank.weights[i], split[0].weights[i]) == 0.0);
      }
    }
  }
}

TEST_CASE("a gathered tensor gives each rank the sum of all ranks' gradients of its rows") {
  on_ranks(3, [](comm::Group& group) {
    at::Tensor x = nn::full({2, 4}, group.rank() + 1.0).requires_grad_();
    const at::Tensor all = creel::pipeline::all_gather_with_gradient(x, group);
    REQUIRE(all.size(0) == 6);
    for (std::int64_t row = 0; row < 6; ++row) CHECK(values(all[row])[0] == static_cast<float>(row / 2 + 1));
    // Rank r's loss weighs every row by r + 1: the sum of the weights is 1 + 2 + 3.
    (all * static_cast<double>(group.rank() + 1)).sum().backward();
    for (const float gradient : values(x.grad())) CHECK(gradient == 6.0f);
  });
}

TEST_CASE("parameters start as rank 0's, and gradients are averaged in buckets of any size") {
  for (const std::size_t bucket_bytes : {std::size_t{1}, std::size_t{64}, std::size_t{1} << 20}) {
    on_ranks(2, [&](comm::Group& group) {
      nn::TensorMap parameters;
      for (int i = 0; i < 5; ++i) {
        parameters.set("p" + std::to_string(i), nn::full({3 + i}, group.rank() * 10.0 + i).requires_grad_());
      }
      DataParallel data_parallel(parameters, group, bucket_bytes);
      at::Tensor loss;
      int factor = 0;
      for (const nn::NamedTensor& entry : parameters) {
        CHECK(values(entry.tensor)[0] == static_cast<float>(factor));
        const at::Tensor term = (entry.tensor * static_cast<double>((group.rank() + 1) * ++factor)).sum();
        loss = loss.defined() ? loss + term : term;
      }
      loss.backward();
      data_parallel.finish();
      factor = 0;
      for (const nn::NamedTensor& entry : parameters) {
        ++factor;
        for (const float gradient : values(entry.tensor.grad()))
          CHECK(gradient == 1.5f * static_cast<float>(factor));
      }
    });
  }
}

TEST_CASE("a parameter without a gradient is named") {
  on_ranks(2, [](comm::Group& group) {
    const nn::TensorMap parameters{{"used", nn::ones({2}).requires_grad_()},
                                   {"idle", nn::ones({2}).requires_grad_()}};
    DataParallel data_parallel(parameters, group, 1);
    parameters.at("used").sum().backward();
    CHECK_THROWS_WITH_AS(data_parallel.finish(), doctest::Contains("no gradient reached idle"), creel::Error);
  });
}

TEST_CASE("one rank that is asked to stop stops all after the same step") {
  on_ranks(2, [](comm::Group& group) {
    const std::unique_ptr<models::Model> model = models::Registry::builtin().create(tiny_clip());
    model->initialize(5);
    const auto objective = models::ObjectiveRegistry::builtin().create("softmax_contrastive");
    models::AdamW optimizer(models::decay_groups(model->named_parameters(), 0.1));
    TrainStep step({*model, *objective, optimizer, {.lr = 1e-3, .warmup = 0, .total = 10}, group});
    const nn::Inputs inputs = rows(group.rank() * 4, group.rank() * 4 + 4);
    CHECK(step.run(inputs, 0, 0).stop_signal == 0);
    CHECK(step.run(inputs, 1, group.rank() == 1 ? SIGTERM : 0).stop_signal == SIGTERM);
  });
}

TEST_CASE("a loss that is not finite ends the run before the weights are touched") {
  comm::Group alone = comm::Group::alone();
  const std::unique_ptr<models::Model> model = models::Registry::builtin().create(tiny_clip());
  model->initialize(5);
  const auto objective = models::ObjectiveRegistry::builtin().create("softmax_contrastive");
  models::AdamW optimizer(models::decay_groups(model->named_parameters(), 0.1));
  TrainStep step({*model, *objective, optimizer, {.lr = 1e-3, .warmup = 0, .total = 10}, alone});
  nn::Inputs inputs = rows(0, 4);
  inputs.at(models::names::pixel_values).fill_(std::numeric_limits<double>::quiet_NaN());
  const at::Tensor before = model->named_parameters().begin()->tensor.detach().clone();
  CHECK_THROWS_WITH_AS(step.run(inputs, 0, 0), doctest::Contains("loss of step 1 is"), creel::Error);
  CHECK(largest_difference(model->named_parameters().begin()->tensor.detach(), before) == 0.0);
}
