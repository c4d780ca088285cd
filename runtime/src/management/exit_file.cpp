#include "exit_file.hpp"

#include <unistd.h>

#include <cstdlib>
#include <map>
#include <mutex>

namespace creel::detail {
namespace {

struct Files {
  std::mutex lock;
  std::map<std::string, pid_t> owners;
};

Files& files() noexcept {
  static Files* const all = [] {
    std::atexit([] {
      Files& left = files();
      if (!left.lock.try_lock()) return;  // exit() from within: the owner is removing them
      for (const auto& [path, owner] : left.owners) {
        if (owner == ::getpid()) ::unlink(path.c_str());
      }
      left.lock.unlock();
    });
    return new Files;  // never freed: used by the handler above
  }();
  return *all;
}

}  // namespace

ExitFile::ExitFile(std::string path) { set(std::move(path)); }

void ExitFile::set(std::string path) {
  remove();
  Files& all = files();
  const std::lock_guard guard{all.lock};
  all.owners[path] = ::getpid();
  path_ = std::move(path);
}

void ExitFile::remove() noexcept {
  if (path_.empty()) return;
  Files& all = files();
  const std::lock_guard guard{all.lock};
  const auto found = all.owners.find(path_);
  if (found != all.owners.end() && found->second == ::getpid()) ::unlink(path_.c_str());
  if (found != all.owners.end()) all.owners.erase(found);
  path_.clear();
}

}  // namespace creel::detail
