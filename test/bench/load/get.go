package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"
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

// begin sends the next request, if there is one.
func (g *getter) begin(c *connection) {
	job := &g.job
	if c.busy {
		c.busy = false
		g.active--
	}
	if (job.Requests > 0 && g.next >= job.Requests) || (!g.until.IsZero() && !time.Now().Before(g.until)) {
		g.close(c)
		return
	}
	if c.closing {
		g.close(c)
	}
	if c.fd < 0 {
		g.connect(c)
	}
	c.target = job.Targets[(g.first+g.next*max(job.Threads, 1))%len(job.Targets)]
	g.next++
	g.active++
	c.busy, c.inBody, c.closing, c.head, c.left = true, false, false, c.head[:0], 0
	c.allowed = 0
	if job.Check {
		c.hash = sha256.New()
	}
	c.began = time.Now()
	c.paced = c.began
	g.send(c)
}

func (g *getter) send(c *connection) {
	extra := ""
	if c.target.Range != "" {
		extra = "Range: " + c.target.Range + "\r\n"
	}
	if g.job.Accept != "" {
		extra += "Accept: " + g.job.Accept + "\r\n"
	}
	text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: entrepot-bench\r\n%s\r\n", g.job.Method, c.target.Path, g.job.Port, extra)
	if count, err := syscall.Write(c.fd, []byte(text)); err != nil || count != len(text) {
		fail("%s: could not send: %v", c.target.Path, err)
	}
}

func (g *getter) connect(c *connection) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		fail("socket: %v", err)
	}
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: g.job.Port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		fail("port %d: %v", g.job.Port, err)
	}
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		fail("TCP_NODELAY: %v", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		fail("nonblocking: %v", err)
	}
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}
	if err := syscall.EpollCtl(g.epoll, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
		fail("epoll: %v", err)
	}
	c.fd = fd
	g.open[int32(fd)] = c
}

func (g *getter) close(c *connection) {
	if c.fd >= 0 {
		delete(g.open, int32(c.fd))
		syscall.Close(c.fd)
	}
	c.fd = -1
}

// receive takes what is there, at most so many bytes, and says whether there was anything.
func (g *getter) receive(c *connection, most int) bool {
	if !c.busy {
		return false
	}
	count, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(&g.buffer[0])), uintptr(most), 0, 0, 0)
	if errno == syscall.EAGAIN || errno == syscall.EINTR {
		return false
	}
	if errno != 0 || count == 0 {
		fail("%s: the connection ended with %d bytes to come (%v)", c.target.Path, c.left, errno)
	}
	c.allowed -= int64(count)
	received := g.buffer[:count]
	if !c.inBody {
		if received = g.readHead(c, received); !c.inBody {
			return true
		}
	}
	c.left -= int64(len(received))
	g.bytes += int64(len(received))
	if g.job.Check {
		c.hash.Write(received)
	}
	if c.left < 0 {
		fail("%s: more bytes than it said", c.target.Path)
	}
	if c.left == 0 {
		g.complete(c)
	}
	return true
}

// readHead looks at status and length, and returns what of the body came with it.
func (g *getter) readHead(c *connection, received []byte) []byte {
	if len(c.head) == 0 {
		c.first = time.Since(c.began)
	}
	c.head = append(c.head, received...)
	end := bytes.Index(c.head, []byte("\r\n\r\n"))
	if end < 0 {
		return nil
	}
	head := bytes.ToLower(c.head[:end+2])
	wanted := " 200 "
	if c.target.Range != "" {
		wanted = " 206 "
	}
	if !bytes.Contains(head[:min(len(head), 16)], []byte(wanted)) {
		fail("%s %s: answered %s", g.job.Method, c.target.Path, bytes.SplitN(c.head, []byte("\r\n"), 2)[0])
	}
	length, err := strconv.ParseInt(header(head, "content-length"), 10, 64)
	if err != nil || length != c.target.Bytes {
		fail("%s: has %d bytes instead of %d (%v)", c.target.Path, length, c.target.Bytes, err)
	}
	c.closing = header(head, "connection") == "close"
	c.inBody = true
	if g.job.Method != "HEAD" {
		c.left = length
	}
	return c.head[end+4:]
}

func header(head []byte, name string) string {
	_, after, found := bytes.Cut(head, []byte("\r\n"+name+": "))
	if !found {
		return ""
	}
	value, _, _ := bytes.Cut(after, []byte("\r\n"))
	return string(value)
}

func (g *getter) complete(c *connection) {
	if g.job.Check {
		if found := hex.EncodeToString(c.hash.Sum(nil)); g.job.Method != "HEAD" && found != c.target.Sha256 {
			fail("%s: sha256 is %s instead of %s", c.target.Path, found, c.target.Sha256)
		}
	}
	g.whole = append(g.whole, time.Since(c.began))
	g.firstByte = append(g.firstByte, c.first)
	g.begin(c)
}
