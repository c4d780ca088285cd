#include "keys.hpp"

#include <charconv>
#include <cmath>

namespace creel::pipeline::detail {
namespace {

constexpr double kMost = 1e12;  // exact as a double, above any count that fits a machine
constexpr Range at_least(double low) { return {.low = low, .high = kMost}; }
constexpr Range positive() { return {.low = 0, .low_open = true}; }
constexpr Range share() { return {.low = 0, .high = 1}; }
constexpr Range below_one() { return {.low = 0, .high = 1, .high_open = true}; }

models::ClipSpec& clip(RunConfig& config) { return std::get<models::ClipSpec>(config.model.options); }

const Key kRun[] = {
    {.path = "name",
     .slot = [](RunConfig& c) -> Slot { return &c.name; },
     .doc = "Names the run folder and the served model; by default the stem of the config file's name."},
};

const Key kData[] = {
    {.path = "data.source.format",
     .slot = [](RunConfig& c) -> Slot { return &c.data.train.format; },
     .choices = "tar_shards",
     .need = Need::Always,
     .resume = Resume::Fixed,
     .doc =
         "How the training data is stored: tar_shards is WebDataset's tar files, one sample per file stem."},
    {.path = "data.source.path",
     .slot = [](RunConfig& c) -> Slot { return &c.data.train.path; },
     .shards = true,
     .need = Need::Always,
     .resume = Resume::Fixed,
     .doc = "The training files, as one path or a pattern such as train-{000..007}.tar; relative to the "
            "config file."},
    {.path = "data.eval.format",
     .slot = [](RunConfig& c) -> Slot { return &c.data.eval.format; },
     .choices = "tar_shards",
     .need = Need::WithSection,
     .doc = "How the evaluation data is stored. Without data.eval nothing is evaluated."},
    {.path = "data.eval.path",
     .slot = [](RunConfig& c) -> Slot { return &c.data.eval.path; },
     .shards = true,
     .need = Need::WithSection,
     .doc = "The evaluation files, written as data.source.path."},
    {.path = "data.workers",
     .slot = [](RunConfig& c) -> Slot { return &c.data.workers; },
     .range = {.low = 1, .high = 1024},
     .doc = "Transform threads of each rank. Any number gives the same losses."},
    {.path = "data.batch",
     .slot = [](RunConfig& c) -> Slot { return &c.data.batch; },
     .range = {.low = 1, .high = 1e6},
     .resume = Resume::Fixed,
     .doc = "Samples per step of each rank; the global batch is this times parallel.ranks."},
    {.path = "data.prefetch",
     .slot = [](RunConfig& c) -> Slot { return &c.data.prefetch; },
     .range = {.low = 1, .high = 1024},
     .doc = "Batches made ready ahead of the step."},
    {.path = "data.max_bad",
     .slot = [](RunConfig& c) -> Slot { return &c.data.max_bad; },
     .range = share(),
     .doc = "Share of an epoch's samples that may be unreadable; above it the run stops with exit code 4."},
};

const Key kTransforms[] = {
    {.path = "transforms.train",
     .slot = [](RunConfig& c) -> Slot { return &c.train_transforms; },
     .need = Need::Always,
     .resume = Resume::Fixed,
     .doc = "From a sample's bytes to tensors, as in decode | resize(32) | normalize(0.5, 0.5) | "
            "tokenize(bpe, 16). "
            "One text given as `transforms` itself is used for training and evaluation."},
    {.path = "transforms.eval",
     .slot = [](RunConfig& c) -> Slot { return &c.eval_transforms; },
     .need = Need::Always,
     .doc = "The same for evaluation and serving, normally without augmentation."},
};

const Key kModel[] = {
    {.path = "model.name",
     .slot = [](RunConfig& c) -> Slot { return &c.model.name; },
     .choices = "clip",
     .need = Need::Always,
     .resume = Resume::Fixed,
     .doc = "The architecture. The other keys of this section are the model's own."},
};

const Key kClip[] = {
    {.path = "model.image.size",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).image.size; },
     .range = {.low = 1, .high = 8192},
     .resume = Resume::Fixed,
     .doc = "Side of the square input in pixels."},
    {.path = "model.image.patch",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).image.patch; },
     .range = {.low = 1, .high = 8192},
     .resume = Resume::Fixed,
     .doc = "Side of a patch in pixels; divides model.image.size."},
    {.path = "model.image.channels",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).image.channels; },
     .range = {.low = 1, .high = 16},
     .resume = Resume::Fixed,
     .doc = "Channels of the input image."},
    {.path = "model.image.width",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).image.width; },
     .range = {.low = 1, .high = 65536},
     .resume = Resume::Fixed,
     .doc = "Width of the image tower."},
    {.path = "model.image.layers",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).image.layers; },
     .range = {.low = 1, .high = 1024},
     .resume = Resume::Fixed,
     .doc = "Transformer blocks of the image tower."},
    {.path = "model.image.heads",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).image.heads; },
     .range = {.low = 1, .high = 1024},
     .resume = Resume::Fixed,
     .doc = "Attention heads of the image tower; divides model.image.width."},
    {.path = "model.image.mlp",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).image.mlp; },
     .range = {.low = 0, .high = 1e6},
     .resume = Resume::Fixed,
     .doc = "Hidden width of a block's MLP; 0 means 4 times the width."},
    {.path = "model.text.vocabulary",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).text.vocabulary; },
     .range = {.low = 2, .high = 1e7},
     .resume = Resume::Fixed,
     .doc = "Token ids of the text tower; CLIP's tokenizer has 49408."},
    {.path = "model.text.context",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).text.context; },
     .range = {.low = 2, .high = 65536},
     .resume = Resume::Fixed,
     .doc = "Tokens of a caption, start and end included; as in the tokenize transform."},
    {.path = "model.text.width",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).text.width; },
     .range = {.low = 1, .high = 65536},
     .resume = Resume::Fixed,
     .doc = "Width of the text tower."},
    {.path = "model.text.layers",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).text.layers; },
     .range = {.low = 1, .high = 1024},
     .resume = Resume::Fixed,
     .doc = "Transformer blocks of the text tower."},
    {.path = "model.text.heads",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).text.heads; },
     .range = {.low = 1, .high = 1024},
     .resume = Resume::Fixed,
     .doc = "Attention heads of the text tower; divides model.text.width."},
    {.path = "model.text.mlp",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).text.mlp; },
     .range = {.low = 0, .high = 1e6},
     .resume = Resume::Fixed,
     .doc = "Hidden width of a block's MLP; 0 means 4 times the width."},
    {.path = "model.text.bos",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).text.bos; },
     .range = {.low = 0, .high = 1e7},
     .resume = Resume::Fixed,
     .doc = "Id of the token that starts a caption."},
    {.path = "model.text.eos",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).text.eos; },
     .range = {.low = 0, .high = 1e7},
     .resume = Resume::Fixed,
     .doc = "Id of the token that ends a caption; the text feature is read there."},
    {.path = "model.embed",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).embed; },
     .range = {.low = 1, .high = 65536},
     .resume = Resume::Fixed,
     .doc = "Width of the embedding that both towers share."},
    {.path = "model.activation",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).activation; },
     .choices = "quick_gelu|gelu",
     .resume = Resume::Fixed,
     .doc = "Activation of the MLPs: quick_gelu as in OpenAI's weights, gelu as in LAION's."},
    {.path = "model.temperature",
     .slot = [](RunConfig& c) -> Slot { return &clip(c).temperature; },
     .range = {.low = 0.01, .high = 100},
     .resume = Resume::Fixed,
     .doc = "Initial softmax temperature; its logarithm is learned, and never falls below that of 0.01."},
};

const Key kTrain[] = {
    {.path = "objective",
     .slot = [](RunConfig& c) -> Slot { return &c.objective; },
     .choices = "softmax_contrastive",
     .resume = Resume::Fixed,
     .doc = "The loss: softmax_contrastive is CLIP's, over the global batch."},
    {.path = "train.epochs",
     .slot = [](RunConfig& c) -> Slot { return &c.train.epochs; },
     .range = {.low = 1, .high = 1e9},
     .doc = "Passes over the training data. A resumed run may have more of them."},
    {.path = "train.seed",
     .slot = [](RunConfig& c) -> Slot { return &c.train.seed; },
     .range = at_least(0),
     .resume = Resume::Fixed,
     .doc = "Seed of the weights, the order of the samples and the augmentation."},
    {.path = "train.steps",
     .slot = [](RunConfig& c) -> Slot { return &c.train.steps; },
     .range = at_least(0),
     .doc = "Stop after this many steps in all; 0 means all epochs."},
    {.path = "train.threads",
     .slot = [](RunConfig& c) -> Slot { return &c.train.threads; },
     .range = {.low = 0, .high = 4096},
     .resume = Resume::Fixed,
     .doc =
         "Threads that compute in each rank; 0 means the machine's cores divided by the ranks, at least 1."},
    {.path = "train.optimizer.name",
     .slot = [](RunConfig& c) -> Slot { return &c.train.optimizer.name; },
     .choices = "adamw",
     .resume = Resume::Fixed,
     .doc = "The optimizer."},
    {.path = "train.optimizer.lr",
     .slot = [](RunConfig& c) -> Slot { return &c.train.optimizer.lr; },
     .range = positive(),
     .resume = Resume::Fixed,
     .doc = "Highest learning rate of the schedule."},
    {.path = "train.optimizer.weight_decay",
     .slot = [](RunConfig& c) -> Slot { return &c.train.optimizer.weight_decay; },
     .range = {.low = 0},
     .resume = Resume::Fixed,
     .doc = "Decoupled weight decay; gains, biases and the temperature have none."},
    {.path = "train.optimizer.beta1",
     .slot = [](RunConfig& c) -> Slot { return &c.train.optimizer.beta1; },
     .range = below_one(),
     .resume = Resume::Fixed,
     .doc = "Decay of the gradient's mean."},
    {.path = "train.optimizer.beta2",
     .slot = [](RunConfig& c) -> Slot { return &c.train.optimizer.beta2; },
     .range = below_one(),
     .resume = Resume::Fixed,
     .doc = "Decay of the squared gradient's mean."},
    {.path = "train.optimizer.eps",
     .slot = [](RunConfig& c) -> Slot { return &c.train.optimizer.eps; },
     .range = positive(),
     .resume = Resume::Fixed,
     .doc = "Added to the root of the squared gradient's mean."},
    {.path = "train.schedule.name",
     .slot = [](RunConfig& c) -> Slot { return &c.train.schedule.name; },
     .choices = "cosine",
     .resume = Resume::Fixed,
     .doc = "How the learning rate goes on after the warm-up: cosine falls to 0 at the last step."},
    {.path = "train.schedule.warmup",
     .slot = [](RunConfig& c) -> Slot { return &c.train.schedule.warmup; },
     .range = at_least(0),
     .resume = Resume::Fixed,
     .doc = "Steps over which the learning rate rises linearly from 0."},
};

const Key kOperation[] = {
    {.path = "parallel.ranks",
     .slot = [](RunConfig& c) -> Slot { return &c.parallel.ranks; },
     .range = {.low = 1, .high = 255},
     .resume = Resume::Fixed,
     .doc = "Processes that train together."},
    {.path = "parallel.backend",
     .slot = [](RunConfig& c) -> Slot { return &c.parallel.backend; },
     .choices = "auto|shared_memory",
     .doc = "What the ranks exchange data by."},
    {.path = "parallel.all_reduce",
     .slot = [](RunConfig& c) -> Slot { return &c.parallel.all_reduce; },
     .choices = "auto|ring",
     .resume = Resume::Fixed,
     .doc = "Algorithm that sums gradients over the ranks; it sets the order of the additions."},
    {.path = "parallel.deadline",
     .slot = [](RunConfig& c) -> Slot { return &c.parallel.deadline; },
     .range = {.low = 0, .high = 1e6, .low_open = true},
     .doc = "Seconds after which a collective that a peer does not join fails."},
    {.path = "checkpoint.every",
     .slot = [](RunConfig& c) -> Slot { return &c.checkpoint.every; },
     .range = {.low = 1, .high = 1e9},
     .doc = "Steps from one checkpoint to the next."},
    {.path = "checkpoint.keep",
     .slot = [](RunConfig& c) -> Slot { return &c.checkpoint.keep; },
     .range = {.low = 1, .high = 1e6},
     .doc = "Checkpoints kept; older ones are removed."},
    {.path = "evaluate.classes",
     .slot = [](RunConfig& c) -> Slot { return &c.evaluate.classes; },
     .doc = "One name per label of the evaluation data, in the order of the labels; needed with data.eval."},
    {.path = "evaluate.prompts",
     .slot = [](RunConfig& c) -> Slot { return &c.evaluate.prompts; },
     .doc =
         "Templates with {} for the class name; a class is the mean of its prompts. Needed with data.eval."},
};

std::string number_text(double value) {
  constexpr double kWithoutExponent = 1e15;
  const bool whole = value == std::floor(value) && std::fabs(value) < kWithoutExponent;
  char buffer[32];
  const auto format = whole ? std::chars_format::fixed : std::chars_format::general;
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value, format).ptr};
}

}  // namespace

std::string_view Key::section() const {
  const std::size_t dot = path.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : path.substr(0, dot);
}

std::string_view Key::last() const { return path.substr(path.rfind('.') + 1); }

std::vector<std::string> model_names() { return split_choices(kModel[0].choices); }

std::vector<Key> keys_for(std::string_view model) {
  std::vector<Key> keys;
  const auto add = [&](std::span<const Key> table) {
    for (const Key& key : table) keys.push_back(key);
  };
  add(kRun);
  add(kData);
  add(kTransforms);
  add(kModel);
  if (model == "clip") add(kClip);
  add(kTrain);
  add(kOperation);
  return keys;
}

std::vector<std::string> split_choices(std::string_view choices) {
  std::vector<std::string> names;
  while (!choices.empty()) {
    const std::size_t bar = choices.find('|');
    names.emplace_back(choices.substr(0, bar));
    choices = bar == std::string_view::npos ? std::string_view() : choices.substr(bar + 1);
  }
  return names;
}

std::string range_text(const Range& range) {
  const Range everything;
  std::string text;
  if (range.low != everything.low) text += (range.low_open ? "above " : "at least ") + number_text(range.low);
  const bool bounded = range.high != everything.high && range.high != kMost;
  if (bounded)
    text += (text.empty() ? "" : " and ") + std::string(range.high_open ? "below " : "at most ") +
            number_text(range.high);
  return text;
}

std::string type_text(const Key& key) {
  RunConfig sample;
  const auto with_range = [&](std::string type) {
    const std::string range = range_text(key.range);
    return range.empty() ? type : type + ", " + range;
  };
  struct Name {
    const Key& key;
    const decltype(with_range)& number;
    std::string operator()(std::int64_t*) const { return number("whole number"); }
    std::string operator()(double*) const { return number("number"); }
    std::string operator()(std::string*) const {
      if (key.shards) return "path";
      if (key.choices.empty()) return "text";
      std::string text;
      for (const std::string& choice : split_choices(key.choices))
        text += (text.empty() ? "" : " or ") + choice;
      return text;
    }
    std::string operator()(std::vector<std::string>*) const { return "list of texts"; }
    std::string operator()(std::vector<TransformCall>*) const { return "transforms"; }
  };
  return std::visit(Name{key, with_range}, key.slot(sample));
}

}  // namespace creel::pipeline::detail
