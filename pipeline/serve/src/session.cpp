#include "run_folder.hpp"

#include <creel/models/execution.hpp>
#include <creel/models/functional.hpp>
#include <creel/models/outputs.hpp>
#include <creel/models/zero_shot.hpp>
#include <creel/pipeline/data/transform.hpp>
#include <creel/pipeline/serve/base64.hpp>
#include <creel/pipeline/serve/session.hpp>
#include <creel/runtime/error.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

namespace creel::pipeline {
namespace {

namespace names = models::names;
using at::Tensor;

// Rows that go through the model together: bounds the memory of a request and how long it goes on after stop.
constexpr std::int64_t kChunk = 64;

constexpr char kImage[] = "image";
constexpr char kText[] = "text";
constexpr char kProbabilities[] = "probabilities";

// A PNG of one grey pixel.
constexpr char kProbe[] =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAA"
    "AACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg==";

struct BadInput {
  std::string message;
};

std::string element(const char* input, std::int64_t row) {
  return "input \"" + std::string(input) + "\": data[" + std::to_string(row) + "] ";
}

Bytes to_bytes(std::string_view text) {
  Bytes bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

std::vector<TransformCall> without_tokenize(std::vector<TransformCall> calls) {
  std::erase_if(calls, [](const TransformCall& call) { return call.name == "tokenize"; });
  return calls;
}

void check_running(const std::stop_token& stop) {
  if (stop.stop_requested()) throw CancelledError("the server is stopping");
}

InferTensor to_infer_tensor(const char* name, const Tensor& tensor) {
  const Tensor dense = tensor.contiguous();
  const float* const first = dense.const_data_ptr<float>();
  return {.name = name,
          .shape = dense.sizes().vec(),
          .data = std::vector<float>(first, first + dense.numel()),
          .content_type = {}};
}

}  // namespace

class Session::State {
 public:
  explicit State(const std::filesystem::path& run_dir);

  Result<std::vector<InferTensor>> infer(const InferRequest& request, const std::stop_token& stop) const;

  RunFolder run;
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;

 private:
  Tensor images(const InferRequest& request, const std::stop_token& stop) const;
  Tensor texts(const InferRequest& request, const std::stop_token& stop) const;
  Tensor embed_images(std::int64_t rows, const std::stop_token& stop, const auto& fill) const;
  void decode_image(const InferTensor& images, std::int64_t row, float* pixels, Scratch& scratch) const;
  void check_ids(const std::vector<std::int64_t>& ids) const;
  std::string text_at(const InferTensor& texts, std::size_t row) const;
  void warm_up();

  models::ClipSpec clip_;
  TransformChain image_transforms_;
  Tensor class_embeddings_;  ///< [classes, D]; undefined if the run has none
  double scale_ = 1;         ///< exp(logit_scale)
};

Session::State::State(const std::filesystem::path& run_dir)
    : run(read_run_folder(run_dir)),
      clip_(std::get<models::ClipSpec>(run.model->spec().options)),
      image_transforms_(without_tokenize(run.config.eval_transforms), {.tokenizer = run.tokenizer},
                        (run_dir / "config.yaml").string()) {
  const models::ClipImageSpec& image = clip_.image;
  inputs = {{kImage, Datatype::Binary, {-1}},
            {names::pixel_values, Datatype::Fp32, {-1, image.channels, image.size, image.size}},
            {kText, Datatype::Binary, {-1}},
            {names::input_ids, Datatype::Int64, {-1, clip_.text.context}}};
  outputs = {{names::image_embeds, Datatype::Fp32, {-1, clip_.embed}},
             {names::text_embeds, Datatype::Fp32, {-1, clip_.embed}},
             {names::logits_per_image, Datatype::Fp32, {-1, -1}},
             {kProbabilities, Datatype::Fp32, {-1, -1}}};
  warm_up();
}

/// One pass through everything that a request goes through: what is wrong with the run shows now, and the
/// first client does not wait for LibTorch to set itself up.
void Session::State::warm_up() {
  const nn::NoGradGuard no_gradient;
  const models::ClipImageSpec& image = clip_.image;
  Tensor pixels = nn::empty({1, image.channels, image.size, image.size});
  Scratch scratch;
  try {
    decode_image({kImage, {1}, std::vector<std::string>{kProbe}, {}}, 0, pixels.mutable_data_ptr<float>(),
                 scratch);
  } catch (const BadInput& bad) {
    throw Error("the run's evaluation transforms refuse a PNG: " + bad.message, ErrorCode::Data);
  }
  const nn::Outputs outcome = run.model->forward({{names::pixel_values, pixels}});
  scale_ = std::exp(outcome.at(names::logit_scale).item<double>());
  const EvaluateConfig& evaluate = run.config.evaluate;
  if (!evaluate.classes.empty()) {
    class_embeddings_ = models::class_embeddings(*run.model, *run.tokenizer, evaluate.classes,
                                                 evaluate.prompts, clip_.text.context);
  }
  const double checksum = outcome.at(names::image_embeds).sum().item<double>() +
                          (class_embeddings_.defined() ? class_embeddings_.sum().item<double>() : 0.0);
  if (!std::isfinite(checksum * scale_)) {
    throw Error("model.safetensors: the model answers values that are not finite; train it again",
                ErrorCode::Data);
  }
}

void Session::State::decode_image(const InferTensor& images, std::int64_t row, float* pixels,
                                  Scratch& scratch) const {
  const std::optional<std::string> file =
      decode_base64(std::get<std::vector<std::string>>(images.data)[static_cast<std::size_t>(row)]);
  if (!file) throw BadInput{element(kImage, row) + "is not base64; send the bytes of a PNG file in base64"};
  Sample sample{.key = element(kImage, row), .index = row, .epoch = 0, .fields = {}};
  sample.set("png", to_bytes(*file));
  if (const std::optional<Failure> failure = image_transforms_.apply(sample, /*seed=*/0, scratch)) {
    throw BadInput{element(kImage, row) + "is not an image that can be used: " + failure->message};
  }
  const auto* const ready = sample.get<HostTensor>(names::pixel_values);
  const models::ClipImageSpec& image = clip_.image;
  if (ready == nullptr ||
      ready->shape() != std::vector<std::int64_t>{image.channels, image.size, image.size}) {
    throw Error(
        "config.yaml: the evaluation transforms do not make the pixel_values that the model of "
        "config.json takes; both must come from one run",
        ErrorCode::Data);
  }
  const std::span<const float> values = ready->values<float>();
  std::copy(values.begin(), values.end(), pixels);
}

/// `fill(row, pixels)` writes one image; [rows, D].
Tensor Session::State::embed_images(std::int64_t rows, const std::stop_token& stop, const auto& fill) const {
  const models::ClipImageSpec& image = clip_.image;
  const std::int64_t stride = image.channels * image.size * image.size;
  std::vector<Tensor> parts;
  for (std::int64_t first = 0; first < rows; first += kChunk) {
    const std::int64_t count = std::min(kChunk, rows - first);
    const Tensor pixels = nn::empty({count, image.channels, image.size, image.size});
    for (std::int64_t i = 0; i < count; ++i) {
      check_running(stop);
      fill(first + i, pixels.mutable_data_ptr<float>() + i * stride);
    }
    parts.push_back(run.model->forward({{names::pixel_values, pixels}}).at(names::image_embeds));
  }
  return nn::cat(parts, 0);
}

/// Embeddings of the request's images; undefined if it has none.
Tensor Session::State::images(const InferRequest& request, const std::stop_token& stop) const {
  const InferTensor* const files = request.input(kImage);
  const InferTensor* const pixels = request.input(names::pixel_values);
  if (files != nullptr && pixels != nullptr) {
    throw BadInput{"image and pixel_values are both given; they say the same, give one of them"};
  }
  if (files != nullptr) {
    Scratch scratch;
    return embed_images(files->rows(), stop,
                        [&](std::int64_t row, float* to) { decode_image(*files, row, to, scratch); });
  }
  if (pixels == nullptr) return {};
  const std::vector<float>& values = std::get<std::vector<float>>(pixels->data);
  const std::size_t stride = values.size() / static_cast<std::size_t>(pixels->rows());
  return embed_images(pixels->rows(), stop, [&](std::int64_t row, float* to) {
    std::copy_n(values.data() + static_cast<std::size_t>(row) * stride, stride, to);
  });
}

/// The text itself, or what its base64 stands for where the client says so.
std::string Session::State::text_at(const InferTensor& texts, std::size_t row) const {
  const std::string& text = std::get<std::vector<std::string>>(texts.data)[row];
  if (texts.content_type != "base64") return text;
  std::optional<std::string> decoded = decode_base64(text);
  if (!decoded) {
    throw BadInput{element(kText, static_cast<std::int64_t>(row)) +
                   "is not base64, as its content_type says"};
  }
  return *std::move(decoded);
}

void Session::State::check_ids(const std::vector<std::int64_t>& ids) const {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < clip_.text.vocabulary) continue;
    throw BadInput{element(names::input_ids, static_cast<std::int64_t>(i)) + "is " + std::to_string(ids[i]) +
                   "; token ids are 0 to " + std::to_string(clip_.text.vocabulary - 1)};
  }
}

/// Embeddings of the request's texts; undefined if it has none.
Tensor Session::State::texts(const InferRequest& request, const std::stop_token& stop) const {
  const InferTensor* const written = request.input(kText);
  const InferTensor* const tokens = request.input(names::input_ids);
  if (written != nullptr && tokens != nullptr) {
    throw BadInput{"text and input_ids are both given; they say the same, give one of them"};
  }
  if (written == nullptr && tokens == nullptr) return {};
  const std::int64_t rows = (written != nullptr ? written : tokens)->rows();
  const std::int64_t context = clip_.text.context;
  std::vector<std::int64_t> ids;
  if (tokens != nullptr) {
    ids = std::get<std::vector<std::int64_t>>(tokens->data);
    check_ids(ids);
  }
  for (std::int64_t row = 0; written != nullptr && row < rows; ++row) {
    check_running(stop);
    const std::vector<std::int64_t> encoded =
        run.tokenizer->encode(text_at(*written, static_cast<std::size_t>(row)), context);
    ids.insert(ids.end(), encoded.begin(), encoded.end());
  }
  std::vector<Tensor> parts;
  for (std::int64_t first = 0; first < rows; first += kChunk) {
    check_running(stop);
    const Tensor chunk =
        nn::view_of(ids.data() + first * context, {std::min(kChunk, rows - first), context}, at::kLong);
    parts.push_back(run.model->forward({{names::input_ids, chunk}}).at(names::text_embeds));
  }
  return nn::cat(parts, 0);
}

Result<std::vector<InferTensor>> Session::State::infer(const InferRequest& request,
                                                       const std::stop_token& stop) const {
  const nn::NoGradGuard no_gradient;
  try {
    const Tensor image = images(request, stop);
    const Tensor text = texts(request, stop);
    nn::TensorMap made;
    if (image.defined()) made.set(names::image_embeds, image);
    if (text.defined()) made.set(names::text_embeds, text);
    const Tensor& against = text.defined() ? text : class_embeddings_;
    if (image.defined() && against.defined()) {
      const Tensor logits = nn::linear(image, against).mul(scale_);
      made.set(names::logits_per_image, logits);
      made.set(kProbabilities, logits.softmax(1));
    }
    std::vector<InferTensor> answer;
    for (const TensorSpec& spec : outputs) {
      const bool asked = std::ranges::find(request.outputs, spec.name) != request.outputs.end();
      const Tensor tensor = made.find(spec.name);
      if (asked && !tensor.defined()) {
        const bool image_missing = !image.defined() && spec.name != names::text_embeds;
        throw BadInput{"output \"" + spec.name + "\" needs " +
                       (image_missing ? "image or pixel_values" : "text or input_ids") + " among the inputs"};
      }
      if (tensor.defined() && (asked || request.outputs.empty())) {
        answer.push_back(to_infer_tensor(spec.name.c_str(), tensor));
      }
    }
    return answer;
  } catch (BadInput& bad) {
    return Failure{ErrorCode::Data, std::move(bad.message)};
  }
}

Session::Session(const std::filesystem::path& run_dir) : state_(std::make_unique<const State>(run_dir)) {}
Session::~Session() = default;

const std::string& Session::name() const noexcept { return state_->run.config.name; }
std::span<const TensorSpec> Session::inputs() const noexcept { return state_->inputs; }
std::span<const TensorSpec> Session::outputs() const noexcept { return state_->outputs; }
std::span<const std::string> Session::classes() const noexcept { return state_->run.config.evaluate.classes; }

/// Several requests are computed at once, each on one core: an operation's own team of threads would only
/// compete.
void Session::enter_thread() const { nn::set_intra_op_threads(1); }

Result<std::vector<InferTensor>> Session::infer(const InferRequest& request, std::stop_token stop) const {
  return state_->infer(request, stop);
}

}  // namespace creel::pipeline
