import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.RecursiveTask;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;

/** The JVM. Compiled for 17; virtual threads are found by reflection where they are. */
public class Rivals {
  static final String PEER = "java" + Runtime.version().feature();
  static final int MILLION = 1_000_000;

  interface Body {
    void run() throws Exception;
  }

  static void report(String metric, String peer, double value, String unit) {
    System.out.printf(Locale.ROOT, "%s %s%s %.3f %s%n", metric, PEER, peer, value, unit);
  }

  static double bestNs(int times, Body body) throws Exception {
    double best = Double.MAX_VALUE;
    for (int i = 0; i < times; i++) {
      long start = System.nanoTime();
      body.run();
      best = Math.min(best, System.nanoTime() - start);
    }
    return best;
  }

  static void check(boolean good) {
    if (!good) throw new AssertionError("wrong result");
  }

  static long plainFib(int n) {
    return n < 2 ? n : plainFib(n - 1) + plainFib(n - 2);
  }

  static final class Fib extends RecursiveTask<Long> {
    final int n;
    final int cut;

    Fib(int n, int cut) {
      this.n = n;
      this.cut = cut;
    }

    @Override
    protected Long compute() {
      if (n < 2) return (long) n;
      if (n < cut) return plainFib(n);
      Fib first = new Fib(n - 1, cut);
      first.fork();
      long second = new Fib(n - 2, cut).compute();
      return first.join() + second;
    }
  }

  static void forkJoin() throws Exception {
    report("fib32.seq", "", bestNs(8, () -> check(plainFib(32) == 2178309)) / 1e6, "ms");
    for (int workers : new int[] {1, 2}) {
      ForkJoinPool pool = new ForkJoinPool(workers);
      double noCut = bestNs(10, () -> check(pool.invoke(new Fib(32, 0)) == 2178309));
      report("fib32.nocut.p" + workers, "-fjp", noCut / 7049155, "ns/task");
      double cut = bestNs(12, () -> check(pool.invoke(new Fib(32, 16)) == 2178309));
      report("fib32.cut16.p" + workers, "-fjp", cut / 1e6, "ms");
      pool.shutdown();
    }
  }

  static void submit(String name, ExecutorService pool) throws Exception {
    int trips = 20_000;
    double get = bestNs(12, () -> {
      for (int i = 0; i < trips; i++) {
        int number = i;
        check(pool.submit(() -> number + 1).get() == number + 1);
      }
    });
    report("submit.roundtrip", name, get / trips, "ns");
    double supply = bestNs(12, () -> {
      for (int i = 0; i < trips; i++) {
        int number = i;
        check(CompletableFuture.supplyAsync(() -> number + 1, pool).get() == number + 1);
      }
    });
    report("submit.roundtrip", name + "-completablefuture", supply / trips, "ns");
    double batch = bestNs(5, () -> {
      CountDownLatch done = new CountDownLatch(MILLION);
      for (int i = 0; i < MILLION; i++) pool.execute(done::countDown);
      done.await();
    });
    report("submit.batch1M", name, batch / MILLION, "ns/task");
    pool.shutdown();
  }

  static long counter;
  static volatile long sink;

  static double millionsASecond(int threads, Body increment) throws Exception {
    double best = 0;
    for (int repeat = 0; repeat < 2; repeat++) {  // the first also compiles
      counter = 0;
      AtomicBoolean stop = new AtomicBoolean();
      Thread[] all = new Thread[threads];
      long start = System.nanoTime();
      for (int i = 0; i < threads; i++) {
        all[i] = new Thread(() -> {
          try {
            while (!stop.get()) increment.run();
          } catch (Exception e) {
            throw new AssertionError(e);
          }
        });
        all[i].start();
      }
      Thread.sleep(700);
      stop.set(true);
      for (Thread thread : all) thread.join();
      best = Math.max(best, counter / ((System.nanoTime() - start) / 1e3));
    }
    return best;
  }

  static void lock() throws Exception {
    for (int threads : new int[] {1, 2, 8}) {
      Object monitor = new Object();
      report("lock.contended.t" + threads, "-synchronized", millionsASecond(threads, () -> {
        synchronized (monitor) {
          counter++;
        }
      }), "Mops/s");
      ReentrantLock lock = new ReentrantLock();
      report("lock.contended.t" + threads, "-reentrantlock", millionsASecond(threads, () -> {
        lock.lock();
        try {
          counter++;
        } finally {
          lock.unlock();
        }
      }), "Mops/s");
    }
  }

  /** The loads of map_load.hpp. */
  static void maps() throws Exception {
    final int keys = 1 << 16;
    final int calls = 300_000;
    Object[][] mixes = {{"get", 0, 0}, {"update10", 10, 0}, {"update50", 50, 0}, {"churn10", 5, 5}, {"churn50", 25, 25}};
    for (Object[] mix : mixes) {
      final int puts = (int) mix[1];
      final int removes = (int) mix[2];
      for (int threads : new int[] {1, 2}) {
        ConcurrentHashMap<Long, Long> map = new ConcurrentHashMap<>();
        for (long key = 0; key < keys; key++) {
          if (removes == 0 || key % 2 == 1) map.put(key, key);
        }
        double ns = bestNs(25, () -> {
          Thread[] all = new Thread[threads];
          for (int t = 0; t < threads; t++) {
            long seed = 0x2545f4914f6cdd1dL * (t + 1);
            all[t] = new Thread(() -> {
              long random = seed;
              long sum = 0;
              for (int i = 0; i < calls; i++) {
                random ^= random << 13;
                random ^= random >>> 7;
                random ^= random << 17;
                long key = (random >>> 8) % keys;
                int draw = (int) ((random >>> 40) % 100);
                if (draw < puts) {
                  map.put(key, random);
                } else if (draw < puts + removes) {
                  map.remove(key);
                } else {
                  Long value = map.get(key);
                  if (value != null) sum += value;
                }
              }
              sink = sum;
            });
          }
          for (Thread thread : all) thread.start();
          for (Thread thread : all) thread.join();
        });
        report("map." + mix[0] + ".t" + threads, "", ns / calls, "ns");
      }
    }
  }

  static ThreadFactory virtual() throws Exception {
    Object builder = Thread.class.getMethod("ofVirtual").invoke(null);
    return (ThreadFactory) Class.forName("java.lang.Thread$Builder").getMethod("factory").invoke(builder);
  }

  static void atOnce(ThreadFactory factory, Thread[] threads) throws Exception {
    for (int i = 0; i < threads.length; i++) (threads[i] = factory.newThread(() -> {})).start();
    for (Thread thread : threads) thread.join();
  }

  static void createAndJoin() throws Exception {
    ThreadFactory factory = virtual();
    int some = MILLION / 10;
    report("vt.create_join.seq", "", bestNs(4, () -> {
      for (int i = 0; i < some; i++) {
        Thread thread = factory.newThread(() -> {});
        thread.start();
        thread.join();
      }
    }) / some, "ns");
    Thread[] batch = new Thread[1000];
    report("vt.create_join.batch1000", "", bestNs(4, () -> {
      for (int i = 0; i < MILLION / batch.length; i++) atOnce(factory, batch);
    }) / MILLION, "ns");
    for (int count : new int[] {MILLION / 10, MILLION}) {
      Thread[] all = new Thread[count];
      report("vt.create_join.all" + (count == MILLION ? "1M" : "100k"), "",
          bestNs(4, () -> atOnce(factory, all)) / count, "ns");
    }
  }

  static double residentBytes() throws IOException {
    return Long.parseLong(Files.readString(Path.of("/proc/self/statm")).split(" ")[1]) * 4096.0;
  }

  static void parked() throws Exception {
    ThreadFactory factory = virtual();
    int count = 100_000;
    CountDownLatch gate = new CountDownLatch(1);
    CountDownLatch begun = new CountDownLatch(count);
    System.gc();
    Runtime runtime = Runtime.getRuntime();
    double resident = residentBytes();
    double heap = runtime.totalMemory() - runtime.freeMemory();
    Thread[] threads = new Thread[count];
    for (int i = 0; i < count; i++) {
      threads[i] = factory.newThread(() -> {
        begun.countDown();
        try {
          gate.await();
        } catch (InterruptedException e) {
          throw new AssertionError(e);
        }
      });
      threads[i].start();
    }
    begun.await();
    Thread.sleep(500);
    System.gc();
    report("vt.parked100k", "-heap", (runtime.totalMemory() - runtime.freeMemory() - heap) / count, "bytes/vthread");
    report("vt.parked100k", "-rss", (residentBytes() - resident) / count, "bytes/vthread");
    gate.countDown();
    for (Thread thread : threads) thread.join();
  }

  static double pairNs(int times, ThreadFactory factory, Body first, Body second) throws Exception {
    return bestNs(times, () -> {
      Thread[] pair = {factory.newThread(quiet(first)), factory.newThread(quiet(second))};
      for (Thread thread : pair) thread.start();
      for (Thread thread : pair) thread.join();
    });
  }

  static Runnable quiet(Body body) {
    return () -> {
      try {
        body.run();
      } catch (Exception e) {
        throw new AssertionError(e);
      }
    };
  }

  static void switches(String suffix) throws Exception {
    ThreadFactory factory = virtual();
    int turns = MILLION / 2;
    AtomicInteger turn = new AtomicInteger();
    Thread[] players = new Thread[2];
    report("vt.pingpong", "-park" + suffix, bestNs(5, () -> {
      turn.set(0);
      for (int k = 0; k < 2; k++) {
        int me = k;
        players[k] = factory.newThread(() -> {
          for (int i = 0; i < turns; i++) {
            while (turn.get() != me) LockSupport.park();
            turn.set(1 - me);
            LockSupport.unpark(players[1 - me]);
          }
        });
      }
      for (Thread player : players) player.start();
      for (Thread player : players) player.join();
    }) / (2.0 * turns), "ns/handoff");
    SynchronousQueue<Integer> there = new SynchronousQueue<>();
    SynchronousQueue<Integer> back = new SynchronousQueue<>();
    report("vt.pingpong", "-syncqueue" + suffix, pairNs(4, factory, () -> {
      for (int i = 0; i < turns; i++) {
        there.put(i);
        back.take();
      }
    }, () -> {
      for (int i = 0; i < turns; i++) back.put(there.take());
    }) / (2.0 * turns), "ns/handoff");
    Body yields = () -> {
      for (int i = 0; i < MILLION; i++) Thread.yield();
    };
    report("vt.yield", suffix, pairNs(5, factory, yields, yields) / (2.0 * MILLION), "ns/switch");
  }

  static int parkDeep(int depth, CountDownLatch begun) {
    if (depth == 0) {
      begun.countDown();
      for (;;) LockSupport.park();
    }
    return parkDeep(depth - 1, begun) + 1;
  }

  /** Dumps from within, then from outside until standard input ends. */
  static void dump(int threads) throws Exception {
    CountDownLatch begun = new CountDownLatch(threads);
    for (int i = 0; i < threads; i++) {
      Thread thread = new Thread(() -> parkDeep(20, begun), "worker-" + i);
      thread.setDaemon(true);
      thread.start();
    }
    begun.await();
    ThreadMXBean bean = ManagementFactory.getThreadMXBean();
    String metric = "dump." + threads + ".inprocess";
    report(metric, "-dumpAllThreads", bestNs(30, () -> bean.dumpAllThreads(true, true)) / 1e6, "ms");
    report(metric, "-getAllStackTraces", bestNs(30, Thread::getAllStackTraces) / 1e6, "ms");
    report(metric, "-findDeadlockedThreads", bestNs(30, bean::findDeadlockedThreads) / 1e6, "ms");
    System.out.println("ready");
    while (System.in.read() >= 0) {
    }
    System.exit(0);
  }

  public static void main(String[] arguments) throws Exception {
    switch (arguments[0]) {
      case "fork-join" -> forkJoin();
      case "submit" -> {
        submit("-threadpool", Executors.newFixedThreadPool(2));
        submit("-fjp", new ForkJoinPool(2));
      }
      case "lock" -> lock();
      case "map" -> maps();
      case "vt-create" -> createAndJoin();
      case "vt-parked" -> parked();
      case "vt-switch" -> switches(arguments[1]);
      case "dump" -> dump(Integer.parseInt(arguments[1]));
      default -> throw new IllegalArgumentException(arguments[0]);
    }
  }
}
