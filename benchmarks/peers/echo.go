// An echo server in upper case, on one core: `echo tcp`, with one goroutine per connection, `echo tls PEM` or `echo udp`.
package main

import (
	"bytes"
	"crypto/tls"
	"log"
	"net"
	"os"
	"runtime"
)

const size = 65536

// echo sends back in upper case everything that arrives. net.Conn writes all or fails, and sets TCP_NODELAY.
func echo(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, size)
	for {
		count, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err := connection.Write(bytes.ToUpper(buffer[:count])); err != nil {
			return
		}
	}
}

func serve(listener net.Listener) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go echo(connection)
	}
}

func serveDatagrams(socket *net.UDPConn) error {
	buffer := make([]byte, size)
	for {
		count, sender, err := socket.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return err
		}
		if _, err := socket.WriteToUDPAddrPort(bytes.ToUpper(buffer[:count]), sender); err != nil {
			return err
		}
	}
}

// run serves until the process is killed. The backlog is the kernel's somaxconn.
func run(transport string, pem ...string) error {
	if transport == "udp" {
		socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		return serveDatagrams(socket)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if transport == "tls" {
		certificate, err := tls.LoadX509KeyPair(pem[0], pem[0])
		if err != nil {
			return err
		}
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}})
	}
	return serve(listener)
}

func main() {
	runtime.GOMAXPROCS(1)
	log.Fatal(run(os.Args[1], os.Args[2:]...))
}
