#include <creel/pipeline/data/transform_registry.hpp>

#include <algorithm>

namespace creel::pipeline {
namespace {

/// tokenize(bpe, context): caption → input_ids i64 [context], start and end included, cut or padded. The
/// caption stays.
class Tokenize final : public Transform {
 public:
  explicit Tokenize(std::int64_t context) : context_(context) {}

  std::string_view needs() const noexcept override { return "caption"; }
  std::string_view makes() const noexcept override { return "input_ids"; }

  void prepare(TransformResources& resources) override {
    if (!resources.tokenizer)
      resources.tokenizer = models::load_clip_merges(models::default_bpe_vocabulary());
    tokenizer_ = resources.tokenizer;
  }

  std::optional<Failure> apply(Sample& sample, RandomStream&, Scratch&) const override {
    const auto* const caption = sample.get<std::string>("caption");
    if (caption == nullptr) return Failure{ErrorCode::Data, "the sample has no caption"};
    const std::vector<std::int64_t> ids = tokenizer_->encode(*caption, context_);
    HostTensor input_ids(ElementType::I64, {context_});
    std::copy(ids.begin(), ids.end(), input_ids.values<std::int64_t>().begin());
    sample.set("input_ids", std::move(input_ids));
    return std::nullopt;
  }

 private:
  std::int64_t context_;
  std::shared_ptr<const models::Tokenizer> tokenizer_;
};

}  // namespace

void register_tokenize(TransformRegistry& registry);
void register_tokenize(TransformRegistry& registry) {
  registry.add("tokenize", [](ArgumentReader& arguments) {
    arguments.word("tokenizer", {"bpe"});
    return std::make_unique<Tokenize>(arguments.integer("context", 2, 100000));
  });
}

}  // namespace creel::pipeline
