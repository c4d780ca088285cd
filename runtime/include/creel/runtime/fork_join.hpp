#pragma once

#include <creel/runtime/fork_join_pool.hpp>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>

namespace creel {

/// Calls two functions that may run at the same time and returns what they return, as a pair; std::monostate
/// stands for void. Each is called with the worker that it is on if it takes one, else without arguments.
///
///     std::int64_t fib(creel::ForkJoinWorkerThread& worker, int n) {
///       if (n < 2) return n;
///       const auto [a, b] = creel::fork_join(
///           worker, [n](creel::ForkJoinWorkerThread& w) { return fib(w, n - 1); },
///           [n](creel::ForkJoinWorkerThread& w) { return fib(w, n - 2); });
///       return a + b;
///     }
///     … creel::ForkJoinPool::common().invoke([](creel::ForkJoinWorkerThread& w) { return fib(w, 32); });
///
/// `first` runs on the calling worker. `second` lies on its stack meanwhile, and runs there afterwards unless
/// another worker has taken it: then the call waits for it and runs other forks meanwhile.
///
/// If `first` throws, `second` is not begun any more; if it has begun elsewhere it is waited for, and what it
/// returns or throws is lost. Otherwise what `second` throws is rethrown.
///
/// Cost: a few stores and a compiler fence when nobody takes the fork. A worker holds 8,192 forks; deeper
/// ones are plain calls.
template <typename First, typename Second>
auto fork_join(ForkJoinWorkerThread& worker, First&& first, Second&& second) {
  using FirstValue = detail::ForkJoinValue<std::remove_reference_t<First>>;
  using SecondValue = detail::ForkJoinValue<std::remove_reference_t<Second>>;
  using Pair = std::pair<FirstValue, SecondValue>;
  detail::ForkJoinBranch<std::remove_reference_t<Second>> branch(second);
  const std::uint32_t at = worker.push(branch);
  if (at == ForkJoinWorkerThread::kCapacity) [[unlikely]] {
    FirstValue value = detail::fork_join_call(first, worker);
    return Pair(std::move(value), detail::fork_join_call(second, worker));
  }
  FirstValue value = [&] {
    try {
      return detail::fork_join_call(first, worker);
    } catch (...) {
      if (!worker.pop(branch, at)) {
        worker.await(branch, at);
        branch.drop();
      }
      throw;
    }
  }();
  if (worker.pop(branch, at)) [[likely]] {
    return Pair(std::move(value), detail::fork_join_call(second, worker));
  }
  worker.await(branch, at);
  return Pair(std::move(value), branch.take());
}

/// The same where no worker is at hand: on a worker's thread it finds that one, elsewhere it invokes itself
/// in the common pool and waits.
template <typename First, typename Second>
auto fork_join(First&& first, Second&& second) {
  if (ForkJoinWorkerThread* worker = ForkJoinWorkerThread::current())
    return fork_join(*worker, first, second);
  return ForkJoinPool::common().invoke(
      [&](ForkJoinWorkerThread& worker) { return fork_join(worker, first, second); });
}

namespace detail {

template <typename Iterator, typename Body>
void parallel_for(ForkJoinWorkerThread& worker, Iterator begin, Iterator end, std::ptrdiff_t grain,
                  const Body& body) {
  const auto size = static_cast<std::ptrdiff_t>(end - begin);
  if (size <= grain) {
    for (; begin != end; ++begin) body(*begin);
    return;
  }
  const Iterator middle = begin + size / 2;
  fork_join(
      worker, [&](ForkJoinWorkerThread& w) { parallel_for(w, begin, middle, grain, body); },
      [&](ForkJoinWorkerThread& w) { parallel_for(w, middle, end, grain, body); });
}

template <typename Iterator, typename Value, typename Combine, typename Transform>
Value parallel_reduce(ForkJoinWorkerThread& worker, Iterator begin, Iterator end, std::ptrdiff_t grain,
                      const Value& identity, const Combine& combine, const Transform& transform) {
  const auto size = static_cast<std::ptrdiff_t>(end - begin);
  if (size <= grain) {
    Value value = identity;
    for (; begin != end; ++begin) value = combine(std::move(value), transform(*begin));
    return value;
  }
  const Iterator middle = begin + size / 2;
  auto [left, right] = fork_join(
      worker,
      [&](ForkJoinWorkerThread& w) {
        return parallel_reduce(w, begin, middle, grain, identity, combine, transform);
      },
      [&](ForkJoinWorkerThread& w) {
        return parallel_reduce(w, middle, end, grain, identity, combine, transform);
      });
  return combine(std::move(left), std::move(right));
}

}  // namespace detail

/// Calls `body(element)` for every element of a random-access range, in no order, on the workers of `pool`.
/// Up to `grain` neighbours are one piece of work. Waits for all; after an exception, which is rethrown, some
/// elements may be left out.
///
///     creel::parallel_for(images, [](Image& image) { image.normalize(); });
template <typename Range, typename Body>
void parallel_for(Range&& range, const Body& body, std::size_t grain = 1,
                  ForkJoinPool& pool = ForkJoinPool::common()) {
  const auto piece = static_cast<std::ptrdiff_t>(std::max<std::size_t>(grain, 1));
  pool.invoke([&](ForkJoinWorkerThread& worker) {
    detail::parallel_for(worker, std::begin(range), std::end(range), piece, body);
  });
}

/// `combine` over `transform(element)` of every element of a random-access range. `combine` must be
/// associative and `identity` its neutral element; the order of the elements is kept.
///
///     const double squares =
///         creel::parallel_reduce(numbers, 0.0, std::plus<>(), [](double x) { return x * x; });
template <typename Range, typename Value, typename Combine, typename Transform>
Value parallel_reduce(Range&& range, Value identity, const Combine& combine, const Transform& transform,
                      std::size_t grain = 1, ForkJoinPool& pool = ForkJoinPool::common()) {
  const auto piece = static_cast<std::ptrdiff_t>(std::max<std::size_t>(grain, 1));
  return pool.invoke([&](ForkJoinWorkerThread& worker) {
    return detail::parallel_reduce(worker, std::begin(range), std::end(range), piece, identity, combine,
                                   transform);
  });
}

}  // namespace creel
