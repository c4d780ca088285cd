#include "tar_index.hpp"

#include <creel/pipeline/config/shard_pattern.hpp>
#include <creel/pipeline/data/source.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <fcntl.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <string_view>

namespace creel::pipeline {
namespace {

/// WebDataset shards: tar archives in which files that follow each other and share a path up to the first dot
/// of its last part are the fields of one sample, named by what comes after the dot. Source: the WebDataset
/// format, https://github.com/webdataset/webdataset.
class TarShards final : public Source {
 public:
  explicit TarShards(const std::string& pattern) {
    for (const std::string& path : expand_shards(pattern)) open(path);
    if (samples_.empty()) throw Error(pattern + ": no samples in these archives", ErrorCode::Data);
  }

  std::int64_t size() const noexcept override { return static_cast<std::int64_t>(samples_.size()); }

  std::string key(std::int64_t index) const override {
    const Entry& entry = samples_[static_cast<std::size_t>(index)];
    return entry.name + " of " + shards_[entry.shard].name;
  }

  Result<Sample> read(std::int64_t index) const override {
    const Entry& entry = samples_[static_cast<std::size_t>(index)];
    const Shard& shard = shards_[entry.shard];
    Sample sample;
    sample.key = key(index);
    sample.index = index;
    for (std::size_t i = entry.first_field; i < entry.end_field; ++i) {
      const Field& field = fields_[i];
      Bytes bytes(field.size);
      if (!detail::read_exactly(shard.fd.get(), shard.path, field.offset, bytes.data(), bytes.size())) {
        return Failure{ErrorCode::Data, "the archive has become shorter than it was when the run began"};
      }
      sample.fields.emplace_back(extensions_[field.extension], std::move(bytes));
    }
    return sample;
  }

 private:
  struct Shard {
    std::string path;
    std::string name;  // last part of path
    UniqueFd fd;
  };
  struct Field {
    std::uint64_t offset;
    std::uint64_t size;
    std::size_t extension;
  };
  struct Entry {
    std::string name;
    std::size_t shard;
    std::size_t first_field;
    std::size_t end_field;
  };

  void open(const std::string& path) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd && errno == ENOENT) throw Error(path + ": no such file", ErrorCode::Missing);
    if (!fd) throw IoError("open", path, errno);
    const std::vector<detail::TarMember> members = detail::read_tar_index(fd.get(), path);
    shards_.push_back({.path = path, .name = std::filesystem::path(path).filename(), .fd = std::move(fd)});
    std::string_view open_stem;
    for (const detail::TarMember& member : members) add(member, open_stem);
  }

  void add(const detail::TarMember& member, std::string_view& open_stem) {
    const std::string_view path = member.path;
    const std::size_t slash = path.rfind('/');
    const std::string_view last = slash == std::string_view::npos ? path : path.substr(slash + 1);
    const std::size_t dot = last.find('.');
    // Hidden files and files without an extension are no fields; "__key__" and its like are WebDataset's own.
    if (dot == 0 || dot == std::string_view::npos || last.starts_with("__")) return;
    const std::string_view stem = path.substr(0, path.size() - (last.size() - dot));
    if (stem != open_stem) {
      open_stem = stem;
      samples_.push_back({.name = std::string(last.substr(0, dot)),
                          .shard = shards_.size() - 1,
                          .first_field = fields_.size(),
                          .end_field = fields_.size()});
    }
    Entry& entry = samples_.back();
    const std::size_t extension = extension_of(last.substr(dot + 1));
    for (std::size_t i = entry.first_field; i < entry.end_field; ++i) {
      if (fields_[i].extension == extension) {
        throw Error(
            shards_.back().path + ": sample " + entry.name + " has two fields ." + extensions_[extension],
            ErrorCode::Data);
      }
    }
    fields_.push_back({.offset = member.offset, .size = member.size, .extension = extension});
    entry.end_field = fields_.size();
  }

  std::size_t extension_of(std::string_view text) {
    std::string lower(text);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const auto found = std::find(extensions_.begin(), extensions_.end(), lower);
    if (found != extensions_.end()) return static_cast<std::size_t>(found - extensions_.begin());
    extensions_.push_back(std::move(lower));
    return extensions_.size() - 1;
  }

  std::vector<Shard> shards_;
  std::vector<Entry> samples_;
  std::vector<Field> fields_;
  std::vector<std::string> extensions_;
};

}  // namespace

void register_tar_shards(SourceRegistry& registry);
void register_tar_shards(SourceRegistry& registry) {
  registry.add("tar_shards", [](const std::string& path) { return std::make_unique<TarShards>(path); });
}

}  // namespace creel::pipeline
