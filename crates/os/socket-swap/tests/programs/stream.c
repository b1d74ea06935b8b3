/* stream server|client PATH SIZE COUNT: one writes COUNT messages of SIZE bytes, the other reads what there is; each on a
   processor of its own. The client prints messages and bytes in a second, until the server has read all. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BYTES_MAX (64 * 1024)

static char bytes[BYTES_MAX];

static void stay_on(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static int serve(int listener, long long total, long size) {
    int end = accept(listener, NULL, NULL);
    long room = size < 4096 ? 4096 : size;
    for (long long done = 0; done < total;) {
        ssize_t count = read(end, bytes, (size_t)room);
        if (count <= 0) return 66;
        done += count;
    }
    return write(end, bytes, 1) == 1 ? 0 : 67;
}

int main(int count, char **words) {
    if (count != 5) return 64;
    long size = atol(words[3]), messages = atol(words[4]);
    if (size < 1 || size > BYTES_MAX || messages < 1) return 64;
    long long total = (long long)size * messages;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", words[2]);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (strcmp(words[1], "server") == 0) {
        stay_on(0);
        unlink(words[2]);
        if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1) != 0) return 65;
        return serve(fd, total, size);
    }
    stay_on(1);
    while (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) usleep(1000);
    struct timespec began, ended;
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (long message = 0; message < messages; message++)
        for (long done = 0; done < size;) {
            ssize_t written = write(fd, bytes + done, (size_t)(size - done));
            if (written <= 0) return 66;
            done += written;
        }
    if (read(fd, bytes, 1) != 1) return 67;
    clock_gettime(CLOCK_MONOTONIC, &ended);
    double took = (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9;
    printf("%.2f M/s %.2f GB/s\n", (double)messages / took / 1e6, (double)total / took / 1e9);
    return 0;
}
