package main

import (
	"hash"
	"sync"
	"syscall"
	"time"
)

// target is one thing to ask for, and what must come.
type target struct {
	Path string `json:"path"`
	// As in "bytes=0-99"; empty: the whole.
	Range string `json:"range"`
	// Of the body.
	Bytes int64 `json:"bytes"`
	// Hexadecimal; looked at with Check alone.
	Sha256 string `json:"sha256"`
}

// getJob is downloaded over Connections, one request at a time on each, the targets in turn.
type getJob struct {
	Port        int      `json:"port"`
	Method      string   `json:"method"`
	Accept      string   `json:"accept"`
	Targets     []target `json:"targets"`
	Connections int      `json:"connections"`
	// No request begins after it; those under way come to their end, and with a rate are cut. 0: no such limit.
	Seconds float64 `json:"seconds"`
	// In all; 0: any number.
	Requests int `json:"requests"`
	// Of each connection; 0: as fast as it goes.
	BytesPerSecond int64 `json:"bytesPerSecond"`
	// Bodies are hashed. Status and length are looked at in any case.
	Check bool `json:"check"`
	// How many threads share the connections; 0: one.
	Threads int `json:"threads"`
}

type getResult struct {
	Requests   int     `json:"requests"`
	Bytes      int64   `json:"bytes"`
	Seconds    float64 `json:"seconds"`
	CpuSeconds float64 `json:"cpuSeconds"`
	// From the first byte of the request to the last of the answer, and to the first.
	Whole     spread `json:"whole"`
	FirstByte spread `json:"firstByte"`
}

const (
	// Small enough to stay in the processor's cache.
	bufferBytes = 256 << 10
	paceEvery   = 5 * time.Millisecond
)

type connection struct {
	fd      int
	target  target
	head    []byte
	inBody  bool
	left    int64
	began   time.Time
	first   time.Duration
	hash    hash.Hash
	closing bool
	// What it may receive by now, with a rate.
	allowed int64
	paced   time.Time
	busy    bool
}

type getter struct {
	job       getJob
	epoll     int
	buffer    []byte
	open      map[int32]*connection
	first     int
	next      int
	active    int
	until     time.Time
	bytes     int64
	whole     []time.Duration
	firstByte []time.Duration
}

// get shares the job out to threads, each with a part of the connections.
func get(job getJob) getResult {
	threads := max(job.Threads, 1)
	if job.Requests > 0 {
		// None is left without one: none would be any number.
		threads = min(threads, job.Requests)
		job.Threads = threads
	}
	getters := make([]*getter, threads)
	var group sync.WaitGroup
	cpu, began := cpuSeconds(), time.Now()
	for n := range getters {
		part := job
		part.Connections = shareOf(job.Connections, threads, n)
		part.Requests = shareOf(job.Requests, threads, n)
		getters[n] = newGetter(part, n, began)
		group.Add(1)
		go func() {
			defer group.Done()
			getters[n].download()
		}()
	}
	group.Wait()
	result := getResult{Seconds: time.Since(began).Seconds(), CpuSeconds: cpuSeconds() - cpu}
	var whole, firstByte []time.Duration
	for _, g := range getters {
		result.Requests += len(g.whole)
		result.Bytes += g.bytes
		whole, firstByte = append(whole, g.whole...), append(firstByte, g.firstByte...)
	}
	result.Whole, result.FirstByte = spreadOf(whole), spreadOf(firstByte)
	return result
}

func shareOf(count, parts, n int) int {
	return count*(n+1)/parts - count*n/parts
}

// newGetter begins with the targets at the n-th.
func newGetter(job getJob, n int, began time.Time) *getter {
	epoll, err := syscall.EpollCreate1(0)
	if err != nil {
		fail("epoll: %v", err)
	}
	g := &getter{job: job, epoll: epoll, buffer: make([]byte, bufferBytes), open: map[int32]*connection{}, first: n}
	if job.Seconds > 0 {
		g.until = began.Add(time.Duration(job.Seconds * float64(time.Second)))
	}
	return g
}

func (g *getter) download() {
	connections := make([]*connection, g.job.Connections)
	for n := range connections {
		connections[n] = &connection{fd: -1}
		g.begin(connections[n])
	}
	if g.job.BytesPerSecond > 0 {
		g.runPaced(connections)
	} else {
		g.run()
	}
}

func (g *getter) run() {
	events := make([]syscall.EpollEvent, g.job.Connections)
	for g.active > 0 {
		count, err := syscall.EpollWait(g.epoll, events, 30_000)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || count == 0 {
			fail("nothing came for 30 s (%v)", err)
		}
		for _, event := range events[:count] {
			if c, open := g.open[event.Fd]; open {
				g.receive(c, bufferBytes)
			}
		}
	}
}

// runPaced gives each connection its share every few milliseconds, and a moment of it at most at once.
func (g *getter) runPaced(connections []*connection) {
	for g.active > 0 {
		time.Sleep(paceEvery)
		now := time.Now()
		if !g.until.IsZero() && now.After(g.until) {
			return
		}
		for _, c := range connections {
			if !c.busy {
				continue
			}
			c.allowed += int64(now.Sub(c.paced).Seconds() * float64(g.job.BytesPerSecond))
			c.allowed = min(c.allowed, g.job.BytesPerSecond/10)
			c.paced = now
			for c.busy && c.allowed > 0 {
				if !g.receive(c, int(min(c.allowed, bufferBytes))) {
					break
				}
			}
		}
	}
}
