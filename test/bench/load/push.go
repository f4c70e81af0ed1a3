package main

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// pushJob uploads one blob of BlobBytes, or Images small images of a config, two layers and a manifest.
type pushJob struct {
	Port       int    `json:"port"`
	Repository string `json:"repository"`
	// One blob, as docker does: POST, PATCH, PUT.
	BlobBytes int64 `json:"blobBytes"`
	// Of each PATCH; 0: the whole in one.
	ChunkBytes int64 `json:"chunkBytes"`
	// Small images, each blob asked for first, as clients do.
	Images      int `json:"images"`
	Connections int `json:"connections"`
}

type pushResult struct {
	Seconds    float64 `json:"seconds"`
	CpuSeconds float64 `json:"cpuSeconds"`
	// Of the PUT that ends the one blob: what the client waits for when everything is there.
	LastSeconds float64 `json:"lastSeconds"`
	// Of the one blob, to look whether it is there.
	Digest string `json:"digest"`
}

func push(job pushJob) pushResult {
	if job.Images > 0 {
		return pushImages(job)
	}
	return pushBlob(job)
}

const blockBytes = 1 << 20

// pushBlob hashes before the clock runs.
func pushBlob(job pushJob) pushResult {
	block, first := make([]byte, blockBytes), make([]byte, blockBytes)
	fill(block)
	fill(first)
	blockAt := func(offset int64) []byte {
		content := block
		if offset == 0 {
			content = first
		}
		return content[:min(blockBytes, job.BlobBytes-offset)]
	}
	sum := sha256.New()
	for offset := int64(0); offset < job.BlobBytes; offset += blockBytes {
		sum.Write(blockAt(offset))
	}
	digest := "sha256:" + hex.EncodeToString(sum.Sum(nil))
	chunk := job.ChunkBytes
	if chunk == 0 {
		chunk = job.BlobBytes
	}
	p := dial(job.Port)
	defer p.conn.Close()
	cpu, began := cpuSeconds(), time.Now()
	location := p.ask("POST", "/v2/"+job.Repository+"/blobs/uploads/", nil, "", 202)
	for from := int64(0); from < job.BlobBytes; from += chunk {
		end := min(from+chunk, job.BlobBytes)
		extra := ""
		if job.ChunkBytes > 0 {
			extra = fmt.Sprintf("Content-Range: %d-%d\r\n", from, end-1)
		}
		p.head("PATCH", location, end-from, extra+"Content-Type: application/octet-stream\r\n")
		for at := from; at < end; at += blockBytes {
			p.write(blockAt(at))
		}
		location = p.answer("PATCH "+location, 202)
	}
	last := time.Now()
	p.ask("PUT", withDigest(location, digest), nil, "", 201)
	return pushResult{
		Seconds: time.Since(began).Seconds(), CpuSeconds: cpuSeconds() - cpu,
		LastSeconds: time.Since(last).Seconds(), Digest: digest,
	}
}

func pushImages(job pushJob) pushResult {
	salt := make([]byte, 8)
	fill(salt)
	var next atomic.Int64
	var group sync.WaitGroup
	cpu, began := cpuSeconds(), time.Now()
	for range job.Connections {
		group.Add(1)
		go func() {
			defer group.Done()
			p := dial(job.Port)
			defer p.conn.Close()
			for n := next.Add(1); n <= int64(job.Images); n = next.Add(1) {
				p.pushImage(fmt.Sprintf("%s-%d", job.Repository, n%20), fmt.Sprintf("%x-%d", salt, n))
			}
		}()
	}
	group.Wait()
	return pushResult{Seconds: time.Since(began).Seconds(), CpuSeconds: cpuSeconds() - cpu}
}

func (p *pusher) pushImage(repository, tag string) {
	described := make([]string, 3)
	for n, content := range []string{
		fmt.Sprintf(`{"made":"%s"}`, tag), strings.Repeat(tag+" 1 ", 100), strings.Repeat(tag+" 2 ", 100),
	} {
		digest := digestOf(content)
		p.ask("HEAD", "/v2/"+repository+"/blobs/"+digest, nil, "", 404)
		location := p.ask("POST", "/v2/"+repository+"/blobs/uploads/", nil, "", 202)
		location = p.ask("PATCH", location, []byte(content), "Content-Type: application/octet-stream\r\n", 202)
		p.ask("PUT", withDigest(location, digest), nil, "", 201)
		kind := "layer.v1.tar"
		if n == 0 {
			kind = "config.v1+json"
		}
		described[n] = fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.%s","digest":"%s","size":%d}`, kind, digest, len(content))
	}
	const mediaType = "application/vnd.oci.image.manifest.v1+json"
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s,%s]}`, mediaType, described[0], described[1], described[2])
	p.ask("PUT", "/v2/"+repository+"/manifests/"+tag, []byte(manifest), "Content-Type: "+mediaType+"\r\n", 201)
}

// pusher is one connection; whatever is not answered as wanted ends the program.
type pusher struct {
	conn   net.Conn
	reader *bufio.Reader
	port   int
}

func dial(port int) *pusher {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		fail("%v", err)
	}
	return &pusher{conn: conn, reader: bufio.NewReader(conn), port: port}
}

// ask sends a request and returns the location that the answer names.
func (p *pusher) ask(method, path string, body []byte, headers string, wanted int) string {
	p.head(method, path, int64(len(body)), headers)
	if len(body) > 0 {
		p.write(body)
	}
	return p.answer(method+" "+path, wanted)
}

func (p *pusher) head(method, path string, length int64, headers string) {
	p.write([]byte(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: entrepot-bench\r\nContent-Length: %d\r\n%s\r\n",
		method, path, p.port, length, headers)))
}

func (p *pusher) write(content []byte) {
	if _, err := p.conn.Write(content); err != nil {
		fail("%v", err)
	}
}

func (p *pusher) answer(what string, wanted int) string {
	method, _, _ := strings.Cut(what, " ")
	response, err := http.ReadResponse(p.reader, &http.Request{Method: method})
	if err != nil {
		fail("%s: %v", what, err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != wanted {
		fail("%s: answered %d instead of %d: %s (%v)", what, response.StatusCode, wanted, text, err)
	}
	location, err := url.Parse(response.Header.Get("Location"))
	if err != nil {
		fail("%s: %v", what, err)
	}
	return location.RequestURI()
}

func withDigest(location, digest string) string {
	joint := "?"
	if strings.Contains(location, "?") {
		joint = "&"
	}
	return location + joint + "digest=" + url.QueryEscape(digest)
}

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func fill(content []byte) {
	if _, err := rand.Read(content); err != nil {
		fail("random: %v", err)
	}
}
