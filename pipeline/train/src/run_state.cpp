#include "run_state.hpp"

#include <creel/models/execution.hpp>
#include <creel/models/functional.hpp>
#include <creel/models/state_dict.hpp>
#include <creel/runtime/error.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

namespace creel::pipeline {
namespace {

constexpr const char* kGenerator = "generator";
constexpr const char* kBad = "bad_samples";

std::string rank_prefix(int rank) { return "rank" + std::to_string(rank); }

/// What must be equal for a resumed run to give the same numbers, with the key that sets it.
std::vector<std::pair<std::string, std::string>> identity(const RunConfig& config) {
  return {{"train.seed", std::to_string(config.train.seed)},
          {"parallel.ranks", std::to_string(config.parallel.ranks)},
          {"data.batch", std::to_string(config.data.batch)},
          {"train.threads", std::to_string(nn::intra_op_threads())}};
}

at::Tensor to_tensor(std::string_view bytes) {
  at::Tensor tensor = nn::empty({static_cast<std::int64_t>(bytes.size())}, at::kByte);
  std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

std::string_view bytes_of(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), static_cast<std::size_t>(tensor.numel())};
}

std::string text_of(const BadCount& bad) {
  return nlohmann::json{{"keys", bad.keys}, {"epoch", bad.epoch}, {"rows_of_epoch", bad.rows_of_epoch}}.dump(
      -1, ' ', false, nlohmann::json::error_handler_t::replace);
}

BadCount bad_count_of(std::string_view text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) throw Error("the checkpoint's list of bad samples is damaged", ErrorCode::Data);
  return {json.at("keys").get<std::set<std::string>>(), json.at("epoch").get<std::int64_t>(),
          json.at("rows_of_epoch").get<std::int64_t>()};
}

}  // namespace

void BadCount::add(const Batch& batch) {
  if (batch.position.epoch != epoch) rows_of_epoch = 0;
  epoch = batch.position.epoch;
  rows_of_epoch += static_cast<std::int64_t>(batch.bad.size());
  for (const BadSample& sample : batch.bad) keys.insert(sample.key);
}

std::vector<std::string> gather_text(comm::Group& group, const std::string& mine) {
  const auto ranks = static_cast<std::size_t>(group.size());
  std::int64_t length = static_cast<std::int64_t>(mine.size());
  std::vector<std::int64_t> lengths(ranks);
  group.all_gather({&length, 1, comm::DType::I64}, {lengths.data(), ranks, comm::DType::I64});
  const auto longest = static_cast<std::size_t>(*std::max_element(lengths.begin(), lengths.end()));
  std::string padded = mine;
  padded.resize(longest);
  std::string all(longest * ranks, '\0');
  group.all_gather({padded.data(), longest, comm::DType::U8}, {all.data(), all.size(), comm::DType::U8});
  std::vector<std::string> texts;
  for (std::size_t r = 0; r < ranks; ++r)
    texts.push_back(all.substr(r * longest, static_cast<std::size_t>(lengths[r])));
  return texts;
}

std::set<std::string> gather_bad_keys(comm::Group& group, const BadCount& bad) {
  std::set<std::string> all;
  for (const std::string& text : gather_text(group, text_of(bad))) all.merge(bad_count_of(text).keys);
  return all;
}

Checkpoint RunState::capture(std::int64_t step) const {
  Checkpoint checkpoint;
  checkpoint.step = step;
  checkpoint.add("model", parts_.model.state());
  checkpoint.add("optimizer", parts_.optimizer.state());
  checkpoint.add("objective", parts_.objective.state());
  const std::vector<std::byte> generator = nn::rng_state();
  const std::vector<std::string> generators =
      gather_text(parts_.group, {reinterpret_cast<const char*>(generator.data()), generator.size()});
  const std::vector<std::string> bad = gather_text(parts_.group, text_of(parts_.bad));
  for (int rank = 0; rank < parts_.group.size(); ++rank) {
    const auto r = static_cast<std::size_t>(rank);
    checkpoint.add(rank_prefix(rank), {{kGenerator, to_tensor(generators[r])}, {kBad, to_tensor(bad[r])}});
  }
  for (auto& [key, value] : identity(parts_.config)) checkpoint.facts[key] = value;
  return checkpoint;
}

void RunState::restore(const Checkpoint& checkpoint) const {
  for (const auto& [key, value] : identity(parts_.config)) {
    const std::string& saved = checkpoint.fact(key);
    if (saved != value) {
      throw Error("the checkpoint of step " + std::to_string(checkpoint.step) + " was made with " + key +
                      " " + saved + ", this run has " + value + "; resume with --set " + key + "=" + saved,
                  ErrorCode::Config);
    }
  }
  const std::string origin = "checkpoint of step " + std::to_string(checkpoint.step);
  models::load_state(parts_.model, checkpoint.part("model"), origin);
  parts_.optimizer.load_state(checkpoint.part("optimizer"), origin);
  models::load_tensors(parts_.objective.state(), checkpoint.part("objective"), origin);
  const nn::TensorMap mine = checkpoint.part(rank_prefix(parts_.group.rank()));
  const std::string_view generator = bytes_of(mine.at(kGenerator));
  nn::set_rng_state(std::as_bytes(std::span(generator.data(), generator.size())));
  parts_.bad = bad_count_of(bytes_of(mine.at(kBad)));
}

}  // namespace creel::pipeline
