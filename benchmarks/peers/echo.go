// An echo server in upper case: one goroutine a connection, all of them on one core.
package main

import (
	"bytes"
	"log"
	"net"
	"runtime"
)

// echo sends everything that comes back in upper case. net.Conn writes all or fails, and has TCP_NODELAY set.
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
	listener, err := net.Listen("tcp4", "127.0.0.1:0") // with the kernel's somaxconn for a backlog
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
