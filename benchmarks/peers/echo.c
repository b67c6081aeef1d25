/* An echo server in upper case: one thread, one epoll. It doesn't read from a client that hasn't read its echo yet. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE 65536

struct rest {
    char *data; /* what the client hasn't read yet, or NULL */
    size_t size;
};

static int poller;
static struct rest *rests; /* by descriptor */

static void watch(int operation, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, operation, fd, &event))
        perror("epoll_ctl"), exit(1);
}

static void drop(int fd) {
    free(rests[fd].data);
    rests[fd] = (struct rest){0};
    close(fd);
}

static void acceptAll(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

/* Return the number of bytes that were sent, or -1 if the connection is lost. */
static ssize_t sendSome(int fd, const void *data, size_t size) {
    ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN)
        return 0;
    if (sent < 0)
        drop(fd);
    return sent;
}

static void flush(int fd) {
    struct rest *rest = &rests[fd];
    ssize_t sent = sendSome(fd, rest->data, rest->size);
    if (sent < 0)
        return;
    rest->size -= sent;
    memmove(rest->data, rest->data + sent, rest->size);
    if (!rest->size) {
        free(rest->data);
        rest->data = NULL;
        watch(EPOLL_CTL_MOD, fd, EPOLLIN);
    }
}

/* The compiler makes vector instructions of this loop: those of the function that it is inlined in. */
static inline __attribute__((always_inline)) void convert(unsigned char *data, ssize_t size) {
    for (ssize_t i = 0; i < size; i++)
        data[i] -= (unsigned char)(data[i] - 'a') < 26 ? 32 : 0;
}

#define VARIANT(name, attributes)                                     \
    attributes static void name(unsigned char *data, ssize_t size) { \
        convert(data, size);                                          \
    }

VARIANT(baseline, )
static void (*upper)(unsigned char *, ssize_t) = baseline;

/* Choose the fastest variant that runs on this processor, as echoup/_upper.c does. */
#ifdef __x86_64__
VARIANT(avx2, __attribute__((target("avx2"))))
VARIANT(avx512, __attribute__((target("avx512bw,avx512vl"))))

static void choose(void) {
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        upper = avx512;
    else if (__builtin_cpu_supports("avx2"))
        upper = avx2;
}
#else
static void choose(void) {
}
#endif

static void echo(int fd) {
    static unsigned char data[SIZE];
    ssize_t size = recv(fd, data, SIZE, 0);
    if (size < 0 && errno == EAGAIN)
        return;
    if (size <= 0) {
        drop(fd);
        return;
    }
    upper(data, size);
    ssize_t sent = sendSome(fd, data, size);
    if (sent >= 0 && sent < size) {
        rests[fd] = (struct rest){malloc(size - sent), size - sent};
        memcpy(rests[fd].data, data + sent, size - sent);
        watch(EPOLL_CTL_MOD, fd, EPOLLOUT);
    }
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct epoll_event events[1024];
    struct rlimit limit;
    choose();
    getrlimit(RLIMIT_NOFILE, &limit);
    rests = calloc(limit.rlim_cur, sizeof *rests);
    poller = epoll_create1(0);
    if (!rests || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096))
        perror("can't listen"), exit(1);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN);
    for (;;) {
        int count = epoll_wait(poller, events, 1024, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                acceptAll(fd);
            else if (rests[fd].data)
                flush(fd);
            else
                echo(fd);
        }
    }
}
