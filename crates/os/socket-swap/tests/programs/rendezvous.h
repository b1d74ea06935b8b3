/* What programs need that speak the protocol of docs/spec/swap.md by themselves. */
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CAPACITY (128 * 1024)
#define SEGMENT (4096 + 2 * CAPACITY)
enum { WRITTEN = 128, MODE = 136, RINGS = 144, READ = 256, STANCE = 384, INSIDE = 392, SLEEP = 408 };

static uint32_t other_inode(uint32_t inode) {
    struct {
        struct nlmsghdr head;
        struct unix_diag_req request;
    } question = {
        {sizeof question, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0},
        {.sdiag_family = AF_UNIX, .udiag_states = ~0u, .udiag_ino = inode, .udiag_show = UDIAG_SHOW_PEER, .udiag_cookie = {~0u, ~0u}},
    };
    char answer[1024];
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
    if (send(fd, &question, sizeof question, 0) < 0) exit(70);
    ssize_t length = recv(fd, answer, sizeof answer, 0);
    close(fd);
    struct nlmsghdr *head = (struct nlmsghdr *)answer;
    if (length <= 0 || head->nlmsg_type != SOCK_DIAG_BY_FAMILY) exit(71);
    struct unix_diag_msg *message = NLMSG_DATA(head);
    struct rtattr *attribute = (struct rtattr *)(message + 1);
    int left = (int)(head->nlmsg_len - NLMSG_LENGTH(sizeof *message));
    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
        if (attribute->rta_type == UNIX_DIAG_PEER) return *(uint32_t *)RTA_DATA(attribute);
    exit(72);
}

static socklen_t door(struct sockaddr_un *address, uint32_t inode) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)sprintf(address->sun_path + 1, "hushwire-swap/1/%016x", inode));
}
