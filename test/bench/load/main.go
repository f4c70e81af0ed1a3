// The load generator of `npm run bench`: HTTP/1.1 over plain sockets, cheap enough that the server is what is measured.
//
//	load get     reads a job on stdin, downloads, and writes what came as JSON
//	load push    reads a job on stdin, uploads, and writes how long it took as JSON
//	load limit   TARGET BYTES_PER_SECOND: a TCP proxy whose answers together come at that rate; writes its port
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"syscall"
	"time"
)

func main() {
	// Nothing here takes longer; a server that hangs is a failed row, not a hung bench.
	time.AfterFunc(3*time.Minute, func() { fail("not done after 3 minutes") })
	switch {
	case len(os.Args) == 2 && os.Args[1] == "get":
		var job getJob
		readJob(&job)
		writeResult(get(job))
	case len(os.Args) == 2 && os.Args[1] == "push":
		var job pushJob
		readJob(&job)
		writeResult(push(job))
	case len(os.Args) == 4 && os.Args[1] == "limit":
		limit(os.Args[2], os.Args[3])
	default:
		fail("usage: load get|push <JOB, or load limit TARGET BYTES_PER_SECOND")
	}
}

func readJob(job any) {
	if err := json.NewDecoder(os.Stdin).Decode(job); err != nil {
		fail("job: %v", err)
	}
}

func writeResult(result any) {
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		fail("result: %v", err)
	}
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
	os.Exit(1)
}

// cpuSeconds is what this process has used so far.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		fail("getrusage: %v", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// spread of some durations, milliseconds.
type spread struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func spreadOf(times []time.Duration) spread {
	if len(times) == 0 {
		return spread{}
	}
	sort.Slice(times, func(a, b int) bool { return times[a] < times[b] })
	at := func(share float64) float64 {
		return times[min(len(times)-1, int(float64(len(times))*share))].Seconds() * 1000
	}
	return spread{P50: at(0.5), P99: at(0.99), Max: at(1)}
}
