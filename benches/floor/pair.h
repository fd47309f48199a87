/* A veth pair in one message: its peer is born in the container's namespace with its final name, the host's end is up.
 * Included by the programs that attach by one.
 * Must never do more than the kernel asks for; see netlink.h. */
#ifndef FLOOR_PAIR_H
#define FLOOR_PAIR_H

#include <linux/veth.h>

#include "container.h"

/* `bridge`: what the host's end is a port of; NULL: nothing. */
static inline void create_pair(int fd, int netns, const char *host_link, const char *bridge)
{
    struct request r;
    struct ifinfomsg host = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP }, peer = { 0 };
    struct rtattr *info, *data, *end;

    begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &host, sizeof host);
    attribute(&r, IFLA_IFNAME, host_link, strlen(host_link) + 1);
    if (bridge) {
        int master = index_of(fd, bridge);

        attribute(&r, IFLA_MASTER, &master, sizeof master);
    }
    info = attribute(&r, IFLA_LINKINFO, NULL, 0);
    attribute(&r, IFLA_INFO_KIND, "veth", sizeof "veth");
    data = attribute(&r, IFLA_INFO_DATA, NULL, 0);
    end = attribute(&r, VETH_INFO_PEER, NULL, 0);
    append(&r, &peer, sizeof peer);
    attribute(&r, IFLA_IFNAME, CONTAINER_LINK, sizeof CONTAINER_LINK);
    attribute(&r, IFLA_NET_NS_FD, &netns, sizeof netns);
    close_nest(&r, end);
    close_nest(&r, data);
    close_nest(&r, info);
    commit(fd, &r, "create the pair");
}

#endif
