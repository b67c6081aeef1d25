"""What tests share: doubles, servers, certificates, relays, TLS clients, and the processes under test."""
