#include <creel/models/functional.hpp>
#include <creel/models/outputs.hpp>
#include <creel/models/zero_shot.hpp>
#include <creel/runtime/error.hpp>

#include <algorithm>
#include <vector>

namespace creel::models {
namespace {

constexpr std::string_view kPlace = "{}";

/// Unit embeddings of some texts, [texts, D].
at::Tensor embed_texts(const Model& model, const Tokenizer& tokenizer, const std::vector<std::string>& texts,
                       std::int64_t context) {
  std::vector<std::int64_t> ids;
  ids.reserve(texts.size() * static_cast<std::size_t>(context));
  for (const std::string& text : texts) {
    const std::vector<std::int64_t> row = tokenizer.encode(text, context);
    ids.insert(ids.end(), row.begin(), row.end());
  }
  const at::Tensor input =
      nn::view_of(ids.data(), {static_cast<std::int64_t>(texts.size()), context}, at::kLong);
  return model.forward({{names::input_ids, input}}).at(names::text_embeds);
}

}  // namespace

std::string fill_prompt(const std::string& prompt, const std::string& class_name) {
  std::string text = prompt;
  for (std::size_t at = text.find(kPlace); at != std::string::npos;
       at = text.find(kPlace, at + class_name.size())) {
    text.replace(at, kPlace.size(), class_name);
  }
  return text;
}

at::Tensor class_embeddings(const Model& model, const Tokenizer& tokenizer,
                            std::span<const std::string> classes, std::span<const std::string> templates,
                            std::int64_t context) {
  if (classes.empty() || templates.empty()) {
    throw Error("zero-shot classification needs evaluate.classes and evaluate.prompts", ErrorCode::Config);
  }
  const nn::NoGradGuard no_gradient;
  std::vector<at::Tensor> rows;
  rows.reserve(classes.size());
  for (const std::string& class_name : classes) {
    std::vector<std::string> texts;
    for (const std::string& prompt : templates) {
      if (prompt.find(kPlace) == std::string::npos) {
        throw Error("evaluate.prompts: '" + prompt + "' has no {} for the class name", ErrorCode::Config);
      }
      texts.push_back(fill_prompt(prompt, class_name));
    }
    rows.push_back(embed_texts(model, tokenizer, texts, context).mean(0));
  }
  return nn::l2_normalize(nn::stack(rows, 0));
}

}  // namespace creel::models
