/* What the library costs where it does not help.
     costs server PATH             answers 64 bytes with 64 bytes; prints its processor time when the client of `idle` ends
     costs idle PATH SECONDS       100 connections that have been used, and then nothing; prints its own processor time
     costs short PATH COUNT        connect, one exchange, close; prints the median of 20 parts
     costs other COUNT             a byte from /dev/zero; prints the least of 20 parts */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BYTES 64
#define IDLE 100
#define USES 200
#define PARTS 20

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e9 + now.tv_nsec;
}

static double used_ms(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e3 + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e3;
}

static int connected(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    while (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) usleep(1000);
    return fd;
}

static void exchange(int fd) {
    char bytes[BYTES] = {1};
    if (write(fd, bytes, BYTES) != BYTES || recv(fd, bytes, BYTES, MSG_WAITALL) != BYTES) exit(66);
}

static int serve(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), set = epoll_create1(0), open_now = 0;
    unlink(path);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 128) != 0) return 65;
    struct epoll_event event = {EPOLLIN, {.fd = listener}}, events[64];
    epoll_ctl(set, EPOLL_CTL_ADD, listener, &event);
    for (double before = 0;;) {
        int count = epoll_wait(set, events, 64, -1);
        if (open_now == IDLE && before > 0) printf("server: %.2f ms until something came\n", used_ms() - before), fflush(stdout), before = -1;
        for (int place = 0; place < count; place++) {
            int fd = events[place].data.fd;
            char bytes[BYTES];
            if (fd == listener) {
                event.data.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                epoll_ctl(set, EPOLL_CTL_ADD, event.data.fd, &event);
                open_now++;
            } else if (recv(fd, bytes, BYTES, MSG_WAITALL) == BYTES) {
                if (write(fd, bytes, BYTES) != BYTES) return 67;
                /* The last byte of the client's first 100 connections says that nothing follows for a while. */
                if (bytes[1] == 'i') before = used_ms();
            } else {
                close(fd);
                open_now--;
            }
        }
    }
}

static void idle(const char *path, int seconds) {
    struct pollfd all[IDLE];
    for (int place = 0; place < IDLE; place++) all[place] = (struct pollfd){connected(path), POLLIN, 0};
    for (int turn = 0; turn < USES; turn++)
        for (int place = 0; place < IDLE; place++) exchange(all[place].fd);
    char last[BYTES] = {0, 'i'};
    if (write(all[0].fd, last, BYTES) != BYTES || recv(all[0].fd, last, BYTES, MSG_WAITALL) != BYTES) exit(66);
    double before = used_ms();
    poll(all, IDLE, seconds * 1000);
    printf("client: %.2f ms in %d s\n", used_ms() - before, seconds);
    fflush(stdout);
    exchange(all[1].fd);
    usleep(50000);
}

static int smaller(const void *a, const void *b) {
    double first = *(const double *)a, second = *(const double *)b;
    return (first > second) - (first < second);
}

int main(int count, char **words) {
    double parts[PARTS];
    signal(SIGPIPE, SIG_IGN);
    if (count == 3 && strcmp(words[1], "server") == 0) return serve(words[2]);
    if (count == 4 && strcmp(words[1], "idle") == 0) return idle(words[2], atoi(words[3])), 0;
    int is_short = count == 4 && strcmp(words[1], "short") == 0, is_other = count == 3 && strcmp(words[1], "other") == 0;
    if (!is_short && !is_other) return 64;
    long each = atol(words[count - 1]) / PARTS;
    int zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    for (int part = 0; part < PARTS; part++) {
        double began = now_ns();
        for (long turn = 0; turn < each; turn++) {
            char byte;
            if (is_other) {
                if (read(zeros, &byte, 1) != 1) return 68;
            } else {
                int fd = connected(words[2]);
                exchange(fd);
                close(fd);
            }
        }
        parts[part] = (now_ns() - began) / each;
    }
    qsort(parts, PARTS, sizeof parts[0], smaller);
    printf("%.1f ns\n", parts[is_other ? 0 : PARTS / 2]);
    return 0;
}
