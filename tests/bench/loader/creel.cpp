// Images per second of the loader, by number of workers.
//
//   bench_loader SHARDS TRANSFORMS EPOCHS [WORKERS…]        e.g. 'digits/train-{00000..00003}.tar' 'decode |
//   resize(32) | normalize(clip)' 10 1 2 bench_loader synthetic:WIDTHxHEIGHTxCOUNT TRANSFORMS …  shards of
//   PNG patterns with noise, made in a temporary folder
//   {"workers":2,"images":…,"images_per_s":…,"cpu_ms_per_image":…}
//
// On a machine that does other work too, compare cpu_ms_per_image.

#include "data_files.hpp"

#include <creel/pipeline/config/transform_spec.hpp>
#include <creel/pipeline/data/loader.hpp>
#include <creel/scheduler/graph_runner.hpp>

#include <creel_test/temporary_folder.hpp>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>

using namespace creel::pipeline;

namespace {

double seconds(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// A smooth picture with some noise, which deflate packs about as well as a photograph.
Bytes picture(std::uint32_t width, std::uint32_t height, std::uint64_t number) {
  RandomStream random({.sample = number});
  creel_test::PngImage image{.width = width, .height = height};
  for (std::uint32_t y = 0; y < height; ++y) {
    for (std::uint32_t x = 0; x < width; ++x) {
      for (std::uint32_t c = 0; c < 3; ++c) {
        image.pixels.push_back(
            static_cast<std::uint8_t>((x * (c + 1) + y * 2 + number * 5) / 4 + (random() & 7U)));
      }
    }
  }
  return creel_test::encode_png(image);
}

std::string make_shard(const std::string& size, const creel_test::TemporaryFolder& folder) {
  unsigned width = 0;
  unsigned height = 0;
  unsigned count = 0;
  if (std::sscanf(size.c_str(), "synthetic:%ux%ux%u", &width, &height, &count) != 3) std::abort();
  creel_test::TarFile tar;
  for (unsigned i = 0; i < count; ++i) tar.add(std::to_string(i) + ".png", picture(width, height, i));
  tar.end();
  tar.save(folder / "synthetic.tar");
  return folder / "synthetic.tar";
}

void run(const RunConfig& config) {
  const Loader loader = make_train_loader(config, 0, 1);
  creel::scheduler::TaskGraph graph("bench");
  std::int64_t images = 0;
  graph.sink(loader.add_to(graph), {.name = "step"}, [&](const Batch& batch) { images += batch.rows; });
  creel::scheduler::GraphRunner runner(graph);
  const double start = seconds(CLOCK_MONOTONIC);
  const double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
  runner.run();
  const double wall = seconds(CLOCK_MONOTONIC) - start;
  std::printf("{\"workers\":%lld,\"images\":%lld,\"images_per_s\":%.0f,\"cpu_ms_per_image\":%.3f}\n",
              static_cast<long long>(config.data.workers), static_cast<long long>(images),
              static_cast<double>(images) / wall,
              (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e3 / static_cast<double>(images));
  std::fputs(creel::scheduler::to_table(runner.stats()).c_str(), stderr);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fputs("usage: bench_loader SHARDS|synthetic:WxHxN TRANSFORMS EPOCHS [WORKERS...]\n", stderr);
    return 2;
  }
  const creel_test::TemporaryFolder folder;
  RunConfig config;
  config.data.train = {.format = "tar_shards", .path = argv[1]};
  if (config.data.train.path.starts_with("synthetic:")) config.data.train.path = make_shard(argv[1], folder);
  config.train_transforms = parse_transforms(argv[2]);
  config.train.epochs = std::atoll(argv[3]);
  config.data.batch = 32;
  for (int i = 4; i < argc; ++i) {
    config.data.workers = std::atoll(argv[i]);
    run(config);
  }
}
