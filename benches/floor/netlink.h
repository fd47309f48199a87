/* Least possible rtnetlink for the floors: one buffer, one request at a time, each acknowledged.
 * Included by the programs that attach and detach, which the benchmarks run beside the plugins.
 * Must never do more than the kernel asks for: whatever it costs is taken for the kernel's own price. */
#ifndef FLOOR_NETLINK_H
#define FLOOR_NETLINK_H

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* A request under construction. Room for the largest, the link with its peer. */
struct request {
    struct nlmsghdr header;
    char body[496];
};

static void fail(const char *what, int error)
{
    fprintf(stderr, "%s: %s\n", what, strerror(error));
    exit(1);
}

static int open_netlink(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd < 0)
        fail("open an rtnetlink socket", errno);
    return fd;
}

/* Begins a request with the family's own header, of `length` bytes. */
static void begin(struct request *r, int type, int flags, const void *family, size_t length)
{
    memset(&r->header, 0, sizeof r->header);
    r->header.nlmsg_type = type;
    r->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    r->header.nlmsg_len = NLMSG_LENGTH(length);
    memcpy(NLMSG_DATA(&r->header), family, length);
}

/* Appends bytes, padded to four. */
static void append(struct request *r, const void *bytes, size_t length)
{
    char *end = (char *)r + NLMSG_ALIGN(r->header.nlmsg_len);

    if (length) {
        memset(end, 0, NLMSG_ALIGN(length));
        memcpy(end, bytes, length);
    }
    r->header.nlmsg_len = NLMSG_ALIGN(r->header.nlmsg_len) + NLMSG_ALIGN(length);
}

/* Appends an attribute and returns it, for those that nest others to be widened. */
static struct rtattr *attribute(struct request *r, int type, const void *value, size_t length)
{
    struct rtattr head = { .rta_len = RTA_LENGTH(length), .rta_type = type };
    struct rtattr *here = (struct rtattr *)((char *)r + NLMSG_ALIGN(r->header.nlmsg_len));

    append(r, &head, sizeof head);
    append(r, value, length);
    return here;
}

/* Sends it and waits for the kernel's answer; ends the process if that is a refusal. */
static void commit(int fd, struct request *r, const char *what)
{
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char echoed[512];
    } answer;

    if (send(fd, r, r->header.nlmsg_len, 0) < 0)
        fail(what, errno);
    if (recv(fd, &answer, sizeof answer, 0) < 0)
        fail(what, errno);
    if (answer.header.nlmsg_type != NLMSG_ERROR || answer.error.error != 0)
        fail(what, -answer.error.error);
}

#endif
