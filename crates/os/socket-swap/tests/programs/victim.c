/* victim PATH CONNECTIONS: serves one connection after another: answers each byte, and says how each ended. */
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

int main(int count, char **words) {
    if (count != 3) return 64;
    alarm(300);
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", words[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 16) != 0) return 65;
    int descriptors = 0, segments = 0;
    for (long connection = 0; connection < atol(words[2]); connection++) {
        int fd = accept(listener, NULL, NULL);
        unsigned char bytes[256];
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
        printf("%s %ld\n", error, now.tv_sec * 1000 + now.tv_nsec / 1000000);
        fflush(stdout);
        close(fd);
        if (connection == 0) descriptors = open_descriptors(), segments = mapped_segments();
    }
    printf("more descriptors %d, more segments %d\n", open_descriptors() - descriptors, mapped_segments() - segments);
    return 0;
}
