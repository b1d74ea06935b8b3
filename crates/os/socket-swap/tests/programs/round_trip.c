/* round_trip server|client PATH COUNT: 64 bytes there and back, each side on a processor of its own. The client prints the
   time of one round trip. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BYTES 64
#define FIRST 2000

static void stay_on(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static int read_fully(int fd, char *bytes) {
    for (long done = 0; done < BYTES;) {
        ssize_t count = read(fd, bytes + done, (size_t)(BYTES - done));
        if (count <= 0) return 0;
        done += count;
    }
    return 1;
}

int main(int count, char **words) {
    if (count != 4) return 64;
    char bytes[BYTES] = {0};
    long total = FIRST + atol(words[3]);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", words[2]);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (strcmp(words[1], "server") == 0) {
        stay_on(0);
        unlink(words[2]);
        if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1) != 0) return 65;
        int end = accept(fd, NULL, NULL);
        while (read_fully(end, bytes))
            if (write(end, bytes, BYTES) != BYTES) return 66;
        return 0;
    }
    stay_on(1);
    while (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) usleep(1000);
    struct timespec began, ended;
    for (long turn = 0; turn < total; turn++) {
        if (turn == FIRST) clock_gettime(CLOCK_MONOTONIC, &began);
        if (write(fd, bytes, BYTES) != BYTES || !read_fully(fd, bytes)) return 67;
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    double took = (double)(ended.tv_sec - began.tv_sec) * 1e6 + (double)(ended.tv_nsec - began.tv_nsec) / 1e3;
    printf("%.3f us\n", took / (double)(total - FIRST));
    return 0;
}
