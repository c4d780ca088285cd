#include "data_files.hpp"

#include <creel/pipeline/config/transform_spec.hpp>
#include <creel/pipeline/data/loader.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/log.hpp>
#include <creel/scheduler/graph_runner.hpp>

#include <creel_test/temporary_folder.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>

using namespace creel::pipeline;
using creel::scheduler::GraphRunner;
using creel::scheduler::TaskGraph;

namespace {

// FNV-1a over all that a batch says.
std::uint64_t digest(const Batch& batch) {
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&hash](const void* data, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i)
      hash = (hash ^ static_cast<const unsigned char*>(data)[i]) * 0x100000001b3;
  };
  for (const std::string& key : batch.keys) add(key.data(), key.size());
  for (const auto& [name, value] : batch.fields) {
    add(name.data(), name.size());
    if (const auto* tensor = std::get_if<HostTensor>(&value)) {
      add(tensor->bytes().data(), tensor->bytes().size());
    } else {
      for (const std::string& text : std::get<std::vector<std::string>>(value)) add(text.data(), text.size());
    }
  }
  return hash;
}

using Digests = std::map<Position, std::uint64_t>;

// Two shards of 25 small images, of which those in `bad` are cut short.
class Data {
 public:
  explicit Data(const std::set<int>& bad = {}) {
    creel::log::set_level(creel::log::Level::Error);  // bad samples are warned of, here by the dozen
    for (const int shard : {0, 1}) {
      creel_test::TarFile tar;
      for (int i = shard * 25; i < shard * 25 + 25; ++i) {
        const std::string name = std::to_string(1000 + i);
        Bytes image = creel_test::pattern_png(12, 10, static_cast<std::uint32_t>(i));
        if (bad.contains(i)) image.resize(image.size() / 2);
        tar.add(name + ".png", image);
        tar.add(name + ".txt", "sample " + std::to_string(i));
        tar.add(name + ".cls", std::to_string(i));
      }
      tar.end();
      tar.save(folder_ / ("d-" + std::to_string(shard) + ".tar"));
    }
  }

  RunConfig config() const {
    RunConfig config;
    config.name = "test";
    config.data.train = {.format = "tar_shards", .path = (folder_ / "d-{0..1}.tar").string()};
    config.data.eval = config.data.train;
    config.data.batch = 8;
    config.train.epochs = 3;
    config.train.seed = 17;
    config.train_transforms =
        parse_transforms("decode | resize(8) | affine(15, 0.1, 0.1) | normalize(0.5, 0.5)");
    config.eval_transforms = parse_transforms("decode | resize(8) | normalize(0.5, 0.5)");
    return config;
  }

 private:
  creel_test::TemporaryFolder folder_;
};

std::vector<Batch> batches_of(const Loader& loader) {
  std::vector<Batch> batches;
  for_each_batch(loader, [&](Batch& batch) { batches.push_back(std::move(batch)); });
  return batches;
}

Digests digests_of(const Loader& loader) {
  Digests digests;
  for (const Batch& batch : batches_of(loader)) CHECK(digests.emplace(batch.position, digest(batch)).second);
  return digests;
}

std::vector<std::int64_t> labels(const Batch& batch) {
  const auto values = batch.tensor("label").values<std::int64_t>();
  return {values.begin(), values.end()};
}

}  // namespace

TEST_CASE("batches have their positions, fields and shapes") {
  const Data data;
  const Loader loader = make_train_loader(data.config(), 0, 1);
  CHECK(loader.steps_per_epoch() == 6);
  const std::vector<Batch> batches = batches_of(loader);
  REQUIRE(batches.size() == 18);
  CHECK(batches[0].position == Position{.epoch = 0, .step = 0});
  CHECK(batches[7].position == Position{.epoch = 1, .step = 1});
  for (const Batch& batch : batches) {
    CHECK(batch.rows == 8);
    CHECK(batch.keys.size() == 8);
    CHECK(batch.tensor("pixel_values").shape() == std::vector<std::int64_t>{8, 3, 8, 8});
    CHECK(batch.tensor("label").shape() == std::vector<std::int64_t>{8});
    CHECK(batch.texts("caption").front() == "sample " + std::to_string(labels(batch).front()));
    CHECK(batch.bad.empty());
  }
  CHECK(labels(batches[0]) != labels(batches[6]));  // another epoch, another order
}

TEST_CASE("the batches are the same for 1, 2 and 4 workers, whatever the room between the stages") {
  const Data data({3, 30});
  RunConfig config = data.config();
  config.data.max_bad = 1;
  config.data.workers = 1;
  const Digests expected = digests_of(make_train_loader(config, 0, 1));
  CHECK(expected.size() == 18);
  for (const std::int64_t workers : {2, 4}) {
    CAPTURE(workers);
    config.data.workers = workers;
    config.data.prefetch = workers == 2 ? 1 : 7;
    CHECK(digests_of(make_train_loader(config, 0, 1)) == expected);
  }
  config.train.seed = 18;
  CHECK(digests_of(make_train_loader(config, 0, 1)) != expected);
}

TEST_CASE("a run that stops anywhere and resumes sees the batches that it would have seen") {
  const Data data({3, 30});
  RunConfig config = data.config();
  config.data.max_bad = 1;
  const Digests whole = digests_of(make_train_loader(config, 1, 2));
  CHECK(whole.size() == 9);
  for (const Position start : {Position{0, 1}, Position{1, 0}, Position{1, 2}, Position{2, 2}}) {
    CAPTURE(start.epoch);
    CAPTURE(start.step);
    Digests rest = whole;
    rest.erase(rest.begin(), rest.lower_bound(start));
    CHECK(digests_of(make_train_loader(config, 1, 2, start)) == rest);
  }
}

TEST_CASE("ranks together see the rows of one big batch, with the same augmentation") {
  const Data data;
  RunConfig config = data.config();
  const std::vector<Batch> first = batches_of(make_train_loader(config, 0, 2));
  const std::vector<Batch> second = batches_of(make_train_loader(config, 1, 2));
  config.data.batch = 16;
  const std::vector<Batch> whole = batches_of(make_train_loader(config, 0, 1));
  REQUIRE(first.size() == whole.size());
  REQUIRE(second.size() == whole.size());
  for (std::size_t i = 0; i < whole.size(); ++i) {
    const auto values = whole[i].tensor("pixel_values").values<float>();
    const auto top = first[i].tensor("pixel_values").values<float>();
    const auto bottom = second[i].tensor("pixel_values").values<float>();
    CHECK(std::equal(top.begin(), top.end(), values.begin()));
    CHECK(std::equal(bottom.begin(), bottom.end(), values.begin() + static_cast<std::ptrdiff_t>(top.size())));
  }
}

TEST_CASE("a bad sample's row is filled by the next good one and no other row moves") {
  const Data good;
  const Data damaged({5, 6, 40});
  RunConfig config = damaged.config();
  config.data.max_bad = 0.5;
  const std::vector<Batch> expected = batches_of(make_train_loader(good.config(), 0, 1));
  const Loader loader = make_train_loader(config, 0, 1);
  const std::vector<Batch> batches = batches_of(loader);
  REQUIRE(batches.size() == expected.size());
  std::size_t replaced = 0;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const std::vector<std::int64_t> wanted = labels(expected[i]);
    const std::vector<std::int64_t> got = labels(batches[i]);
    const auto is_bad = [](std::int64_t label) { return label == 5 || label == 6 || label == 40; };
    std::size_t bad_here = 0;
    for (std::size_t row = 0; row < wanted.size(); ++row) {
      std::size_t from = row;
      while (is_bad(wanted[from])) from = (from + 1) % wanted.size();
      CHECK(got[row] == wanted[from]);
      bad_here += is_bad(wanted[row]) ? 1U : 0U;
    }
    CHECK(batches[i].bad.size() == bad_here);
    replaced += bad_here;
  }
  CHECK(replaced > 3);
  const BadSamples bad = loader.bad_samples();
  CHECK(bad.count == 3);  // each once, though three epochs met it
  REQUIRE(bad.samples.size() == 3);
  std::set<std::string> keys;
  for (const BadSample& sample : bad.samples) {
    keys.insert(sample.key);
    CHECK(sample.why.starts_with("decode: truncated PNG of "));
  }
  CHECK(keys == std::set<std::string>{"1005 of d-0.tar", "1006 of d-0.tar", "1040 of d-1.tar"});
}

TEST_CASE("too many bad samples end the run with an error that counts and names them") {
  const Data data({0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  RunConfig config = data.config();
  config.data.max_bad = 0.05;  // 2.4 of 48 rows
  const Loader loader = make_train_loader(config, 0, 1);
  try {
    batches_of(loader);
    FAIL("accepted");
  } catch (const creel::Error& error) {
    CHECK(error.code() == creel::ErrorCode::Data);
    const std::string message = error.what();
    CHECK(
        message.starts_with("too many bad samples: 3 of the 48 rows of epoch 0, more than data.max_bad 0.05; "
                            "the last one is 10"));
    CHECK(message.find("truncated PNG") != std::string::npos);
  }
}

TEST_CASE("a resumed run counts on from the bad rows before it") {
  const Data data({0, 1, 2, 3, 4, 5});
  RunConfig config = data.config();
  const auto run = [&](std::int64_t bad_before) {
    LoaderOptions options{.sampler = {.batch = 8, .seed = 17},
                          .start = {.epoch = 0, .step = 5},
                          .max_bad = 0.25,
                          .bad_before = bad_before};
    batches_of(Loader(open_source(config.data.train), TransformChain(config.train_transforms), options));
  };
  CHECK_NOTHROW(run(0));
  CHECK_THROWS_AS(run(12),
                  creel::Error);  // 12 of 48 is what is allowed; the last batch of this seed has one more
}

TEST_CASE("a batch without a good row ends the run, it does not hang") {
  std::set<int> all;
  for (int i = 0; i < 50; ++i) all.insert(i);
  const Data data(all);
  RunConfig config = data.config();
  config.data.max_bad = 1;
  CHECK_THROWS_AS(batches_of(make_train_loader(config, 0, 1)), creel::Error);
}

TEST_CASE("evaluation sees each sample once, in order, unchanged, and keeps the short last batch") {
  const Data data({7});
  RunConfig config = data.config();
  config.data.max_bad = 0.5;
  const std::vector<Batch> batches = batches_of(make_eval_loader(config));
  REQUIRE(batches.size() == 7);
  std::vector<std::int64_t> seen;
  for (const Batch& batch : batches) {
    for (const std::int64_t label : labels(batch)) seen.push_back(label);
  }
  std::vector<std::int64_t> expected;
  for (std::int64_t i = 0; i < 50; ++i) {
    if (i != 7) expected.push_back(i);  // dropped, not replaced
  }
  CHECK(seen == expected);
  CHECK(batches[0].rows == 7);
  CHECK(batches[6].rows == 2);
}

TEST_CASE("rows that do not fit together end the run with the field and the samples") {
  const Data data;
  RunConfig config = data.config();
  creel_test::TemporaryFolder folder;
  creel_test::TarFile tar;
  for (int i = 0; i < 8; ++i) tar.add(std::to_string(i) + ".png", creel_test::pattern_png(i == 5 ? 9 : 8, 8));
  tar.save(folder / "odd.tar");
  config.data.eval.path = folder / "odd.tar";
  config.eval_transforms = parse_transforms("decode | normalize(0.5, 0.5)");
  CHECK_THROWS_WITH(batches_of(make_eval_loader(config)),
                    "the rows of a batch do not fit together: field pixel_values: 0 of odd.tar has f32 [3, "
                    "8, 8], 5 of odd.tar has f32 [3, 8, 9]");
}

TEST_CASE("an exception of the caller ends the loading") {
  const Data data;
  const Loader loader = make_train_loader(data.config(), 0, 1);
  CHECK_THROWS_WITH(for_each_batch(loader, [](Batch&) { throw creel::Error("enough"); }), "enough");
  CHECK(digests_of(loader).size() == 18);  // and the loader begins anew
}

TEST_CASE("the loader's stages show in a graph and count every row") {
  const Data data;
  RunConfig config = data.config();
  config.data.workers = 3;
  const Loader loader = make_train_loader(config, 0, 1);
  TaskGraph graph("clip");
  std::int64_t steps = 0;
  graph.sink(loader.add_to(graph), {.name = "step"},
             [&](const Batch& batch) { steps += batch.rows > 0 ? 1 : 0; });
  GraphRunner runner(graph);
  runner.run();
  CHECK(steps == 18);
  const auto stats = runner.stats();
  REQUIRE(stats.size() == 4);
  CHECK(stats[0].name == "read");
  CHECK(stats[1].name == "decode");
  CHECK(stats[1].workers == 3);
  CHECK(stats[1].items == 144);
  CHECK(stats[2].name == "collate");
  CHECK(stats[2].items == 144);
  CHECK(stats[3].items == 18);
}
