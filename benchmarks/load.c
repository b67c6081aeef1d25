/* The load of the benchmarks: one thread, one epoll. It compares every byte of every reply.

   load exchange PORT CONNECTIONS SIZE SECONDS WARMUP   every connection sends a message of SIZE bytes, waits for the
                                                        whole reply and sends the next, for SECONDS; 0: just one
   load connect PORT CONNECTIONS SIZE SECONDS WARMUP    the same, with a new connection for each message
   load idle PORT CONNECTIONS SIZE SECONDS WARMUP       each connection exchanges one message and stays open
   load udp PORT CONNECTIONS SIZE SECONDS WARMUP        like exchange, with a datagram for each message; a lost one is
                                                        an error

   It prints "begin" before the measurement and "end" after it, and waits for a line on stdin after each. No message is
   in flight at that time, so the server is idle. A JSON object with the figures comes last. On an error it prints one
   line on stderr and exits with 1. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATTERN 1048573 /* bytes before the text repeats: a prime, so that no buffer's size divides it */
#define CHUNK 262144    /* bytes at most in one send or receive */
#define BATCH 256       /* connections opened at once: fewer than any server's backlog */
#define SETTLED 100     /* idle connections that don't count: they trigger the server's one-time allocations */
#define SOURCES 250     /* addresses to connect from, each with its own ports, since TIME_WAIT keeps some of them */
#define PATIENCE 10     /* seconds without any reply */
#define LIMIT 300       /* seconds for a phase */
#define BUCKETS 8192
#define SECOND 1000000000LL

struct connection {
    int fd;
    size_t size, start, sent, received; /* of the message: its bytes, its offset in the text, the bytes that moved */
    int64_t since;
};

static char text[PATTERN + CHUNK], expected[PATTERN + CHUNK], buffer[CHUNK];
static struct connection *connections;
static struct sockaddr_in server = {.sin_family = AF_INET};
static int poller, active;
static size_t size;
static bool reconnect, datagrams;
static int64_t until; /* when the last message begins, in nanoseconds */
static uint64_t messages, histogram[BUCKETS];

static void fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    exit(1);
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

/* A bucket is one nanosecond wide below 256 ns, and 1/128 to 1/256 of its own value above. */
static unsigned bucketOf(uint64_t value) {
    int shift = value < 256 ? 0 : 56 - __builtin_clzll(value);
    return shift * 128 + (value >> shift);
}

static uint64_t middleOf(unsigned bucket) {
    int shift = bucket < 256 ? 0 : bucket / 128 - 1;
    return ((uint64_t)(bucket - shift * 128) << shift) + ((1ULL << shift) >> 1);
}

/* The text is ASCII, because some peers take the bytes for UTF-8. A message begins anywhere in it. */
static void writeText(void) {
    uint32_t random = 2463534242u;
    for (int i = 0; i < PATTERN + CHUNK; i++) {
        random ^= random << 13, random ^= random >> 17, random ^= random << 5; /* xorshift, Marsaglia 2003 */
        text[i] = i < PATTERN ? (char)(' ' + random % 95) : text[i - PATTERN];
        expected[i] = text[i] >= 'a' && text[i] <= 'z' ? text[i] - 32 : text[i];
    }
}

/* Send a part; return whether there may be room for more. */
static bool push(struct connection *c) {
    size_t left = c->size - c->sent, asked = left < CHUNK ? left : CHUNK;
    ssize_t n = send(c->fd, text + (c->start + c->sent) % PATTERN, asked, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        fail("can't send after %zu of %zu bytes: %s", c->sent, c->size, strerror(errno));
    if (n > 0)
        c->sent += n;
    return n == (ssize_t)asked && c->sent < c->size;
}

/* Receive a part; return whether there may be more. It asks for one byte more than is due, to detect long replies. */
static bool pull(struct connection *c) {
    size_t left = c->size - c->received, asked = left < CHUNK ? left + 1 : CHUNK;
    ssize_t n = recv(c->fd, buffer, asked < CHUNK ? asked : CHUNK, 0);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n < 0)
        fail("reset after %zu of %zu bytes: %s", c->received, c->size, strerror(errno));
    if (n == 0 && !datagrams)
        fail("short reply: the end came after %zu of %zu bytes", c->received, c->size);
    if ((size_t)n > left)
        fail("long reply: more than %zu bytes", c->size);
    size_t at = (c->start + c->received) % PATTERN;
    if (memcmp(buffer, expected + at, n)) {
        size_t i = 0;
        while (buffer[i] == expected[at + i])
            i++;
        fail("wrong byte %zu of %zu: 0x%02x was sent, 0x%02x expected, 0x%02x received", c->received + i, c->size,
             text[at + i], expected[at + i], buffer[i] & 255);
    }
    c->received += n;
    if (datagrams && c->received < c->size)
        fail("short reply: a datagram with %zu of %zu bytes", c->received, c->size);
    return n == (ssize_t)asked;
}

static void sendMessage(struct connection *c) {
    c->start = (c->start + c->size + 4099) % PATTERN; /* messages differ: the reply to another is wrong */
    c->sent = c->received = 0;
    while (push(c))
        ;
}

static void begin(struct connection *c) {
    active++;
    c->since = now();
    sendMessage(c);
}

/* Connect and send the first message. send(2) fails with EAGAIN until the handshake is complete. */
static void beginConnection(struct connection *c) {
    static uint32_t source;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002 + source++ % SOURCES)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    int on = 1;
    active++;
    c->since = now();
    c->fd = socket(AF_INET, (datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("can't create a socket: %s", strerror(errno));
    if (!datagrams)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* connect() chooses the port, so one that is in use towards another server is free here. */
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(c->fd, (struct sockaddr *)&address, sizeof address))
        fail("can't bind %s: %s", inet_ntoa(address.sin_addr), strerror(errno));
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS)
        fail("can't connect: %s", strerror(errno));
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event))
        fail("can't poll: %s", strerror(errno));
    sendMessage(c);
}

static void complete(struct connection *c) {
    int64_t time = now();
    histogram[bucketOf(time - c->since)]++;
    messages++;
    active--;
    if (reconnect)
        close(c->fd);
    if (time < until)
        reconnect ? beginConnection(c) : begin(c);
}

/* Polling is edge-triggered: a call that moves less than it asked for is the last, unless the server's end is near. */
static void advance(struct connection *c, bool ending) {
    bool busy = c->received < c->size, moving = true;
    while (moving) {
        moving = c->sent < c->size && push(c);
        moving |= pull(c) || (ending && c->received < c->size);
    }
    if (busy && c->received == c->size)
        complete(c);
}

static void finishAll(void) {
    static struct epoll_event events[1024];
    int64_t limit = now() + LIMIT * SECOND;
    while (active) {
        int count = epoll_wait(poller, events, 1024, PATIENCE * 1000);
        if (count < 0 && errno != EINTR)
            fail("can't wait: %s", strerror(errno));
        if (count == 0)
            fail("no reply in %d s, %d outstanding", PATIENCE, active);
        if (now() > limit)
            fail("not finished in %d s", LIMIT);
        for (int i = 0; i < count; i++)
            advance(events[i].data.ptr, events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
    }
}

static void establish(int first, int count) {
    until = 0;
    for (int i = 0; i < count; i++) {
        connections[first + i].size = size < 64 ? size : 64; /* a short message proves that it is served */
        beginConnection(&connections[first + i]);
        if (i % BATCH == BATCH - 1)
            finishAll();
    }
    finishAll();
}

static void exchange(int count, double seconds) {
    until = now() + seconds * SECOND;
    for (int i = 0; i < count; i++) {
        connections[i].size = size;
        reconnect ? beginConnection(&connections[i]) : begin(&connections[i]);
    }
    finishAll();
}

static void mark(const char *word) {
    char answer[16];
    puts(word);
    fflush(stdout);
    if (!fgets(answer, sizeof answer, stdin))
        fail("stdin ended at \"%s\"", word);
}

int main(int count, char **arguments) {
    if (count != 7)
        fail("usage: load exchange|connect|idle|udp PORT CONNECTIONS SIZE SECONDS WARMUP");
    int wanted = atoi(arguments[3]);
    double seconds = atof(arguments[5]), warmup = atof(arguments[6]);
    bool idle = !strcmp(arguments[1], "idle");
    server.sin_port = htons(atoi(arguments[2]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    size = strtoull(arguments[4], NULL, 10);
    reconnect = !strcmp(arguments[1], "connect");
    datagrams = !strcmp(arguments[1], "udp");
    connections = calloc(wanted + SETTLED, sizeof *connections);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!connections || poller < 0)
        fail("can't start: %s", strerror(errno));
    writeText();
    for (int i = 0; i < wanted + SETTLED; i++)
        connections[i].start = i * 7919L % PATTERN;
    if (!reconnect)
        establish(0, idle ? SETTLED : wanted);
    if (!idle && warmup > 0)
        exchange(wanted, warmup);
    mark("begin");
    memset(histogram, 0, sizeof histogram);
    messages = 0;
    int64_t start = now();
    idle ? establish(SETTLED, wanted) : exchange(wanted, seconds);
    double elapsed = (double)(now() - start) / SECOND;
    mark("end");
    printf("{\"messages\": %llu, \"bytes\": %llu, \"seconds\": %.9f, \"histogram\": [", (unsigned long long)messages,
           (unsigned long long)(messages * size), elapsed);
    const char *separator = "";
    for (unsigned i = 0; i < BUCKETS; i++)
        if (histogram[i]) {
            printf("%s[%llu, %llu]", separator, (unsigned long long)middleOf(i), (unsigned long long)histogram[i]);
            separator = ", ";
        }
    puts("]}");
}
