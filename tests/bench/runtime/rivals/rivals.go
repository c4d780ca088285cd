// Go's goroutines, channels and mutex.
package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const million = 1_000_000

func report(metric, peer string, value float64, unit string) {
	fmt.Printf("%s go%s %.3f %s\n", metric, peer, value, unit)
}

func bestNs(times int, body func()) float64 {
	best := math.MaxFloat64
	for i := 0; i < times; i++ {
		start := time.Now()
		body()
		best = math.Min(best, float64(time.Since(start).Nanoseconds()))
	}
	return best
}

// all runs count goroutines and waits for them.
func all(count int, body func(i int)) {
	var group sync.WaitGroup
	group.Add(count)
	for i := 0; i < count; i++ {
		go func() {
			defer group.Done()
			body(i)
		}()
	}
	group.Wait()
}

func plainFib(n int) int {
	if n < 2 {
		return n
	}
	return plainFib(n-1) + plainFib(n-2)
}

func fib(n, cut int) int {
	if n < 2 {
		return n
	}
	if n < cut {
		return plainFib(n)
	}
	var first int
	var group sync.WaitGroup
	group.Add(1)
	go func() {
		first = fib(n-1, cut)
		group.Done()
	}()
	second := fib(n-2, cut)
	group.Wait()
	return first + second
}

func forkJoin() {
	const calls = 7049155
	report("fib32.nocut.p2", "-goroutine", bestNs(2, func() { fib(32, 0) })/calls, "ns/task")
	report("fib32.cut16.p2", "-goroutine", bestNs(3, func() { fib(32, 16) })/1e6, "ms")
}

func submit() {
	const trips = 20_000
	tasks := make(chan func(), 1024)
	for i := 0; i < 2; i++ {
		go func() {
			for task := range tasks {
				task()
			}
		}()
	}
	roundTrips := func(execute func(func())) float64 {
		return bestNs(12, func() {
			for i := 0; i < trips; i++ {
				result := make(chan int, 1)
				execute(func() { result <- i + 1 })
				if <-result != i+1 {
					panic("wrong result")
				}
			}
		}) / trips
	}
	report("submit.roundtrip", "-workerpool", roundTrips(func(task func()) { tasks <- task }), "ns")
	report("submit.roundtrip", "-goroutine", roundTrips(func(task func()) { go task() }), "ns")
}

func createAndJoin() {
	const some = million / 4
	report("vt.create_join.seq", "", bestNs(3, func() {
		for i := 0; i < some; i++ {
			var group sync.WaitGroup
			group.Add(1)
			go group.Done()
			group.Wait()
		}
	})/some, "ns")
	atOnce := func(count int) {
		var group sync.WaitGroup
		group.Add(count)
		for i := 0; i < count; i++ {
			go group.Done()
		}
		group.Wait()
	}
	report("vt.create_join.batch1000", "", bestNs(3, func() {
		for i := 0; i < million/1000; i++ {
			atOnce(1000)
		}
	})/million, "ns")
	report("vt.create_join.all100k", "", bestNs(3, func() { atOnce(million / 10) })/(million/10), "ns")
	report("vt.create_join.all1M", "", bestNs(3, func() { atOnce(million) })/million, "ns")
}

func switches(processors int) {
	runtime.GOMAXPROCS(processors)
	suffix := "-p" + strconv.Itoa(processors)
	there, back := make(chan int), make(chan int)
	const turns = million / 2
	report("vt.pingpong", "-chan"+suffix, bestNs(4, func() {
		all(2, func(me int) {
			for i := 0; i < turns; i++ {
				if me == 0 {
					there <- i
					<-back
				} else {
					back <- <-there
				}
			}
		})
	})/(2*turns), "ns/handoff")
	report("vt.yield", suffix, bestNs(4, func() {
		all(2, func(int) {
			for i := 0; i < million; i++ {
				runtime.Gosched()
			}
		})
	})/(2*million), "ns/switch")
}

func residentBytes() float64 {
	text, _ := os.ReadFile("/proc/self/statm")
	pages, _ := strconv.ParseFloat(strings.Fields(string(text))[1], 64)
	return pages * float64(os.Getpagesize())
}

func parked() {
	const count = 100_000
	gate := make(chan struct{})
	var begun atomic.Int32
	debug.FreeOSMemory()
	before := residentBytes()
	for i := 0; i < count; i++ {
		go func() {
			begun.Add(1)
			<-gate
		}()
	}
	for begun.Load() != count {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(500 * time.Millisecond)
	report("vt.parked100k", "-rss", (residentBytes()-before)/count, "bytes/vthread")
	text := make([]byte, 256<<20)
	report("vt.dump100k", "-runtime.Stack", bestNs(2, func() { runtime.Stack(text, true) })/1e6, "ms")
	close(gate)
}

func lock() {
	for _, threads := range []int{1, 2, 8} {
		var mutex sync.Mutex
		var stop atomic.Bool
		counter := 0
		start := time.Now()
		time.AfterFunc(700*time.Millisecond, func() { stop.Store(true) })
		all(threads, func(int) {
			for !stop.Load() {
				mutex.Lock()
				counter++
				mutex.Unlock()
			}
		})
		report("lock.contended.t"+strconv.Itoa(threads), "-mutex",
			float64(counter)/time.Since(start).Seconds()/1e6, "Mops/s")
	}
}

func main() {
	switch os.Args[1] {
	case "fork-join":
		forkJoin()
	case "submit":
		submit()
	case "vt-create":
		createAndJoin()
	case "vt-switch-p1":
		switches(1)
	case "vt-switch-p2":
		switches(2)
	case "vt-parked":
		parked()
	case "lock":
		lock()
	}
}
