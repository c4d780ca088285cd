#include "thread_dump_scopes.hpp"

#include <map>
#include <string_view>

// A section that no JVM has. No line begins with a quote, by which readers of Java dumps find the threads.

namespace creel::detail {
namespace {

constexpr std::string_view kScopeType = "creel::TaskScope";
constexpr std::size_t kThreadsShown = 8;

class ScopeTree {
 public:
  ScopeTree(const ThreadDump& dump, std::string& out) : out_(out) {
    for (const ContainerInfo& container : dump.containers()) {
      if (container.type == kScopeType) scopes_.emplace(container.id, &container);
    }
    if (scopes_.empty()) return;
    for (const auto& [id, scope] : scopes_) {
      // Inside another scope, or at the top: under the root, or in an executor.
      children_[scopes_.count(scope->parent) != 0 ? scope->parent : 0].push_back(scope);
    }
    for (const ThreadInfo& thread : dump.threads()) {
      names_.emplace(thread.id, &thread.name);
      if (scopes_.count(thread.container) != 0) threads_[thread.container].push_back(&thread);
    }
  }

  void write() {
    if (scopes_.empty()) return;
    out_ += "Task scopes:\n";
    write_children(0, "");
    out_ += "\n";
  }

 private:
  void write_children(std::uint64_t parent, const std::string& indent) {
    for (const ContainerInfo* scope : children_[parent]) {
      out_ += indent + "- ";
      write_scope(*scope);
      write_children(scope->id, indent + "  ");
    }
  }

  void write_scope(const ContainerInfo& scope) {
    out_ += "scope ";
    if (!scope.name.empty()) out_ += "\"" + scope.name + "\" ";
    out_ += "<" + std::to_string(scope.id) + ">, opened by ";
    if (const auto owner = names_.find(scope.owner); owner != names_.end())
      out_ += "\"" + *owner->second + "\" ";
    const auto& threads = threads_[scope.id];
    out_ += "#" + std::to_string(scope.owner) + ", " + std::to_string(threads.size()) +
            (threads.size() == 1 ? " thread" : " threads");
    for (std::size_t i = 0; i < threads.size() && i < kThreadsShown; ++i) {
      out_ += i == 0 ? ": " : ", ";
      if (!threads[i]->name.empty()) out_ += "\"" + threads[i]->name + "\" ";
      out_ += "#" + std::to_string(threads[i]->id);
    }
    if (threads.size() > kThreadsShown)
      out_ += " and " + std::to_string(threads.size() - kThreadsShown) + " more";
    out_ += "\n";
  }

  std::string& out_;
  std::map<std::uint64_t, const ContainerInfo*> scopes_;
  std::map<std::uint64_t, std::vector<const ContainerInfo*>> children_;
  std::map<std::uint64_t, std::vector<const ThreadInfo*>> threads_;
  std::map<std::uint64_t, const std::string*> names_;
};

}  // namespace

void append_task_scopes(const ThreadDump& dump, std::string& out) { ScopeTree(dump, out).write(); }

}  // namespace creel::detail
