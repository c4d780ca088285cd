#pragma once

namespace creel::scheduler {

class ChannelBase;
template <typename T>
class Channel;
template <typename T>
class Flow;
class GraphRunner;
struct Hooks;
struct StageInfo;
struct StageOptions;
struct StageStats;
class StageWorker;
class TaskGraph;

}  // namespace creel::scheduler
