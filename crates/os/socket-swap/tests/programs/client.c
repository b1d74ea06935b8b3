/* client PATH CONNECTIONS EXCHANGES: one connection after another, each with so many single bytes there and back. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "usage.h"

int main(int count, char **words) {
    if (count != 4) return 64;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", words[1]);
    int descriptors = open_descriptors(), segments = mapped_segments();
    for (long connection = 0; connection < atol(words[2]); connection++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        for (int tries = 0; connect(fd, (struct sockaddr *)&address, sizeof address) != 0; tries++) {
            if (tries > 1000) return 65;
            usleep(5000);
        }
        if (connection == 0) {
            puts("connected");
            fflush(stdout);
        }
        for (long turn = 0; turn < atol(words[3]); turn++) {
            char byte = (char)turn, back = 0;
            if (write(fd, &byte, 1) != 1 || read(fd, &back, 1) != 1 || back != byte) return 66;
        }
        close(fd);
    }
    printf("more descriptors %d, more segments %d\n", open_descriptors() - descriptors, mapped_segments() - segments);
    return 0;
}
