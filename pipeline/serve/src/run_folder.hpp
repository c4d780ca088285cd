#pragma once

#include <creel/models/model.hpp>
#include <creel/models/tokenizer.hpp>
#include <creel/pipeline/config/run_config.hpp>

#include <filesystem>
#include <memory>

namespace creel::pipeline {

/// What a finished run leaves behind, read and checked.
struct RunFolder {
  RunConfig config;
  std::shared_ptr<const models::Tokenizer> tokenizer;
  std::unique_ptr<const models::Model> model;
};

/// Throws Error that names the file: Missing if it is not there, Data if what it holds cannot be used.
RunFolder read_run_folder(const std::filesystem::path& run_dir);

}  // namespace creel::pipeline
