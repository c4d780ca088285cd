#pragma once

#include <creel/runtime/result.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/scheduler/channel.hpp>
#include <creel/scheduler/hooks.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

// What a stage is, and the four kinds there are. A stage knows its own code, the channels at its two ends and
// nothing else: neither its neighbours nor the threads that run it. Graphs are made with TaskGraph; this
// header is for those who write a kind of stage.

namespace creel::scheduler {

/// Counts of one worker, written by it alone and read by anyone at any time: each has a cache line of its
/// own.
struct alignas(64) WorkerMeter {
  std::atomic<std::uint64_t> items{0};
  std::atomic<std::uint64_t> dropped{0};
  std::atomic<std::int64_t> busy_ns{0};
  std::atomic<std::int64_t> busy_since{0};  ///< steady clock, ns; 0: not busy
};

/// One worker of a stage, as the stage's code sees it: counts and times its items and says in dumps which it
/// is at.
class StageWorker {
 public:
  StageWorker(const StageInfo& info, WorkerMeter& meter, const Hooks& hooks);

  const StageInfo& info() const noexcept { return info_; }

  /// The stage's own code begins on an item: `stage decode, item 000123 of train-000000.tar`.
  void begin(const std::string& item);
  void begin(std::uint64_t number);
  /// It is done with the item, which stays in the dump until rest(): it may have to wait for room.
  void end() noexcept;
  void rest() noexcept;
  /// The item came to nothing and is left out. Throws what the hook throws.
  void drop(const std::string& item, const Failure& failure);

 private:
  void start_clock() noexcept;

  const StageInfo& info_;
  WorkerMeter& meter_;
  const Hooks& hooks_;
  std::string idle_text_;
  std::string text_;  // kept between items for its memory
  Activity activity_;
};

/// A stage of one run, with its channels. One object serves all its workers.
class Stage {
 public:
  virtual ~Stage() = default;
  /// The body of one worker: returns when the input has ended or the output takes no more.
  virtual void work(StageWorker& worker) = 0;
  /// The last worker has ended well.
  virtual void close() noexcept = 0;
};

/// Names an item in dumps and logs; without one it is `#17`, its number in the stage.
template <typename T>
using ItemName = std::function<std::string(const T&)>;

template <typename T>
std::string name_of(const ItemName<T>& name, const T& item, std::uint64_t number) {
  return name ? name(item) : "#" + std::to_string(number);
}

/// Makes items: `std::optional<T> body()` until nullopt. One worker.
template <typename T, typename Body>
class SourceStage final : public Stage {
 public:
  SourceStage(Body body, std::shared_ptr<Channel<T>> out) : body_(std::move(body)), out_(std::move(out)) {}

  void work(StageWorker& worker) override {
    for (std::uint64_t number = 0;; ++number) {
      worker.begin(number);
      std::optional<T> item = body_();
      if (!item) return worker.rest();
      worker.end();
      if (!out_->put(std::move(*item))) return;
    }
  }
  void close() noexcept override { out_->close(); }

 private:
  Body body_;
  std::shared_ptr<Channel<T>> out_;
};

/// One item in, one out: `Out body(In)`, or `Result<Out> body(In)` whose Failure drops the item. Any number
/// of workers, each with a copy of the body; results leave in the order in which the items came.
template <typename In, typename Out, typename Body>
class MapStage final : public Stage {
 public:
  MapStage(Body body, ItemName<In> name, std::shared_ptr<Channel<In>> in, std::shared_ptr<Channel<Out>> out)
      : body_(std::move(body)), name_(std::move(name)), in_(std::move(in)), out_(std::move(out)) {}

  void work(StageWorker& worker) override {
    Body body = body_;
    while (std::optional<typename Channel<In>::Numbered> item = in_->take_numbered()) {
      const std::uint64_t number = item->sequence;
      const std::string name = name_of(name_, item->value, number);
      worker.begin(name);
      auto result = body(std::move(item->value));
      worker.end();
      if (!pass(worker, name, number, std::move(result))) return;
      worker.rest();
    }
  }
  void close() noexcept override { out_->close(); }

 private:
  bool pass(StageWorker&, const std::string&, std::uint64_t number, Out&& value) {
    return out_->put_at(number, std::move(value));
  }
  bool pass(StageWorker& worker, const std::string& name, std::uint64_t number, Result<Out>&& result) {
    if (result) return out_->put_at(number, *std::move(result));
    worker.drop(name, result.failure());
    return out_->skip_at(number);
  }

  const Body body_;
  const ItemName<In> name_;
  std::shared_ptr<Channel<In>> in_;
  std::shared_ptr<Channel<Out>> out_;
};

/// Where an aggregate stage puts what it makes.
template <typename Out>
class Emitter {
 public:
  Emitter(Channel<Out>& out, StageWorker& worker) : out_(out), worker_(worker) {}
  /// False: nothing more is wanted. Waits for room; that time does not count as busy.
  bool operator()(Out value) {
    worker_.end();
    open_ = out_.put(std::move(value)) && open_;
    return open_;
  }
  bool open() const noexcept { return open_; }

 private:
  Channel<Out>& out_;
  StageWorker& worker_;
  bool open_ = true;
};

/// Many in, some out: `void body(In, Emitter<Out>&)` for each item in order, `void finish(Emitter<Out>&)`
/// after the last. One worker. The code should emit last, since the stage's clock stops there.
template <typename In, typename Out, typename Body, typename Finish>
class AggregateStage final : public Stage {
 public:
  AggregateStage(Body body, Finish finish, ItemName<In> name, std::shared_ptr<Channel<In>> in,
                 std::shared_ptr<Channel<Out>> out)
      : body_(std::move(body)),
        finish_(std::move(finish)),
        name_(std::move(name)),
        in_(std::move(in)),
        out_(std::move(out)) {}

  void work(StageWorker& worker) override {
    Emitter<Out> emit(*out_, worker);
    while (std::optional<typename Channel<In>::Numbered> item = in_->take_numbered()) {
      worker.begin(name_of(name_, item->value, item->sequence));
      body_(std::move(item->value), emit);
      worker.end();
      if (!emit.open()) return;
      worker.rest();
    }
    finish_(emit);
  }
  void close() noexcept override { out_->close(); }

 private:
  Body body_;
  Finish finish_;
  const ItemName<In> name_;
  std::shared_ptr<Channel<In>> in_;
  std::shared_ptr<Channel<Out>> out_;
};

/// Uses items up: `void body(T)`, or `bool body(T)` where false ends the whole run in good order.
template <typename T, typename Body>
class SinkStage final : public Stage {
 public:
  SinkStage(Body body, ItemName<T> name, std::shared_ptr<Channel<T>> in)
      : body_(std::move(body)), name_(std::move(name)), in_(std::move(in)) {}

  void work(StageWorker& worker) override {
    Body body = body_;
    while (std::optional<typename Channel<T>::Numbered> item = in_->take_numbered()) {
      worker.begin(name_of(name_, item->value, item->sequence));
      const bool more = use(body, std::move(item->value));
      worker.end();
      worker.rest();
      if (!more) return in_->cancel();
    }
  }
  void close() noexcept override {}

 private:
  static bool use(Body& body, T&& value) {
    if constexpr (std::is_void_v<std::invoke_result_t<Body&, T>>) {
      body(std::move(value));
      return true;
    } else {
      return body(std::move(value));
    }
  }

  const Body body_;
  const ItemName<T> name_;
  std::shared_ptr<Channel<T>> in_;
};

}  // namespace creel::scheduler
