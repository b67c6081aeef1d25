// The TLS load of the benchmarks, for servers with a certificate of any kind. It compares every byte of every reply.
//
//	load exchange PORT CONNECTIONS SIZE SECONDS WARMUP   every connection sends a message of SIZE bytes, waits for the
//	                                                     whole reply and sends the next, for SECONDS
//	load connect PORT CONNECTIONS SIZE SECONDS WARMUP    the same, with a full handshake for each message
//	load resume PORT CONNECTIONS SIZE SECONDS WARMUP     the same, with a handshake that resumes an earlier session
//
// The marks on stdout, the figures and the errors are those of load.c. It offers TLS 1.3 with one cipher suite, so that
// all servers encrypt in the same way. It runs on one core.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	_ "unsafe" // for go:linkname
)

const (
	pattern  = 1048573 // bytes before the text repeats: a prime, so that no buffer's size divides it
	largest  = 262144  // bytes of a message at most: sockets hold it, so it is sent before the reply is read
	sources  = 250     // addresses to connect from, each with its own ports, since TIME_WAIT keeps some of them
	patience = 10 * time.Second
	buckets  = 8192
)

// crypto/tls offers no setting for the cipher suites of TLS 1.3.
//
//go:linkname cipherSuites crypto/tls.defaultCipherSuitesTLS13
var cipherSuites []uint16

type client struct {
	connection *tls.Conn
	start      int // of the message in the text
	buffer     [largest]byte
}

var (
	text, expected    [pattern + largest]byte
	port, size        int
	reconnect, resume bool
	until             time.Time // when the last message begins
	source            uint32
	messages          uint64
	histogram         [buckets]uint64

	config = &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		InsecureSkipVerify:          true,
		DynamicRecordSizingDisabled: true,
	}
)

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
	os.Exit(1)
}

// bucketOf is load.c's: one nanosecond wide below 256 ns, and 1/128 to 1/256 of its own value above.
func bucketOf(value uint64) int {
	shift := 0
	if value >= 256 {
		shift = 56 - bits.LeadingZeros64(value)
	}
	return shift*128 + int(value>>shift)
}

func middleOf(bucket int) uint64 {
	shift := 0
	if bucket >= 256 {
		shift = bucket/128 - 1
	}
	return uint64(bucket-shift*128)<<shift + 1<<shift>>1
}

// writeText writes the text of load.c: ASCII, because some peers take the bytes for UTF-8.
func writeText() {
	random := uint32(2463534242)
	for i := range text {
		random ^= random << 13 // xorshift, Marsaglia 2003
		random ^= random >> 17
		random ^= random << 5
		if text[i] = byte(' ' + random%95); i >= pattern {
			text[i] = text[i-pattern]
		}
	}
	copy(expected[:], bytes.ToUpper(text[:]))
}

func (c *client) connect() {
	address := net.IPv4(127, 0, 0, byte(2+atomic.AddUint32(&source, 1)%sources))
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: address}, Timeout: patience}
	connection, err := tls.DialWithDialer(&dialer, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), config)
	if err != nil {
		fail("can't connect: %v", err)
	}
	c.connection = connection
	if suite := connection.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		fail("the cipher suite is %s", tls.CipherSuiteName(suite))
	}
}

// exchange sends a message and compares the reply. It reads more than is due, to detect long replies.
func (c *client) exchange(size int) {
	c.start = (c.start + size + 4099) % pattern // messages differ: the reply to another is wrong
	c.connection.SetDeadline(time.Now().Add(patience))
	if sent, err := c.connection.Write(text[c.start : c.start+size]); err != nil {
		fail("can't send after %d of %d bytes: %v", sent, size, err)
	}
	for received := 0; received < size; {
		count, err := c.connection.Read(c.buffer[:])
		at := c.start + received
		if count > size-received {
			fail("long reply: more than %d bytes", size)
		}
		if !bytes.Equal(c.buffer[:count], expected[at:at+count]) {
			i := 0
			for c.buffer[i] == expected[at+i] {
				i++
			}
			fail("wrong byte %d of %d: 0x%02x was sent, 0x%02x expected, 0x%02x received",
				received+i, size, text[at+i], expected[at+i], c.buffer[i])
		}
		received += count
		switch {
		case err == nil || received == size:
		case errors.Is(err, io.EOF):
			fail("short reply: the end came after %d of %d bytes", received, size)
		case errors.Is(err, os.ErrDeadlineExceeded):
			fail("no reply in %v after %d of %d bytes", patience, received, size)
		default:
			fail("reset after %d of %d bytes: %v", received, size, err)
		}
	}
}

func (c *client) run() {
	for {
		began := time.Now()
		if reconnect {
			c.connect()
		}
		c.exchange(size)
		now := time.Now()
		atomic.AddUint64(&histogram[bucketOf(uint64(now.Sub(began)))], 1)
		atomic.AddUint64(&messages, 1)
		if reconnect {
			if resume && !c.connection.ConnectionState().DidResume {
				fail("the session was not resumed")
			}
			c.connection.Close()
		}
		if !now.Before(until) {
			return
		}
	}
}

func runAll(clients []*client, seconds float64) {
	var running sync.WaitGroup
	until = time.Now().Add(time.Duration(seconds * float64(time.Second)))
	for _, c := range clients {
		running.Add(1)
		go func(c *client) {
			c.run()
			running.Done()
		}(c)
	}
	running.Wait()
}

var answers = bufio.NewReader(os.Stdin)

func mark(word string) {
	fmt.Println(word)
	if _, err := answers.ReadString('\n'); err != nil {
		fail("stdin ended at %q", word)
	}
}

func main() {
	if len(os.Args) != 7 {
		fail("usage: load exchange|connect|resume PORT CONNECTIONS SIZE SECONDS WARMUP")
	}
	runtime.GOMAXPROCS(1)
	mode := os.Args[1]
	port, _ = strconv.Atoi(os.Args[2])
	wanted, _ := strconv.Atoi(os.Args[3])
	size, _ = strconv.Atoi(os.Args[4])
	seconds, _ := strconv.ParseFloat(os.Args[5], 64)
	warmup, _ := strconv.ParseFloat(os.Args[6], 64)
	if size > largest {
		fail("a message has %d bytes at most", largest)
	}
	reconnect, resume = mode != "exchange", mode == "resume"
	cipherSuites = []uint16{tls.TLS_AES_128_GCM_SHA256}
	writeText()
	clients := make([]*client, wanted)
	for i := range clients {
		clients[i] = &client{start: i * 7919 % pattern}
	}
	if resume {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		clients[0].connect()
		clients[0].exchange(64)
		clients[0].connection.Close()
	}
	if !reconnect {
		for _, c := range clients {
			c.connect()
			c.exchange(64) // a short message proves that it is served
		}
	}
	if warmup > 0 {
		runAll(clients, warmup)
	}
	mark("begin")
	histogram, messages = [buckets]uint64{}, 0
	start := time.Now()
	runAll(clients, seconds)
	elapsed := time.Since(start).Seconds()
	mark("end")
	fmt.Printf(`{"messages": %d, "bytes": %d, "seconds": %.9f, "histogram": [`, messages, messages*uint64(size), elapsed)
	separator := ""
	for bucket, count := range histogram {
		if count > 0 {
			fmt.Printf("%s[%d, %d]", separator, middleOf(bucket), count)
			separator = ", "
		}
	}
	fmt.Println("]}")
}
