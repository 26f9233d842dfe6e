// go_peer: the Go of this machine asked the study's question: n goroutines grow their stacks and block, then collections
// shrink them. Reports, a line of JSON a number of goroutines, what the runtime says of its own stops.
//
// One cycle: every goroutine calls itself until its stack has the wanted size, returns and waits on a channel; then one
// forced collection, which halves each stack (less than a quarter is used). Before and after it the runtime's own
// counters are read: the time that the world stood (MemStats.PauseTotalNs, all stops of the collection), how many stops
// there were (runtime/metrics), and the bytes in stacks (StackInuse), which show that the shrink did happen. The first
// cycle is not kept: stacks lie in the order of their addresses in it. With GODEBUG=gctrace=1 the runtime also writes a
// line of its own for each, the first too, to standard error.
//
// A blocked goroutine counts as using more than 1 KiB, and only who uses less than a quarter is shrunk: hence 8 KiB.
//
// Usage: go_peer [-stacks 1024,102400] [-bytes 8192] [-cycles 9]. Exit code 2: bad arguments.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"
)

type row struct {
	Version         string    `json:"version"`
	Gomaxprocs      int       `json:"gomaxprocs"`
	StackBytes      int       `json:"stack_bytes"`
	Stacks          int       `json:"stacks"`
	PauseNs         []float64 `json:"pause_ns"`
	Stops           []float64 `json:"stops"`
	CycleNs         []float64 `json:"cycle_ns"`
	StackBytesGrown []float64 `json:"stack_bytes_grown"`
	StackBytesAfter []float64 `json:"stack_bytes_after"`
}

const frame = 512

// Uses at least `bytes` of stack. Written so that no frame is left out by the compiler.
//
//go:noinline
func use(bytes int) byte {
	var local [frame]byte
	local[bytes%frame] = byte(bytes)
	if bytes > frame {
		return use(bytes-frame) + local[(bytes+1)%frame]
	}
	return local[bytes%frame]
}

// Goroutines that grow when told so, and say when they have.
type fleet struct {
	grow  chan struct{}
	quit  chan struct{}
	grown sync.WaitGroup
}

func (f *fleet) live(bytes int, sink *byte) {
	for {
		select {
		case <-f.grow:
			*sink += use(bytes)
			f.grown.Done()
		case <-f.quit:
			return
		}
	}
}

// Each goroutine takes one token: who has grown waits in the same channel again, behind the others.
func (f *fleet) growAll(n int) {
	f.grown.Add(n)
	for i := 0; i < n; i++ {
		f.grow <- struct{}{}
	}
	f.grown.Wait()
}

func stops() uint64 {
	sample := []metrics.Sample{{Name: "/gc/pauses:seconds"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return 0
	}
	total := uint64(0)
	for _, count := range sample[0].Value.Float64Histogram().Counts {
		total += count
	}
	return total
}

func measure(n, bytes, cycles int) row {
	r := row{Version: runtime.Version(), Gomaxprocs: runtime.GOMAXPROCS(0), StackBytes: bytes, Stacks: n}
	f := &fleet{grow: make(chan struct{}), quit: make(chan struct{})}
	sinks := make([]byte, n)
	for i := range sinks {
		go f.live(bytes*5/8, &sinks[i])
	}
	for cycle := 0; cycle <= cycles; cycle++ {
		f.growAll(n)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		stopped := stops()
		start := time.Now()
		runtime.GC()
		took := time.Since(start)
		counted := stops() - stopped
		runtime.ReadMemStats(&after)
		if cycle == 0 {
			continue
		}
		r.PauseNs = append(r.PauseNs, float64(after.PauseTotalNs-before.PauseTotalNs))
		r.Stops = append(r.Stops, float64(counted))
		r.CycleNs = append(r.CycleNs, float64(took.Nanoseconds()))
		r.StackBytesGrown = append(r.StackBytesGrown, float64(before.StackInuse))
		r.StackBytesAfter = append(r.StackBytesAfter, float64(after.StackInuse))
	}
	close(f.quit)
	return r
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "go_peer: "+format+"\n", arguments...)
	os.Exit(2)
}

func main() {
	list := flag.String("stacks", "1024,102400", "numbers of goroutines")
	bytes := flag.Int("bytes", 8192, "the size to which stacks grow")
	cycles := flag.Int("cycles", 9, "collections that are kept")
	flag.Parse()
	if flag.NArg() != 0 || *cycles < 1 || *bytes < 8192 || *bytes&(*bytes-1) != 0 {
		fail("wants -cycles from 1 and -bytes a power of two from 8192")
	}
	debug.SetGCPercent(-1)
	for _, text := range strings.Split(*list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			fail("-stacks: '%s' is no number of goroutines", text)
		}
		line, err := json.Marshal(measure(n, *bytes, *cycles))
		if err != nil {
			fail("%v", err)
		}
		fmt.Println(string(line))
	}
}
