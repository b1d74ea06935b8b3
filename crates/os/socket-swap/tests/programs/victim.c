/* victim PATH CONNECTIONS [connect]: serves one connection after another, which it accepts or makes: answers each byte, and says
   how each ended, when, and how many more descriptors and segments there are then than after the first. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "usage.h"

/* Waits for whoever listens next. */
static int connected(struct sockaddr_un *address) {
    for (;;) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)address, sizeof *address) == 0) return fd;
        close(fd);
        usleep(500);
    }
}

int main(int count, char **words) {
    int connects = count == 4 && strcmp(words[3], "connect") == 0;
    if (count != 3 && !connects) return 64;
    alarm(300);
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", words[1]);
    int listener = connects ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!connects && (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 16) != 0)) return 65;
    int descriptors = 0, segments = 0;
    for (long connection = 0; connection < atol(words[2]); connection++) {
        int fd = connects ? connected(&address) : accept(listener, NULL, NULL);
        unsigned char bytes[65536];
        ssize_t moved;
        for (;;) {
            struct pollfd entry = {fd, POLLIN, 0};
            /* Every other connection by poll, the rest in a blocking read. */
            if (connection % 2 == 0 && poll(&entry, 1, 10000) != 1) { errno = ETIME; moved = -1; break; }
            moved = read(fd, bytes, sizeof bytes);
            if (moved <= 0) break;
            moved = write(fd, bytes, (size_t)moved);
            if (moved < 0) break;
        }
        const char *error = moved < 0 ? strerrorname_np(errno) : "end";
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        close(fd);
        if (connection == 0) descriptors = open_descriptors(), segments = mapped_segments();
        printf("%s %ld %d %d\n", error, now.tv_sec * 1000 + now.tv_nsec / 1000000, open_descriptors() - descriptors,
               mapped_segments() - segments);
        fflush(stdout);
    }
    printf("more descriptors %d, more segments %d\n", open_descriptors() - descriptors, mapped_segments() - segments);
    return 0;
}
