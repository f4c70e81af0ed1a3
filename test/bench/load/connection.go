package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

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
