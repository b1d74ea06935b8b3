/* attacker PATH WAY: speaks the protocol of docs/spec/swap.md by itself, up to a point, and then breaks it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "rendezvous.h"

static unsigned char *own;
static volatile uint64_t *word(int offset) { return (volatile uint64_t *)(own + offset); }

static void offer(int through, uint32_t from, uint32_t to, int segment) {
    uint64_t words[4] = {0, from, to, CAPACITY};
    memcpy(words, "HWSWAP02", 8);
    char space[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {words, sizeof words};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &segment, sizeof segment);
    if (sendmsg(through, &message, 0) != sizeof words) exit(73);
}

/* Large enough for an entry to use its ring. */
static char bytes[65536];

static int say(int fd) { return send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) == sizeof bytes; }

/* The answer goes into the victim's ring, and a doorbell comes. */
static void provoke(int fd) {
    char byte;
    if (say(fd)) recv(fd, &byte, 1, 0);
}

static int exchange(int fd) { return say(fd) && recv(fd, bytes, sizeof bytes, MSG_WAITALL) == sizeof bytes; }

int main(int count, char **words) {
    if (count != 3) return 64;
    const char *way = words[2];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", words[1]);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    for (int tries = 0; connect(fd, (struct sockaddr *)&address, sizeof address) != 0; tries++) {
        if (tries > 500) return 66;
        usleep(10000);
    }
    for (int turn = 0; turn < 4; turn++) if (!exchange(fd)) return 67;
    struct stat about;
    fstat(fd, &about);
    uint32_t from = (uint32_t)about.st_ino, to = other_inode(from);
    int own_door = socket(AF_UNIX, SOCK_DGRAM, 0);
    socklen_t length = door(&address, from);
    if (bind(own_door, (struct sockaddr *)&address, length) != 0) return 68;
    int memory = memfd_create("hushwire-swap", MFD_ALLOW_SEALING);
    int is_short = strcmp(way, "short") == 0;
    if (ftruncate(memory, is_short ? 4096 : SEGMENT) != 0) return 69;
    own = mmap(NULL, SEGMENT, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (strcmp(way, "unsealed") != 0) fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
    if (!is_short) *word(SLEEP) = 1;
    length = door(&address, to);
    int turn = 0;
    /* The victim opens its door after some calls. */
    while (connect(own_door, (struct sockaddr *)&address, length) != 0) if (!exchange(fd) || turn++ > 500) return 74;
    offer(own_door, from, to, memory);
    /* Its own offer comes when it has found ours. */
    struct timeval limit = {0, 200};
    setsockopt(own_door, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    char space[256];
    int linked = 0;
    for (turn = 0; turn < 200 && !linked; turn++) {
        if (!exchange(fd)) return 75;
        linked = recv(own_door, space, sizeof space, 0) == 32;
    }
    for (turn = 0; turn < 40; turn++) if (!exchange(fd)) return 76;
    if (!linked) printf("not linked\n");
    if (is_short || strcmp(way, "unsealed") == 0) {
        /* Refused: the connection must have stayed what it was. */
        return exchange(fd) ? 0 : 77;
    }
    char byte = 0;
    if (strcmp(way, "too-far") == 0) {
        *word(MODE) = 1;
        *word(WRITTEN) = CAPACITY + 1;
    } else if (strcmp(way, "huge") == 0) {
        *word(MODE) = 1;
        *word(WRITTEN) = (uint64_t)1 << 63;
    } else if (strcmp(way, "back") == 0) {
        *word(MODE) = 1;
        *word(WRITTEN) = 100;
        *word(RINGS) = 1;
        send(fd, &byte, 1, MSG_NOSIGNAL);
        usleep(20000);
        *word(WRITTEN) = 50;
    } else if (strcmp(way, "read-ahead") == 0) {
        /* Says that it read what was never written, and makes the victim send into its ring. */
        *word(STANCE) = 1;
        *word(READ) = 12345;
        provoke(fd);
    } else if (strcmp(way, "many-rings") == 0) {
        *word(RINGS) = ~(uint64_t)0;
        *word(MODE) = 3;
    } else if (strcmp(way, "wants-plain") == 0) {
        *word(STANCE) = 1;
        provoke(fd);
        *word(READ) = (uint64_t)1 << 40;
        *word(STANCE) = 3;
    } else if (strcmp(way, "noise") == 0) {
        unsigned seed = 7;
        for (turn = 0; turn < 200000; turn++) {
            seed = seed * 1103515245 + 12345;
            own[(seed >> 8) % 1024] = (unsigned char)(seed >> 20);
            if (turn % 5000 == 0) send(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
    }
    send(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    usleep(100000);
    return 0;
}
