#include "thread_dump_names.hpp"

#include <creel/runtime/thread_dump.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <string>

// The keys of the JDK's Thread.dump_to_file come first, with numbers as strings as JDK 21 to 25 write them;
// those that only creel has follow, as plain numbers.

namespace creel {
namespace {

using Json = nlohmann::ordered_json;

std::string container_name(const ContainerInfo& container) {
  return (container.name.empty() ? "" : container.name + "/") + std::string(container.type) + "@" +
         std::to_string(container.id);
}

void add_wait(Json& json, const WaitInfo& wait) {
  const bool has_object = wait.on.address != 0;
  Json details;
  switch (wait.kind) {
    case WaitKind::MonitorEnter:
      json["blockedOn"] = detail::object_text(wait.on);
      break;
    case WaitKind::MonitorWait:
    case WaitKind::Joining:
      json["waitingOn"] = detail::object_text(wait.on);
      break;
    default:
      if (!has_object) break;
      json["parkBlocker"]["object"] = detail::object_text(wait.on);
      if (wait.on.owner != 0) json["parkBlocker"]["owner"] = std::to_string(wait.on.owner);
  }
  details["timed"] = wait.timed;
  details["seconds"] = wait.seconds;
  if (!wait.on.type.empty()) details["type"] = wait.on.type;
  if (!wait.on.name.empty()) details["name"] = wait.on.name;
  if (wait.on.owner != 0) {
    details["owner"] = std::to_string(wait.on.owner);
    details["ownerName"] = wait.on.owner_name;
    if (wait.on.owner_pid != 0) details["ownerProcess"] = std::to_string(wait.on.owner_pid);
  }
  json["wait"] = std::move(details);
}

void add_locks(Json& json, const ThreadInfo& thread) {
  std::map<int, Json> monitors;
  Json synchronizers = Json::array();
  for (const HeldLockInfo& held : thread.held) {
    if (held.monitor) {
      monitors[held.depth].push_back(detail::object_text(held.lock));
    } else {
      synchronizers.push_back(detail::object_text(held.lock));
    }
  }
  for (auto& [depth, locks] : monitors) {
    json["monitorsOwned"].push_back({{"depth", std::max(depth, 0)}, {"locks", std::move(locks)}});
  }
  if (!synchronizers.empty()) json["synchronizersOwned"] = std::move(synchronizers);
}

Json thread_json(const ThreadInfo& thread, const std::string& time) {
  Json json;
  json["tid"] = std::to_string(thread.id);
  json["time"] = time;
  if (thread.is_virtual) json["virtual"] = true;
  json["name"] = thread.name;
  json["state"] = to_string(thread.state);
  if (thread.wait) add_wait(json, *thread.wait);
  Json& stack = json["stack"] = Json::array();
  for (const StackFrame* frame : thread.stack) stack.push_back(frame->text);
  add_locks(json, thread);
  if (thread.carrier != 0) json["carrier"] = std::to_string(thread.carrier);
  if (thread.pinned_s >= 0) {
    json["pinnedSeconds"] = thread.pinned_s;
    json["pinnedBy"] = thread.pinned_by.empty() ? "foreign wait" : thread.pinned_by;
  }
  if (!thread.activity.empty()) json["activity"] = thread.activity;
  for (const ScopedValueInfo& each : thread.scoped_values)
    json["scopedValues"].push_back({{"name", each.name}, {"value", each.value}});
  if (thread.foreign) json["foreign"] = true;
  if (thread.os_tid != 0) json["osThreadId"] = thread.os_tid;
  if (thread.program_counter != 0) json["programCounter"] = thread.program_counter;
  if (thread.cpu_ms >= 0) json["cpuMillis"] = thread.cpu_ms;
  json["elapsedSeconds"] = thread.elapsed_s;
  json["daemon"] = thread.daemon;
  json["priority"] = thread.priority;
  if (thread.stack_figures) {
    json["stackMemory"] = {{"reserved", thread.stack_figures->reserved},
                           {"committed", thread.stack_figures->committed},
                           {"highWater", thread.stack_figures->high_water},
                           {"guard", thread.stack_figures->guard}};
  }
  json["blockedCount"] = thread.blocked_count;
  json["blockedMillis"] = thread.blocked_ms;
  json["waitedCount"] = thread.waited_count;
  if (!thread.stack_missing.empty()) json["stackMissing"] = thread.stack_missing;
  if (thread.stack_cut) json["stackCut"] = true;
  return json;
}

Json deadlock_json(const Deadlock& deadlock) {
  Json threads = Json::array();
  for (const DeadlockedThread& each : deadlock.threads) {
    Json thread;
    thread["tid"] = std::to_string(each.id);
    thread["name"] = each.name;
    thread["waitsFor"] = detail::object_text(each.lock);
    if (each.lock.owner != 0) thread["owner"] = std::to_string(each.lock.owner);
    if (!each.wakers.empty()) thread["servedBy"] = each.wakers;
    threads.push_back(std::move(thread));
  }
  return threads;
}

}  // namespace

std::string ThreadDump::to_json() const {
  const std::string time = detail::instant_text(time_);
  std::map<std::uint64_t, Json> threads;
  for (const ThreadInfo& thread : threads_) threads[thread.container].push_back(thread_json(thread, time));
  std::map<std::uint64_t, std::string> names{{0, "<root>"}};
  for (const ContainerInfo& container : containers_) names.emplace(container.id, container_name(container));

  Json list = Json::array();
  const auto add = [&](std::uint64_t id, Json parent, Json owner) {
    Json json;
    Json& own = threads[id];
    json["container"] = names[id];
    json["parent"] = std::move(parent);
    json["owner"] = std::move(owner);
    json["threadCount"] = std::to_string(own.size());
    json["threads"] = own.is_null() ? Json::array() : std::move(own);
    list.push_back(std::move(json));
  };
  add(0, nullptr, nullptr);
  for (const ContainerInfo& container : containers_) {
    add(container.id, names.count(container.parent) != 0 ? names[container.parent] : names[0],
        std::to_string(container.owner));
  }
  Json whole;
  Json& dump = whole["threadDump"];
  dump["processId"] = std::to_string(pid_);
  dump["time"] = time;
  dump["runtimeVersion"] = "creel " CREEL_VERSION;
  dump["threadContainers"] = std::move(list);
  dump["deadlocks"] = Json::array();
  for (const Deadlock& deadlock : deadlocks_) dump["deadlocks"].push_back(deadlock_json(deadlock));
  // Names and activities are the user's: bytes that are no UTF-8 must not cost the dump.
  return whole.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace creel
