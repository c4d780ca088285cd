#pragma once

#include "document.hpp"
#include "issues.hpp"
#include "keys.hpp"

#include <creel/pipeline/config/config_loader.hpp>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace creel::pipeline::detail {

/// Fills a RunConfig from a document by the tables of keys; what is wrong goes to the Issues.
class Reader {
 public:
  /// `source` is the document's text, for the places inside a value; `folder` that of relative paths.
  Reader(std::vector<Key> keys, std::string_view source, std::filesystem::path folder, Issues& issues,
         LoadedConfig& loaded);

  void read(const Node& root);

 private:
  void section(const Node& node, const std::string& path);
  void entry(const Entry& entry, const std::string& path, const std::string& section);
  void value(const Key& key, const Node& node);
  void fill(const Key& key, const Node& node, std::int64_t* slot);
  void fill(const Key& key, const Node& node, double* slot);
  void fill(const Key& key, const Node& node, std::string* slot);
  void fill(const Key& key, const Node& node, std::vector<std::string>* slot);
  void fill(const Key& key, const Node& node, std::vector<TransformCall>* slot);
  void report_unknown(const Entry& entry, const std::string& path, const std::string& section);
  void report_missing();
  Place place_inside(const Node& node, std::size_t offset) const;
  const Key* find(std::string_view path) const;
  bool is_section(std::string_view path) const;
  std::vector<std::string> names_in(std::string_view section) const;

  std::vector<Key> keys_;
  std::string_view source_;
  std::filesystem::path folder_;
  Issues& issues_;
  LoadedConfig& loaded_;
};

}  // namespace creel::pipeline::detail
