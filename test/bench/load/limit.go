package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

// bucket lets so many bytes a second through, all connections together, and never more than a moment's worth at once.
type bucket struct {
	mutex sync.Mutex
	rate  float64
	free  time.Time
}

// take waits until so many bytes may pass.
func (b *bucket) take(count int) {
	b.mutex.Lock()
	now := time.Now()
	if b.free.Before(now) {
		b.free = now
	}
	wait := b.free.Sub(now)
	b.free = b.free.Add(time.Duration(float64(count) / b.rate * float64(time.Second)))
	b.mutex.Unlock()
	time.Sleep(wait)
}

// limit is a proxy to target until it is killed.
func limit(target, bytesPerSecond string) {
	rate, err := strconv.ParseFloat(bytesPerSecond, 64)
	if err != nil {
		fail("rate: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail("listen: %v", err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	shared := &bucket{rate: rate}
	for {
		client, err := listener.Accept()
		if err != nil {
			fail("accept: %v", err)
		}
		server, err := net.Dial("tcp", target)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			client.Close()
			continue
		}
		go func() {
			io.Copy(server, client)
			server.(*net.TCPConn).CloseWrite()
		}()
		go pass(client, server, shared)
	}
}

func pass(client, server net.Conn, shared *bucket) {
	defer client.Close()
	defer server.Close()
	buffer := make([]byte, 16*1024)
	for {
		count, err := server.Read(buffer)
		shared.take(count)
		if _, failed := client.Write(buffer[:count]); failed != nil || err != nil {
			return
		}
	}
}
