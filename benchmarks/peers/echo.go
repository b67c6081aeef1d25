// An echo server in upper case: one goroutine per connection, all of them on one core.
package main

import (
	"bytes"
	"log"
	"net"
	"runtime"
)

// echo sends back in upper case everything that arrives. net.Conn writes all or fails, and sets TCP_NODELAY.
func echo(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, 65536)
	for {
		size, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err := connection.Write(bytes.ToUpper(buffer[:size])); err != nil {
			return
		}
	}
}

func main() {
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp4", "127.0.0.1:0") // the backlog is the kernel's somaxconn
	if err != nil {
		log.Fatal(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go echo(connection)
	}
}
