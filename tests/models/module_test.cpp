#include <creel/models/execution.hpp>
#include <creel/models/functional.hpp>
#include <creel/models/layers/linear.hpp>
#include <creel/models/module.hpp>
#include <creel/models/tensor_map.hpp>
#include <creel/runtime/error.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace creel::nn;

namespace {

class Head : public Module {
 public:
  Head() : scale_(parameter("scale", {2})), linear_(add<Linear>("linear", 2, 3)) {
    buffer("mean", zeros({2}));
    buffer("cached", zeros({2}), /*persistent=*/false);
  }
  Tensor forward(const Tensor& x) const { return linear_.forward(x * scale_); }

 private:
  Tensor scale_;
  Linear& linear_;
};

class Body : public Module {
 public:
  Body() : heads(add<ModuleList<Head>>("heads")) {
    heads.append();
    heads.append();
  }
  ModuleList<Head>& heads;
};

class Clash : public Module {
 public:
  explicit Clash(const std::string& name) {
    parameter("weight", {1});
    add<Linear>(name, 1, 1);
  }
};

std::vector<std::string> names_of(const TensorMap& map) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : map) names.push_back(name);
  return names;
}

}  // namespace

TEST_CASE("a module's names are the paths of its parts, in order of construction") {
  const Body body;
  CHECK(names_of(body.named_parameters()) ==
        std::vector<std::string>{"heads.0.scale", "heads.0.linear.weight", "heads.0.linear.bias",
                                 "heads.1.scale", "heads.1.linear.weight", "heads.1.linear.bias"});
  CHECK(names_of(body.named_buffers()).size() == 4);
  CHECK(names_of(body.named_buffers(true)) == std::vector<std::string>{"heads.0.mean", "heads.1.mean"});
  CHECK(body.state().size() == 8);
  CHECK(body.parameter_count() == 2 * (2 + 6 + 3));
}

TEST_CASE("two parts of one name, or a name with a dot, are refused") {
  CHECK_THROWS_WITH_AS(Clash("weight"), doctest::Contains("two parts named 'weight'"), creel::Error);
  CHECK_THROWS_AS(Clash("a.b"), creel::Error);
  CHECK_THROWS_AS(Clash(""), creel::Error);
}

TEST_CASE("train and eval reach every part") {
  Body body;
  CHECK(body.heads[1].is_training());
  body.eval();
  CHECK_FALSE(body.heads[1].is_training());
  CHECK_FALSE(body.heads[0].children()[0].module->is_training());
}

TEST_CASE("zero_grad drops gradients") {
  Body body;
  body.heads[0].forward(ones({1, 2})).sum().backward();
  CHECK(body.named_parameters().at("heads.0.scale").grad().defined());
  CHECK_FALSE(body.named_parameters().at("heads.1.scale").grad().defined());
  body.zero_grad();
  CHECK_FALSE(body.named_parameters().at("heads.0.scale").grad().defined());
}

TEST_CASE("a tensor map keeps order, replaces in place and names what it has") {
  TensorMap map{{"b", ones({1})}, {"a", ones({2})}};
  map.set("b", ones({3}));
  CHECK(names_of(map) == std::vector<std::string>{"b", "a"});
  CHECK(map.at("b").numel() == 3);
  CHECK_FALSE(map.find("c").defined());
  CHECK_THROWS_WITH_AS(map.at("c"), doctest::Contains("no tensor 'c'; there are: b, a"), creel::Error);
}

TEST_CASE("the random state continues where it was saved") {
  manual_seed(7);
  const auto draw = [] {
    Tensor x = empty({50});
    x.uniform_();
    return x;
  };
  draw();
  const std::vector<std::byte> state = rng_state();
  const Tensor after = draw();
  draw();
  set_rng_state(state);
  CHECK(draw().equal(after));
  CHECK_THROWS_WITH_AS(set_rng_state(std::vector<std::byte>(3)),
                       doctest::Contains("not a random generator's state"), creel::Error);
}

TEST_CASE("the number of threads is set and read back") {
  const int before = intra_op_threads();
  set_intra_op_threads(3);
  CHECK(intra_op_threads() == 3);
  set_intra_op_threads(before);
  CHECK_THROWS_AS(set_intra_op_threads(0), creel::Error);
}
