/* What every ADD does in the container's namespace, for the floors: address, link up, routes.
 * Included by the programs that attach.
 * Must never do more than the kernel asks for; see netlink.h. */
#ifndef FLOOR_CONTAINER_H
#define FLOOR_CONTAINER_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <sched.h>

#include "netlink.h"

#define CONTAINER_LINK "eth0"

/* The index of a link; any socket of the namespace will do (net/core/dev_ioctl.c). */
static inline int index_of(int fd, const char *name)
{
    struct ifreq request = { 0 };

    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(fd, SIOCGIFINDEX, &request) < 0)
        fail(name, errno);
    return request.ifr_ifindex;
}

/* Widens an attribute over what was appended after it. */
static inline void close_nest(struct request *r, struct rtattr *nest)
{
    nest->rta_len = (char *)r + r->header.nlmsg_len - (char *)nest;
}

/* `flags` as IFA_FLAGS has them; 0 for none. */
static inline void add_address(int fd, int link, struct in_addr address, int prefix_length, unsigned flags)
{
    struct request r;
    struct ifaddrmsg message = {
        .ifa_family = AF_INET, .ifa_prefixlen = prefix_length, .ifa_index = link
    };

    begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &message, sizeof message);
    attribute(&r, IFA_LOCAL, &address, sizeof address);
    attribute(&r, IFA_ADDRESS, &address, sizeof address);
    if (flags)
        attribute(&r, IFA_FLAGS, &flags, sizeof flags);
    commit(fd, &r, "add the address");
}

static inline void set_up(int fd, int link)
{
    struct request r;
    struct ifinfomsg message = { .ifi_index = link, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };

    begin(&r, RTM_NEWLINK, 0, &message, sizeof message);
    commit(fd, &r, "set the link up");
}

/* A route to a prefix, by a gateway or (NULL) over the link. */
static inline void add_route(int fd, int link, struct in_addr to, int prefix_length, const struct in_addr *gateway)
{
    struct request r;
    struct rtmsg message = { .rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_dst_len = prefix_length,
                             .rtm_protocol = RTPROT_BOOT, .rtm_type = RTN_UNICAST,
                             .rtm_scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK };

    begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &message, sizeof message);
    if (prefix_length)
        attribute(&r, RTA_DST, &to, sizeof to);
    if (gateway)
        attribute(&r, RTA_GATEWAY, gateway, sizeof *gateway);
    attribute(&r, RTA_OIF, &link, sizeof link);
    commit(fd, &r, "add the route");
}

static inline void add_default_route(int fd, int link, struct in_addr gateway)
{
    struct in_addr any = { 0 };

    add_route(fd, link, any, 0, &gateway);
}

static inline void enter(int netns)
{
    if (setns(netns, CLONE_NEWNET) < 0)
        fail("enter the namespace", errno);
}

static inline int open_netns(const char *path)
{
    int netns = open(path, O_RDONLY | O_CLOEXEC);

    if (netns < 0)
        fail(path, errno);
    return netns;
}

#endif
